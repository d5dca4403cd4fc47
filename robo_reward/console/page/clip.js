"use strict";
// What pages of stored episodes share: asking the server, and a player of synchronised views with a curve under them.
// What the server says is data: it is shown with textContent, never as markup.

const byId = (id) => document.getElementById(id);

async function ask(path, posted) {
  const answer = await fetch(path, {headers: {"X-Token": location.hash.slice(1)},
    ...(posted && {method: "POST", body: JSON.stringify(posted)})});
  const words = await answer.text();
  if (answer.ok) return JSON.parse(words);
  let refused = words;
  try { refused = JSON.parse(words).refused; } catch { /* not JSON: a plain refusal */ }
  throw new Error(refused || `error ${answer.status}`);
}

function tell(error) { byId("message").textContent = error ? error.message || String(error) : ""; }

function make(tag, text, ...children) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

// `episode`: views (name -> pictures), steps (observation of each picture), and oracle, model, sources as far as known.
class Clip {
  constructor(box, episode, marks = () => []) {
    this.episode = episode; this.marks = marks; this.at = 0; this.onmove = () => {};
    this.images = Object.entries(episode.views).map(([name]) => Object.assign(make("img"), {alt: name}));
    const figures = this.images.map((image) => make("figure", "", image, make("figcaption", image.alt)));
    this.slider = Object.assign(make("input"), {type: "range", min: 0, max: episode.steps.length - 1, value: 0});
    this.slider.setAttribute("aria-label", "frame");
    this.slider.addEventListener("input", () => this.show(Number(this.slider.value)));
    this.canvas = Object.assign(make("canvas"), {width: 960, height: 140});
    this.where = make("span");
    const row = make("div", "", ...figures); row.className = "cameras";
    box.replaceChildren(row, this.slider, this.where, this.canvas);
    this.show(0);
  }

  get step() { return this.episode.steps[this.at]; }

  show(at) {
    this.at = Math.max(0, Math.min(this.episode.steps.length - 1, at));
    this.slider.value = this.at;
    Object.values(this.episode.views).forEach((pictures, i) => { this.images[i].src = pictures[this.at]; });
    this.where.textContent = ` observation ${this.step} of ${this.episode.steps.at(-1)} `;
    this.draw();
    this.onmove();
  }

  play(from = 0, to = this.episode.steps.length - 1) {
    this.stop();
    this.show(from);
    this.timer = setInterval(() => this.at >= to ? this.stop() : this.show(this.at + 1), 100);
  }

  stop() { clearInterval(this.timer); }

  draw() {
    const {oracle = [], model = [], sources = "", steps} = this.episode, pen = this.canvas.getContext("2d");
    const style = getComputedStyle(document.body), last = Math.max(1, steps.at(-1));
    const x = (step) => 10 + step * (this.canvas.width - 20) / last, y = (value) => 110 - 100 * value;
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.fillStyle = style.getPropertyValue("--orange");
    [...sources].forEach((source, step) => { if (source === "h") pen.fillRect(x(step), 116, x(1) - x(0) + 1, 8); });
    const line = (values, colour, dash) => {
      pen.strokeStyle = style.getPropertyValue(colour); pen.lineWidth = 2; pen.setLineDash(dash); pen.beginPath();
      values.forEach((value, step) => pen.lineTo(x(step), y(value)));
      pen.stroke();
    };
    line(model.map((row) => row[0]), "--blue", []);
    line(oracle, "--green", [6, 4]);
    pen.setLineDash([]);
    for (const step of this.marks()) { pen.fillStyle = style.getPropertyValue("--blue"); pen.fillRect(x(step) - 2, 4, 4, 120); }
    pen.fillStyle = style.getPropertyValue("--red");
    pen.fillRect(x(this.step) - 1, 0, 2, 140);
  }
}
