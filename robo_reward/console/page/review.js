"use strict";

const CLIP_STEPS = 40;
let episodes = [], clip = null, pair = null;

async function list() {
  const chosen = byId("episodes").value;
  episodes = await ask("/episodes");
  byId("count").textContent = `${episodes.length} episodes, ${episodes.filter((e) => e.outcome).length} judged`;
  byId("episodes").replaceChildren(...episodes.map((e) =>
    Object.assign(make("option", `${e.name}: ${e.outcome || "not judged"}, ${e.steps} steps`), {value: e.name})));
  byId("episodes").value = episodes.some((e) => e.name === chosen) ? chosen : episodes.at(-1)?.name;
  told();
}

function told() {
  const entry = episodes.find((e) => e.name === byId("episodes").value);
  byId("outcome").textContent = entry?.outcome || "not yet";
  byId("world").textContent = entry ? (entry.world ? "success" : "no success") : "nothing";
}

async function open() {
  clip?.stop();
  told();
  if (byId("episodes").value) clip = new Clip(byId("clip"), await ask(`/episodes/${byId("episodes").value}`));
}

async function judge(outcome) {
  await ask("/outcomes", {episode: byId("episodes").value, outcome});
  await list();
}

// Two episodes of one instruction, and as long a part of each; random, so that no habit decides what is compared.
async function draw() {
  const random = (n) => Math.floor(n * Math.random());
  const first = episodes[random(episodes.length)];
  const others = episodes.filter((e) => e.instruction === first?.instruction && e !== first);
  if (!others.length) throw new Error("two episodes of one instruction are needed");
  const second = others[random(others.length)], length = Math.min(CLIP_STEPS, first.steps, second.steps);
  const parts = [first, second].map((e) => {
    const begin = random(e.steps - length + 1);
    return {episode: e.name, begin, end: begin + length};
  });
  const shown = await Promise.all(parts.map((part) => ask(`/episodes/${part.episode}`)));
  pair = {first: parts[0], second: parts[1]};
  ["first", "second"].forEach((side, i) => {
    const {views, steps} = shown[i], inside = steps.map((step, at) => at).filter((at) =>
      steps[at] >= parts[i].begin && steps[at] <= parts[i].end);
    const seen = {steps: inside.map((at) => steps[at]), // without curves: they would tell what the model prefers
      views: Object.fromEntries(Object.entries(views).map(([name, all]) => [name, inside.map((at) => all[at])]))};
    if (seen.steps.length < 2) { pair = null; throw new Error("a clip has no two pictures: draw again"); }
    new Clip(byId(side), seen).play();
  });
  tell();
}

async function prefer(choice) {
  if (!pair) throw new Error("draw two clips first");
  const said = {...pair, choice};
  pair = null;
  byId("kept").textContent = `${await ask("/preferences", said)} kept`;
  await draw();
}

const safely = (work) => (...given) => Promise.resolve().then(() => work(...given)).catch(tell);
byId("live").href = `/${location.hash}`;
byId("live").hidden = location.pathname === "/"; // served without a session
byId("episodes").addEventListener("change", safely(open));
byId("play").addEventListener("click", () => clip?.play());
byId("again").addEventListener("click", safely(list));
byId("pair").addEventListener("click", safely(draw));
for (const button of document.querySelectorAll("[data-outcome]")) button.addEventListener("click", safely(() => judge(button.dataset.outcome)));
for (const button of document.querySelectorAll("[data-choice]")) button.addEventListener("click", safely(() => prefer(button.dataset.choice)));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
  const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (by) { event.preventDefault(); clip?.stop(); clip?.show(clip.at + by); return; }
  const found = {" ": "#play", n: "#pair", s: "[data-outcome=success]", f: "[data-outcome=failure]", p: "[data-outcome=partial]",
    1: "[data-choice=first]", 2: "[data-choice=second]", 3: "[data-choice=equal]", 4: "[data-choice=unclear]"}[event.key.toLowerCase()];
  if (found) { event.preventDefault(); document.querySelector(found).click(); }
});
safely(async () => { await list(); await open(); })();
