"use strict";
// The session so far: what became of each episode, how much of it a person drove, and what was said when.

const HEIGHTS = {success: 14, partial: 52, failure: 90}, SUCCESSES = 10;

function judged() { // label, [steps driven, steps] of every episode that says something of the policy
  return (state.labels || []).map((label, n) => [label, (state.by_hand || [])[n] || [0, 0]]).filter(([label]) => label in HEIGHTS);
}

function history_figures({rollouts, of, curve, advice}) {
  const all = judged(), last = all.slice(-20), won = last.filter(([label]) => label === "success").length;
  const minutes = (state.by_hand || []).reduce((sum, [driven]) => sum + driven, 0) / (state.fps || 1) / 60;
  const shares = last.map(([, [driven, steps]]) => steps ? driven / steps : 0);
  const rate = shares.reduce((sum, share) => sum + share, 0) / Math.max(1, shares.length);
  const [at, , wins, episodes] = (curve || []).at(-1) || [];
  return [
    of === undefined ? "" : `rollout ${rollouts} of ${of}`,
    last.length ? `${won} of the last ${last.length} with help succeeded, a person drove ${Math.round(100 * rate)} % of them` : "",
    minutes ? `${minutes.toFixed(1)} min driven${advice ? ` of ${advice.minutes}` : ""}` : "",
    at === undefined ? "" : `without help ${Math.round(100 * wins / episodes)} % after rollout ${at}`,
  ].filter((part) => part).join("; ");
}

function draw_history() {
  const canvas = byId("history"), pen = canvas.getContext("2d"), style = getComputedStyle(document.body), all = judged();
  const colour = (name) => { pen.fillStyle = pen.strokeStyle = style.getPropertyValue(name); };
  const x = (n) => 20 + (n + 0.5) * (canvas.width - 40) / Math.max(all.length, 20), wide = Math.max(1, x(1) - x(0) - 1);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  all.forEach(([label, [driven, steps]], n) => {
    colour("--orange");
    const tall = steps ? 76 * driven / steps : 0;
    pen.globalAlpha = 0.6;
    pen.fillRect(x(n) - wide / 2, 90 - tall, wide, tall);
    pen.globalAlpha = 1;
    colour({success: "--green", partial: "--purple", failure: "--red"}[label]);
    const y = 104, size = Math.min(5, wide / 2 + 1);
    pen.beginPath();
    if (label === "success") pen.arc(x(n), y, size, 0, 7);
    else if (label === "failure") pen.rect(x(n) - size, y - size, 2 * size, 2 * size);
    else { pen.moveTo(x(n), y - size); pen.lineTo(x(n) - size, y + size); pen.lineTo(x(n) + size, y + size); }
    pen.fill();
  });
  colour("--blue");
  pen.lineWidth = 3;
  pen.beginPath();
  all.forEach((_, n) => {
    const last = all.slice(Math.max(0, n + 1 - SUCCESSES), n + 1);
    pen.lineTo(x(n), 90 - 76 * last.filter(([label]) => label === "success").length / last.length);
  });
  pen.stroke();
  pen.fillStyle = style.color;
  for (const [rollouts, , wins, episodes] of state.figures?.curve || []) {
    const y = 90 - 76 * wins / episodes, at = x(rollouts - 1);
    pen.beginPath();
    [[0, -6], [6, 0], [0, 6], [-6, 0]].forEach(([right, down]) => pen.lineTo(at + right, y + down));
    pen.fill();
  }
  pen.font = "12px system-ui, sans-serif";
  pen.fillText("1", 4, 18);
  pen.fillText("0", 4, 94);
}

function listed(id, rows) {
  const list = byId(id), shown = JSON.stringify(rows);
  if (list.dataset.shown === shown) return;
  list.dataset.shown = shown;
  list.replaceChildren(...rows.map((row) => Object.assign(document.createElement("li"), {textContent: row})));
  list.scrollTop = list.scrollHeight;
}

function show_history() {
  byId("figures").textContent = history_figures(state.figures || {});
  listed("labels", (state.labels || []).map((label) => label.replace("_", " ")));
  listed("log", (state.log || []).map(({time, episode, what}) =>
    `${new Date(time).toLocaleTimeString()} episode ${episode}: ${what.replace(/^\w+/, (event) => event.replaceAll("_", " "))}`));
  const shown = JSON.stringify([state.labels, state.by_hand, state.figures?.curve]);
  if (byId("history").dataset.shown === shown) return;
  byId("history").dataset.shown = shown;
  requestAnimationFrame(draw_history);
}
