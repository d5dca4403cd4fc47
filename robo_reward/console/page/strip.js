"use strict";
// The episode so far: the progress curve, and under it, step by step, who drove, what the gate cut, what the critics
// expect and what the learner is paid.

const across = (canvas, steps) => (i) => 10 + i * (canvas.width - 20) / steps;

function draw() {
  const canvas = byId("curve"), pen = canvas.getContext("2d"), style = getComputedStyle(document.body);
  const steps = Math.max(120, (state.oracle || []).length), x = across(canvas, steps);
  const stride = Math.ceil(steps / canvas.width);
  const y = (value) => canvas.height - 18 - value * (canvas.height - 28);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.font = "12px system-ui, sans-serif";
  for (const value of [0, 0.5, 1]) {
    pen.fillStyle = style.color;
    pen.fillText(value, 12, y(value) + (value ? 12 : -3));
    pen.fillStyle = style.getPropertyValue("--grey");
    pen.globalAlpha = 0.4;
    pen.fillRect(10, y(value), canvas.width - 20, 1);
    pen.globalAlpha = 1;
  }
  const line = (values, colour, width, dash) => {
    pen.strokeStyle = style.getPropertyValue(colour);
    pen.lineWidth = width;
    pen.setLineDash(dash);
    pen.beginPath();
    for (let i = 0; i < values.length; i += stride) if (values[i] !== null) pen.lineTo(x(i), y(values[i]));
    pen.stroke();
  };
  const model = state.model || [];
  pen.fillStyle = style.getPropertyValue("--blue");
  pen.globalAlpha = 0.5;
  for (let i = 0; i < model.length; i += stride) { // how sure it is: 16 pixels high when quite sure
    pen.fillRect(x(i), canvas.height - 16 * model[i][4], x(stride) - x(0), 16 * model[i][4]);
  }
  pen.globalAlpha = 1;
  [[1, [2, 3]], [2, [8, 4]], [3, [8, 3, 2, 3]]].forEach(([part, dash]) => line(model.map((row) => row[part]), "--grey", 1.5, dash));
  line(model.map((row) => row[0]), "--blue", 3, []);
  line(state.oracle || [], "--green", 2, [6, 4]);
  const told = (value) => value === undefined || value === null ? "\u2013" : value.toFixed(2);
  byId("phi").textContent = told(model.at(-1)?.[0]);
  byId("confidence").textContent = told(model.at(-1)?.[4]);
  byId("oracle").textContent = told((state.oracle || []).at(-1));
  strip(steps, stride, style);
}

function strip(steps, stride, style) {
  const canvas = byId("strip"), pen = canvas.getContext("2d"), x = across(canvas, steps), wide = x(stride) - x(0);
  const colour = (name) => { pen.fillStyle = pen.strokeStyle = style.getPropertyValue(name); };
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.setLineDash([]);
  for (let i = 0; i < (state.sources || "").length; i += stride) {
    const source = state.sources[i];
    if (source === "h") { colour("--orange"); pen.fillRect(x(i), 4, wide, 12); }
    if (source === "-") { colour("--grey"); pen.fillRect(x(i), 8, wide, 4); }
    if (state.gated.slice(i, i + stride).includes("x")) { colour("--red"); pen.fillRect(x(i), 20, Math.max(wide, 2), 6); }
  }
  const rows = state.rewards || [], values = rows.map((row) => row[2]).filter((value) => value !== null);
  const least = Math.min(...values), span = Math.max(Math.max(...values) - least, 1e-3);
  colour("--blue");
  pen.lineWidth = 2;
  pen.beginPath();
  rows.forEach((row, i) => { if (row[2] !== null && i % stride === 0) pen.lineTo(x(i + 1), 72 - 40 * (row[2] - least) / span); });
  pen.stroke();
  // The end of a success takes the whole potential back: it would leave nothing to be seen of the other steps.
  const zero = 110, most = Math.max(0.02, ...rows.map(([paid, term]) => paid ? 0 : Math.abs(term || 0)));
  colour("--grey");
  pen.fillRect(10, zero, canvas.width - 20, 1);
  rows.forEach(([paid, term], i) => {
    if (term) { colour("--purple"); pen.fillRect(x(i), zero, Math.max(wide, 1), -26 * Math.max(-1, Math.min(1, term / most))); }
    if (paid) { colour("--green"); pen.fillRect(x(i) - 2, zero - 30, 6, 60); }
  });
  const last = rows.at(-1) || [null, null, null], told = (value) => value === null ? "\u2013" : value.toFixed(3);
  byId("value").textContent = told(last[2]);
  byId("term").textContent = told(last[1]);
  byId("paid").textContent = told(last[0]);
}
