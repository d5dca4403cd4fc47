"use strict";

let table = null, clip = null, episode = null, keys = [], saved = true;

async function begin() {
  table = await ask("/dataset");
  byId("file").textContent = `kept in ${table.file}`;
  byId("episodes").replaceChildren(...table.episodes.map((e, i) => Object.assign(make("option"), {value: i})));
  for (const [i, name] of ["start", ...table.stages].entries()) {
    const at = make("output"), here = make("button", "here"), away = make("button", "take back");
    here.addEventListener("click", () => mark(i));
    away.addEventListener("click", () => { keys.length = Math.min(keys.length, i); show(false); });
    byId("stages").append(make("li", "", make("span", `${name} `), at, " ", here, " ", away));
  }
  list();
  await open(Math.max(0, table.episodes.findIndex((e) => !e.marked)));
}

function list() {
  for (const [i, e] of table.episodes.entries()) {
    byId("episodes").options[i].textContent = `${e.marked ? "\u2713" : "\u00b7"} ${e.name} (${e.success ? "success" : "failure"}, ${e.frames} frames)`;
  }
  byId("done").textContent = `${table.episodes.filter((e) => e.marked).length} of ${table.episodes.length} marked`;
}

async function open(number) {
  episode = await ask(`/dataset/${number}`);
  byId("episodes").value = number;
  byId("instruction").textContent = episode.instruction;
  byId("paraphrases").value = episode.paraphrases.join("\n");
  const methods = Object.keys(episode.proposals);
  byId("proposals").replaceChildren(make("option", ""), ...methods.map((method) => make("option", method)));
  keys = [...(episode.keyframes || episode.proposals[methods[0]] || [])];
  byId("proposals").value = episode.keyframes ? "" : methods[0] || "";
  clip?.stop();
  clip = new Clip(byId("clip"), episode, () => keys);
  tell();
  show(Boolean(episode.keyframes));
}

// Keyframes increase: a mark drops those of later stages that it has passed, and earlier ones that lie behind it.
function mark(stage) {
  if (stage > keys.length) { tell(`mark stage ${keys.length} first`); return; }
  const later = keys.slice(stage + 1).filter((key) => key > clip.step);
  if (keys.slice(0, stage).some((key) => key >= clip.step)) { tell("an earlier stage ends there or later: move it first"); return; }
  keys = [...keys.slice(0, stage), clip.step, ...(later.length === keys.length - stage - 1 ? later : [])];
  tell();
  show(false);
}

function show(kept) {
  saved = kept;
  [...byId("stages").children].forEach((row, i) => { row.querySelector("output").textContent = keys[i] ?? "\u2013"; });
  byId("save").disabled = saved || keys.length < 2;
  clip.draw();
}

async function save(marks) {
  await ask("/keyframes", {episode: episode.name, keyframes: marks});
  const entry = table.episodes.find((e) => e.name === episode.name);
  entry.marked = marks.length > 0;
  episode.keyframes = marks.length ? [...marks] : null;
  show(true);
  list();
}

const step = (by) => open(Math.max(0, Math.min(table.episodes.length - 1, Number(byId("episodes").value) + by)));
const safely = (work) => (...given) => Promise.resolve().then(() => work(...given)).catch(tell);
byId("episodes").addEventListener("change", safely(() => step(0)));
byId("before").addEventListener("click", safely(() => step(-1)));
byId("next").addEventListener("click", safely(() => step(1)));
byId("play").addEventListener("click", () => clip.play());
byId("save").addEventListener("click", safely(() => save(keys)));
byId("clear").addEventListener("click", safely(async () => { keys = []; await save([]); }));
byId("proposals").addEventListener("change", () => { keys = [...(episode.proposals[byId("proposals").value] || keys)]; show(false); });
byId("words").addEventListener("click", safely(() => ask("/paraphrases", {instruction: episode.instruction,
  paraphrases: byId("paraphrases").value.split("\n").map((line) => line.trim()).filter((line) => line)})));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("textarea, select")) return;
  const by = event.shiftKey ? 10 : 1, jump = {ArrowLeft: -by, ArrowRight: by}[event.key];
  if (jump) { event.preventDefault(); clip.stop(); clip.show(clip.at + jump); }
  else if (/^[0-9]$/.test(event.key) && Number(event.key) <= table.stages.length) mark(Number(event.key));
  else if (event.key === " ") { event.preventDefault(); clip.play(); }
  else if (event.key === "PageDown") { event.preventDefault(); safely(step)(1); }
  else if (event.key === "PageUp") { event.preventDefault(); safely(step)(-1); }
  else if (event.key === "Enter" && !event.target.matches("button") && !byId("save").disabled) byId("save").click();
});
safely(begin)();
