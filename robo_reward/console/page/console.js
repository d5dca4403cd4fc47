"use strict";
// What the server says is data: it is shown with textContent, never as markup.

const byId = (id) => document.getElementById(id);
const MOVES = {w: [0, 1], s: [0, -1], a: [1, 1], d: [1, -1], r: [2, 1], f: [2, -1], q: [3, 1], e: [3, -1]};
// A gamepad in the browsers' standard layout: right shoulder to drive, sticks to move, Back to e-stop.
const PAD = {0: ["success"], 1: ["failure"], 2: ["partial"], 3: ["undo"], 4: ["discard"], 6: ["re_record"],
  9: ["arm", "start", "pause", "resume"]};
const PAD_HOLD = 5, PAD_STOP = 8, PAD_MOVES = [[1, 0, -1], [0, 1, -1], [3, 2, -1], [2, 3, -1]], DEAD_BAND = 0.15;
const SPEED = 0.6, SLOW = 0.2, DRIVING_MS = 33, IDLE_MS = 100;

let socket = null, state = {state: "not connected", possible: [], labels: []}, axes = 4, staleMs = 200;
let heard = 0, held = false, gripper = 0, number = 0, lastSent = 0, pictures = 0;
let driver = ""; // the device that drives in the place of browsers
let stopOwed = false; // an e-stop that was not confirmed: it goes out again before anything else
let padLost = false; // the gamepad vanished while it drove: nothing is said, so that the arm pauses
let padDown = [], stick = [0, 0, 0, 0], touch = [0, 0, 0, 0];
const pressed = new Set(), touches = new Set(), presses = new Map(), latencies = [];

function connect() {
  socket = new WebSocket(`ws://${location.host}/socket`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => say({token: location.hash.slice(1)});
  socket.onmessage = (event) => typeof event.data === "string" ? hear(JSON.parse(event.data)) : look(event.data);
  socket.onclose = (event) => {
    release();
    state = {...state, state: "not connected", possible: [], you: "nobody"};
    if (!stopOwed) byId("message").textContent = event.reason || "the connection is lost: trying again";
    show();
    if (event.code !== 4001) setTimeout(connect, 500);
  };
}

function say(word) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(word));
}

function hear(word) {
  heard = performance.now();
  if (word.type === "hello") begin(word);
  if (word.type === "refused") byId("message").textContent = word.reason;
  if (word.type === "stopped" || word.state === "e_stopped") confirmed();
  if (word.type !== "state") return;
  if (word.state !== "taken_over") padLost = false;
  if (word.first > 0) for (const curve of ["sources", "oracle", "model", "rewards", "gated"]) word[curve] = state[curve].concat(word[curve]);
  state = word;
  for (const [n, at] of presses) { // how long from a key to the news that the arm was sent what it says
    if (n > word.driven) break;
    if (word.state === "taken_over") latencies.push(heard - at);
    presses.delete(n);
  }
  if (latencies.length > 5000) latencies.splice(0, 1000);
  show();
}

function begin(word) {
  axes = word.axes.length;
  staleMs = 1000 * word.stale_s;
  byId("gripper").hidden = axes < 5;
  byId("message").textContent = "";
  document.body.dataset.watching = word.watching;
  document.body.dataset.driver = driver = word.driver;
  if (stopOwed) stop();
}

function stop() {
  stopOwed = true;
  say({type: "event", event: "e_stop"});
  warn();
}

function confirmed() {
  if (stopOwed) byId("message").textContent = "";
  stopOwed = false;
}

function warn() { // a connection may be dead and not know it: what it took may never arrive
  if (!stopOwed) return;
  const closed = !socket || socket.readyState !== WebSocket.OPEN;
  if (closed) byId("message").textContent = "E-STOP NOT SENT, there is no connection: stop the robot by hand";
  else if (performance.now() - heard > staleMs) byId("message").textContent = "E-STOP NOT CONFIRMED: stop the robot by hand";
}

function look(data) {
  pictures += 1;
  const bytes = new Uint8Array(data), end = bytes.indexOf(0), name = new TextDecoder().decode(bytes.subarray(0, end));
  let image = document.querySelector(`img[alt="${CSS.escape(name)}"]`);
  if (!image) {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    image = document.createElement("img");
    image.alt = caption.textContent = name;
    figure.append(image, caption);
    byId("cameras").append(figure);
  }
  const old = image.src;
  image.src = URL.createObjectURL(new Blob([bytes.subarray(end + 1)], {type: "image/jpeg"}));
  if (old) URL.revokeObjectURL(old);
}

// ---- driving ----

function release() {
  pressed.clear();
  touches.clear();
  touch = [0, 0, 0, 0];
  if (!held) return;
  held = false;
  drive();
}

function drive(pressed_now = false) {
  if (state.you !== "operator" || state.clock === undefined || driver || padLost) return;
  const action = new Array(axes).fill(0), speed = pressed.has("shift") ? SLOW : SPEED;
  for (const key of pressed) if (MOVES[key]) action[MOVES[key][0]] += speed * MOVES[key][1];
  for (let i = 0; i < 4; i += 1) action[i] = Math.max(-1, Math.min(1, action[i] + stick[i] + touch[i]));
  if (axes > 4) action[axes - 1] = gripper;
  number += 1;
  lastSent = performance.now();
  if (pressed_now) presses.set(number, lastSent);
  say({type: "drive", action, held, clock: state.clock, n: number});
}

function event_of(names) { // the button of the first of these events that is possible now
  return names.map((name) => document.querySelector(`button[data-event="${name}"]`)).find((button) => !button.disabled);
}

function readPad() {
  const pad = [...navigator.getGamepads()].find((found) => found), before = padDown;
  padDown = pad ? pad.buttons.map((button) => button.pressed) : [];
  stick = [0, 0, 0, 0];
  if (pad) for (const [axis, from, sign] of PAD_MOVES) {
    if (Math.abs(pad.axes[from]) > DEAD_BAND) stick[axis] = sign * SPEED * pad.axes[from];
  }
  if (padDown[PAD_STOP] && !before[PAD_STOP]) stop();
  if (padDown[PAD_HOLD] && !before[PAD_HOLD]) { held = true; drive(true); }
  if (!padDown[PAD_HOLD] && before[PAD_HOLD] && held) { held = false; padLost = !pad; drive(); }
  for (const [number, names] of Object.entries(PAD)) if (padDown[number] && !before[number]) event_of(names)?.click();
}

setInterval(() => {
  const now = performance.now();
  readPad();
  if (held && now - heard > staleMs) release(); // the picture is old: what it shows is no ground to act on
  if (now - lastSent >= (held ? DRIVING_MS : IDLE_MS)) drive();
  showLink(now);
  warn();
}, 16);

document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (event.key === "Escape") { stop(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " ") {
    event.preventDefault();
    if (!event.repeat) { held = true; drive(true); }
    return;
  }
  if (MOVES[key] || key === "shift") {
    if (!pressed.has(key)) { pressed.add(key); if (held) drive(true); }
    return;
  }
  if (key === "g") { gripper = gripper > 0 ? -1 : 1; return; }
  if (key === "b" && !event.repeat) { document.querySelector("#places button.advised:enabled")?.click(); return; }
  if (event.repeat || (key === "enter" && document.activeElement.matches("button:enabled"))) return;
  for (const button of document.querySelectorAll("button[data-event]")) {
    if (button.dataset.key && button.dataset.key.toLowerCase() === key && !button.disabled) { button.click(); return; }
  }
});
document.addEventListener("keyup", (event) => {
  const key = event.key.toLowerCase();
  if (key === " ") { event.preventDefault(); if (held) { held = false; drive(); } }
  if (pressed.delete(key) && held) drive();
});
// A finger on a pad is the dead-man, and where it is says how fast; after a release it has to be put down again.
for (const pad of document.querySelectorAll(".pad")) {
  const [up, left] = pad.dataset.axes.split(",").map(Number);
  const unit = (at, begin, size) => SPEED * Math.max(-1, Math.min(1, 1 - 2 * (at - begin) / size));
  const move = (event) => {
    const box = pad.getBoundingClientRect();
    touch[up] = unit(event.clientY, box.top, box.height);
    touch[left] = unit(event.clientX, box.left, box.width);
  };
  const lift = (event) => {
    if (!touches.delete(event.pointerId)) return;
    touch[up] = touch[left] = 0;
    if (!touches.size && held) { held = false; drive(); }
  };
  pad.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    pad.setPointerCapture(event.pointerId);
    touches.add(event.pointerId);
    move(event);
    held = true;
    drive(true);
  });
  pad.addEventListener("pointermove", (event) => { if (touches.has(event.pointerId)) move(event); });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) pad.addEventListener(end, lift);
}
byId("gripper").addEventListener("click", () => { gripper = gripper > 0 ? -1 : 1; });
window.addEventListener("blur", release);
window.addEventListener("pagehide", release);
document.addEventListener("visibilitychange", () => { if (document.hidden) release(); });

for (const button of document.querySelectorAll("button[data-event]")) {
  button.addEventListener("click", () => { byId("message").textContent = ""; say({type: "event", event: button.dataset.event}); });
}
byId("e_stop").addEventListener("click", stop);
byId("control").addEventListener("click", () => say({type: state.you === "operator" ? "give_back" : "control"}));

// ---- showing ----

function show() {
  document.body.dataset.state = state.state;
  byId("state").textContent = state.state.replace("_", " ");
  byId("instruction").textContent = state.instruction ? `episode ${state.episode}: ${state.instruction}` : "";
  byId("who").textContent = document.body.dataset.watching === "true" ? "monitor: nothing is commanded from here"
    : state.you === "operator" ? "you have control" : state.you === "watcher" ? "you are watching" : "";
  byId("notice").textContent = state.notice || "";
  byId("completed").textContent = `${state.completed ? "\u2714 done, says the reward model" : ""} ${state.success ? "\u2714 done, says the simulator" : ""}`;
  places(state.figures?.places || [], state.figures?.advice);
  byId("busy").textContent = state.busy || "";
  byId("advice").textContent = ["idle", "armed", "resetting"].includes(state.state) ? advised(state.figures?.advice) : "";
  show_history();
  byId("control").textContent = state.you === "operator" ? "Give control back" : "Take control";
  byId("control").disabled = state.you !== "operator" && !state.free;
  for (const button of document.querySelectorAll("button[data-event]")) {
    button.disabled = state.you !== "operator" || !state.possible.includes(button.dataset.event);
  }
  requestAnimationFrame(draw);
}

function advised(advice) { // what the graded protocol asks for before the next episode
  if (!advice) return "";
  const here = `put the scene at place ${advice.place} (B: Begin here)`;
  return "Next: " + {free: "let the policy drive alone, it shows how it fares", demonstrate: "show a whole episode yourself",
    return: `${here} and let the policy try`, guide: `${here} and show the way from there`}[advice.grade];
}

// Where the policy got stuck of late: the next episode can begin there.
function places(found, advice) {
  if (byId("places").dataset.shown !== JSON.stringify(found)) {
    byId("places").dataset.shown = JSON.stringify(found);
    byId("places").replaceChildren(...found.map(({number, reason, phi}) => {
      const figure = document.createElement("figure"), image = document.createElement("img");
      const caption = document.createElement("figcaption"), button = document.createElement("button");
      image.alt = `views where episode ${number} got stuck`;
      fetch(`/places/${number}`, {headers: {"X-Token": location.hash.slice(1)}}).then((answer) => answer.json())
        .then((answer) => { if (answer.picture) image.src = answer.picture; }).catch(() => {});
      caption.textContent = `episode ${number} ${reason} at ${phi} `;
      button.textContent = "Begin here";
      button.dataset.place = number;
      button.addEventListener("click", () => say({type: "place", number}));
      caption.append(button);
      figure.append(image, caption);
      return figure;
    }));
  }
  for (const button of document.querySelectorAll("#places button")) {
    button.disabled = state.you !== "operator" || !["idle", "armed"].includes(state.state) || Boolean(state.busy);
    button.classList.toggle("advised", Number(button.dataset.place) === advice?.place);
  }
}

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

function showLink(now) {
  const age = Math.round(now - heard), late = age > staleMs;
  byId("drive").textContent = driver ? `${driver} drives` : held ? "driving" : "released";
  byId("link").textContent = socket && socket.readyState === WebSocket.OPEN
    ? `${late ? "link too slow: " : ""}state ${age} ms old` : "no link";
  lights(age + 1000 * (state.age_s || 0));
}

function light(name, kind, text) { // a shape beside the colour tells it to whoever cannot see that
  byId(name).dataset.light = kind;
  byId(name).textContent = text;
}

function lights(age) {
  const cut = (state.gated || "").endsWith("x"), cuts = [...(state.gated || "")].filter((mark) => mark === "x").length;
  const steps = (state.gated || "").length, share = steps ? `, ${Math.round(100 * cuts / steps)} % of the steps cut` : "";
  if (state.fault || state.state === "e_stopped") light("gate", "bad", `gate holds: ${state.fault || "e-stop"}`);
  else light("gate", cut ? "warn" : "good", (cut ? "gate cuts the action" : "gate open") + share);
  if (!socket || socket.readyState !== WebSocket.OPEN) { light("age", "bad", "nothing is heard"); return; }
  light("age", age >= staleMs ? "bad" : age >= staleMs / 2 ? "warn" : "good", `what you see is ${Math.round(age)} ms old`);
}

window.console_figures = () => ({presses: latencies.length, p50: quantile(latencies, .5), p99: quantile(latencies, .99), pictures});
byId("review").href = `/review.html${location.hash}`;
connect();
