"use strict";

// An image or a drawing goes to POST /models/<name>/versions/<version>/classify; the five best classes come back.

const SIDE = 640; // pixels of the canvas; CSS shows it at whatever size there is
const INK = 30; // width of a line on the canvas
const PEN = 1 / 7; // width of a line in the data sets' digits, of their height
const MAX_STRETCH = 2; // of one side over the other: a 1 made as wide as a 0 is no longer a 1
const PAUSE_MS = 150; // without drawing, before the drawing is classified
const POLL_MS = 5000; // between looks for a new version
const KEY_STEP = 16; // pixels of the canvas an arrow key moves the pen
const NO_ANSWER = "The service does not answer. This page keeps trying.";

const byId = (id) => document.getElementById(id);
const canvas = byId("canvas");
const state = {
  models: [],
  picked: {}, // version that the visitor chose, by model; otherwise it is the live one
  strokes: [], // lists of {x, y} in pixels of the canvas
  file: null, // instead of a drawing
  request: new AbortController(), // the newest
  pen: { x: SIDE / 2, y: SIDE / 4, down: false, shown: false }, // of the keyboard
};

// Models and versions

async function refreshModels() {
  try {
    const listing = await fetchJson("models");
    if (byId("error").textContent === NO_ANSWER) showError("");
    if (JSON.stringify(listing.models) === JSON.stringify(state.models)) return;
    const before = versionKey();
    state.models = listing.models;
    fillModels(listing.default);
    fillVersions();
    if (versionKey() !== before) classify();
  } catch {
    showError(NO_ANSWER);
  }
}

function fillModels(byDefault) {
  const names = state.models.map((model) => model.name);
  const chosen = [byId("model").value, byDefault, names[0]].find((name) => names.includes(name));
  fillSelect(byId("model"), names.map((name) => ({ value: name, text: name })), chosen);
  if (!names.length) showError("No model is published yet. As soon as one is, it appears here.");
}

function fillVersions() {
  const { name, live, versions } = model() ?? { versions: [] };
  const options = versions.map((version) => ({
    value: version.version,
    text: [version.version, ...describeState(version)].join(", "),
    disabled: !answers(version),
  }));
  const usable = versions.filter(answers).map((version) => version.version);
  const chosen = [state.picked[name], live, usable[0]].find((number) => usable.includes(number));
  fillSelect(byId("version"), options, chosen);
  describeVersion();
}

const answers = (version) => version.state === "available" || version.state === "restarting";

function describeState(version) {
  const accuracy = version.accuracy == null ? [] : [percent(version.accuracy, 1)];
  if (version.state !== "available") return [version.state];
  return version.live ? ["live", ...accuracy] : accuracy;
}

function fillSelect(select, options, chosen) {
  select.replaceChildren(...options.map(({ value, text, disabled }) => {
    const option = new Option(text, value);
    option.disabled = disabled;
    return option;
  }));
  select.value = chosen ?? "";
}

const model = () => state.models.find(({ name }) => name === byId("model").value);
const version = () => model()?.versions.find((each) => String(each.version) === byId("version").value);
const versionKey = () => `${byId("model").value}/${byId("version").value}/${version()?.created_at}`;

function describeVersion() {
  const { architecture, accuracy, class_names: names = [] } = version() ?? {};
  byId("about").textContent = [
    architecture && `${architecture}, version ${byId("version").value}`,
    accuracy == null ? "" : `${percent(accuracy, 1)} right on its test images`,
  ].filter(Boolean).join(" · ");
  const known = names.slice(0, 12).join(", ") + (names.length > 12 ? ` and ${names.length - 12} more` : "");
  byId("classes").textContent = known && `It knows ${known}.`;
}

// Asking

async function classify() {
  state.request.abort(); // only the newest picture is of interest
  const { signal } = (state.request = new AbortController());
  const asked = version();
  const blob = asked && (state.file ?? (await drawingBlob(asked.drawing)));
  if (!blob || signal.aborted) return;
  const name = encodeURIComponent(byId("model").value);
  const started = performance.now();
  try {
    const url = `models/${name}/versions/${asked.version}/classify?top_k=5`;
    const answer = await fetchJson(url, { method: "POST", body: blob, signal });
    showAnswer(answer.predictions[0], performance.now() - started);
  } catch (error) {
    if (signal.aborted) return;
    forgetAnswer();
    showError(error.fromService ? error.message : NO_ANSWER);
  }
}

async function fetchJson(url, options) {
  const response = await fetch(url, options);
  const body = await response.json();
  if (!response.ok) throw Object.assign(new Error(body.error.message), { fromService: true });
  return body;
}

/** The drawing as PNG: like an image of the data set where it is known how those were made, else as it is. */
async function drawingBlob(spec) {
  if (!state.strokes.length) return null;
  const target = spec ? byId("seen") : new OffscreenCanvas(SIDE, SIDE);
  if (spec) drawLikeDataSet(target, state.strokes, spec);
  else drawWhiteOnBlack(target, tracePath(state.strokes), INK);
  return target.convertToBlob ? target.convertToBlob() : new Promise((resolve) => target.toBlob(resolve));
}

/**
 * Points are moved and lines drawn anew, not pixels scaled: the pen then is as wide as the data set's, however
 * large somebody draws. One path, antialiased on the small canvas, is the average of each block.
 */
function drawLikeDataSet(target, strokes, spec) {
  target.width = target.height = spec.grid / spec.block;
  const pen = spec.height * PEN;
  const [scaleX, scaleY] = scales(bounds(strokes), spec, pen);
  const scaled = strokes.map((stroke) => stroke.map(({ x, y }) => ({ x: x * scaleX, y: y * scaleY })));
  const middle = spec.centre === "mass" ? centreOfMass(scaled) : centreOfBox(bounds(scaled));
  const toCentre = ({ x, y }) => ({ x: x - middle.x + spec.grid / 2, y: y - middle.y + spec.grid / 2 });
  drawWhiteOnBlack(target, tracePath(scaled.map((stroke) => stroke.map(toCentre))), pen, spec.block);
}

/** Factors that fit the drawing's box, with the pen's width around it, into `spec.width` x `spec.height`. */
function scales({ left, top, right, bottom }, spec, pen) {
  const x = (spec.width - pen) / Math.max(right - left, 1);
  const y = (spec.height - pen) / Math.max(bottom - top, 1);
  const stretch = spec.keep_aspect ? 1 : MAX_STRETCH;
  return [Math.min(x, y * stretch), Math.min(y, x * stretch)];
}

function bounds(strokes) {
  const xs = strokes.flat().map(({ x }) => x);
  const ys = strokes.flat().map(({ y }) => y);
  return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
}

const centreOfBox = ({ left, top, right, bottom }) => ({ x: (left + right) / 2, y: (top + bottom) / 2 });

function centreOfMass(strokes) {
  let x = 0, y = 0, mass = 0;
  for (const stroke of strokes) {
    stroke.forEach((end, i) => {
      const start = stroke[Math.max(i - 1, 0)];
      const length = Math.hypot(end.x - start.x, end.y - start.y) + 1e-6; // a dot weighs something, too
      x += length * (start.x + end.x) / 2;
      y += length * (start.y + end.y) / 2;
      mass += length;
    });
  }
  return { x: x / mass, y: y / mass };
}

function tracePath(strokes) {
  const path = new Path2D();
  for (const [first, ...rest] of strokes) {
    path.moveTo(first.x, first.y);
    path.lineTo(first.x + 0.01, first.y); // a line of no length would not be drawn as a dot
    for (const { x, y } of rest) path.lineTo(x, y);
  }
  return path;
}

function drawWhiteOnBlack(target, path, lineWidth, block = 1) {
  const context = target.getContext("2d");
  context.fillRect(0, 0, target.width, target.height);
  context.scale(1 / block, 1 / block);
  strokePath(context, path, lineWidth, "white");
}

function strokePath(context, path, lineWidth, colour) {
  Object.assign(context, { lineWidth, strokeStyle: colour, lineCap: "round", lineJoin: "round" });
  context.stroke(path);
}

// Showing

function showAnswer({ top }, milliseconds) {
  showError("");
  const [first, second] = top;
  const answer = byId("answer");
  const opening = first.probability < 0.6 ? "This may be " : "This is ";
  answer.replaceChildren(opening + article(first.label), strong(first.label), ` (${percent(first.probability)})`);
  if (second) answer.append(`, or else ${article(second.label)}`, strong(second.label), ` (${percent(second.probability)})`);
  answer.append(".");
  answer.dataset.first = first.label;
  showBars(top);
  const { drawing } = version();
  byId("seen").hidden = Boolean(state.file) || !drawing;
  const side = drawing && drawing.grid / drawing.block;
  byId("saw").textContent = byId("seen").hidden ? "" : `This is what the network saw: ${side} × ${side} pixels.`;
  byId("time").textContent = `It took ${Math.max(1, Math.round(milliseconds))} ms.`;
  byId("facts").hidden = false;
  byId("classes").hidden = true;
}

const article = (label) => (/^([aeiou]|8|11$|18$)/i.test(label) ? "an " : "a ");

function strong(text) {
  const element = document.createElement("strong");
  element.textContent = text;
  return element;
}

function showBars(top) {
  const bars = byId("bars");
  while (bars.children.length > top.length) bars.lastElementChild.remove();
  while (bars.children.length < top.length) bars.append(byId("bar").content.cloneNode(true));
  top.forEach(({ label, probability }, i) => {
    const bar = bars.children[i];
    bar.querySelector(".label").textContent = label;
    bar.querySelector(".percent").textContent = percent(probability);
    bar.style.setProperty("--probability", probability);
  });
}

/** A share as people write it; never "100 %" or "0 %" of something that is not certain. */
function percent(share, digits = 0) {
  const step = 10 ** -digits;
  if (share < 1 && 100 * share > 100 - step / 2) return `>${(100 - step).toFixed(digits)} %`;
  if (share > 0 && 100 * share < step / 2) return `<${step} %`;
  return `${(100 * share).toFixed(digits)} %`;
}

function forgetAnswer() {
  byId("answer").textContent = "What will it be?";
  delete byId("answer").dataset.first;
  byId("bars").replaceChildren();
  byId("facts").hidden = true;
  byId("classes").hidden = false;
}

function showError(message) {
  byId("error").textContent = message;
}

// The canvas

function redraw() {
  const context = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  context.clearRect(0, 0, SIDE, SIDE);
  strokePath(context, tracePath(state.strokes), INK, style.color);
  if (state.pen.shown) drawPen(context, style.caretColor);
  canvas.parentElement.classList.toggle("empty", !state.strokes.length && !state.file);
  byId("undo").disabled = !state.strokes.length;
  byId("clear").disabled = !state.strokes.length && !state.file;
}

function drawPen(context, colour) {
  const ring = new Path2D();
  ring.arc(state.pen.x, state.pen.y, state.pen.down ? INK / 2 : INK, 0, 2 * Math.PI);
  strokePath(context, ring, 4, colour);
}

let pause;

function drawingChanged() {
  redraw();
  clearTimeout(pause);
  pause = setTimeout(state.strokes.length ? classify : forgetAnswer, state.strokes.length ? PAUSE_MS : 0);
}

function begin(point) {
  forgetFile();
  state.strokes.push([point]);
  drawingChanged();
}

function extend(...points) {
  state.strokes.at(-1).push(...points);
  drawingChanged();
}

function undo() {
  state.strokes.pop();
  state.pen.down = false;
  drawingChanged();
}

function clear() {
  state.request.abort();
  state.strokes = [];
  state.pen.down = false;
  forgetFile();
  showError("");
  drawingChanged();
}

function toPoint({ clientX, clientY }) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  return { x: (clientX - left) * SIDE / width, y: (clientY - top) * SIDE / height };
}

let pointer = null; // the one that draws; a second finger does not

canvas.addEventListener("pointerdown", (event) => {
  if (pointer !== null || event.button !== 0) return;
  pointer = event.pointerId;
  canvas.setPointerCapture(pointer);
  Object.assign(state.pen, { shown: false, down: false });
  begin(toPoint(event));
});

canvas.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const events = event.getCoalescedEvents?.() ?? [];
  extend(...(events.length ? events : [event]).map(toPoint));
});

for (const type of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(type, (event) => {
    if (event.pointerId === pointer) pointer = null;
  });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

canvas.addEventListener("keydown", (event) => {
  const { pen } = state;
  if (event.key !== " " && !ARROWS[event.key]) return;
  event.preventDefault(); // the page would scroll
  pen.shown = true;
  if (event.key === " ") {
    pen.down = !pen.down;
    if (pen.down) begin({ x: pen.x, y: pen.y });
  } else {
    const [x, y] = ARROWS[event.key].map((way) => way * KEY_STEP);
    Object.assign(pen, { x: clamp(pen.x + x), y: clamp(pen.y + y) });
    if (pen.down) extend({ x: pen.x, y: pen.y });
  }
  redraw();
});

const clamp = (value) => Math.min(Math.max(value, INK / 2), SIDE - INK / 2);

canvas.addEventListener("focus", () => showPen(canvas.matches(":focus-visible")));
canvas.addEventListener("blur", () => showPen(false));

function showPen(shown) {
  Object.assign(state.pen, { shown, down: false });
  redraw();
}

// Files: chosen, dropped, pasted

function take(file, complaint) {
  if (!file) return showError(complaint);
  clear();
  state.file = file;
  byId("preview").src = URL.createObjectURL(file);
  byId("preview").alt = file.name;
  byId("preview").hidden = false;
  redraw();
  clearTimeout(pause);
  classify();
}

function forgetFile() {
  if (!state.file) return;
  state.file = null;
  URL.revokeObjectURL(byId("preview").src);
  byId("preview").hidden = true;
}

byId("preview").addEventListener("error", () => (byId("preview").hidden = true)); // the service says what is wrong

byId("choose").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", ({ target }) => {
  if (target.files.length) take(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});

document.addEventListener("paste", ({ clipboardData }) => {
  take(clipboardData.files[0], "There is no image on the clipboard.");
});

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  take(event.dataTransfer.files[0], "What was dropped is no file. Save the image, then drop it here.");
});

// The rest of the wiring

byId("undo").addEventListener("click", undo);
byId("clear").addEventListener("click", clear);
byId("model").addEventListener("change", () => {
  fillVersions();
  classify();
});
byId("version").addEventListener("change", () => {
  state.picked[model().name] = version().version;
  describeVersion();
  classify();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
window.addEventListener("focus", refreshModels);
setInterval(() => document.hidden || refreshModels(), POLL_MS);

redraw();
refreshModels();
