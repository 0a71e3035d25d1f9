"use strict";

// An image or a drawing goes to POST /models/<name>/versions/<version>/classify; its five best classes are shown, or its labels.

const SIDE = 640; // pixels of the canvas; CSS shows it at whatever size there is room for
const INK = 30; // width of a line on the canvas
const PEN = 1 / 8; // width of a line in handwritten data sets, as a share of a digit's height
const PAUSE_MS = 150; // without drawing, before the drawing is classified
const POLL_MS = 5000; // between looks for new versions
const KEY_STEP = 16; // pixels of the canvas that an arrow key moves the pen
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const NO_MODEL = "No model is published yet. Once one is, it appears here.";

const canvas = byId("canvas");
const nothing = byId("answer").textContent;
const state = {
  models: [], // as GET /models lists them
  picked: {}, // the version that the visitor chose, by model; until then it is the live one
  strokes: [], // lists of {x, y} in pixels of the canvas
  file: null, // instead of a drawing
  answered: null, // the image that the answer on the page is about
  pointer: null, // the one that draws; a second finger does not
  pen: { x: SIDE / 2, y: SIDE / 4, down: false, shown: false }, // of the keyboard
  pause: 0,
  request: new AbortController(), // the newest
};

// Models and versions

const model = () => state.models.find(({ name }) => name === byId("model").value);
const version = () => model()?.versions.find((each) => String(each.version) === byId("version").value);
const identity = () => [byId("model").value, byId("version").value, version()?.created_at].join();
const answers = ({ state }) => ["available", "restarting", "idle"].includes(state); // the latter two within a moment

async function refreshModels() {
  const listing = await fetchJson("models").catch((error) => (error.fromService ? error : null));
  if (!listing?.models?.length) return showError(listing ? (listing.message ?? NO_MODEL) : NO_ANSWER);
  const recovered = [NO_MODEL, NO_ANSWER].includes(byId("error").textContent);
  if (recovered) showError("");
  const before = identity();
  if (JSON.stringify(listing.models) !== JSON.stringify(state.models)) fillModels(listing);
  if (recovered || identity() !== before) classify();
}

function fillModels(listing) {
  state.models = listing.models;
  const options = state.models.map(({ name }) => new Option(name, name));
  fillSelect(byId("model"), options, [byId("model").value, listing.default, options[0].value]);
  fillVersions();
}

function fillVersions() {
  const { name, live, versions } = model() ?? { versions: [] };
  const options = versions.map((each) => new Option(describe(each), each.version));
  options.forEach((option, i) => (option.disabled = !answers(versions[i])));
  fillSelect(byId("version"), options, [state.picked[name], live, versions.find(answers)?.version]);
  showVersion();
}

function fillSelect(select, options, wishes) {
  const enabled = options.filter((option) => !option.disabled).map((option) => option.value);
  select.replaceChildren(...options);
  select.value = wishes.map(String).find((wish) => enabled.includes(wish)) ?? "";
}

function describe({ version, live, state }) {
  if (state !== "available") return `${version}, ${state}`;
  return live ? `${version}, live` : String(version);
}

function showVersion() {
  offerExamples();
  const { architecture = "", accuracy, class_names: names = [], drawing, task } = version() ?? {};
  const right = accuracy == null ? "" : `, right on ${(100 * accuracy).toFixed(1)}\u00a0% of its test images`;
  byId("about").textContent = architecture + right;
  Object.assign(byId("lineage"), { hidden: !model(), href: `models/${encodeURIComponent(model()?.name)}/versions` });
  Object.assign(byId("labelling"), { hidden: !model()?.takes_feedback, href: `label?model=${encodeURIComponent(model()?.name)}` });
  const more = names.length > 12 ? ` and ${names.length - 12} more` : "";
  const hint = drawing?.hint ? ` ${drawing.hint}` : "";
  const any = task === "multi_label" ? " An image may have any number of these labels, or none." : "";
  byId("classes").textContent = names.length ? `It knows ${names.slice(0, 12).join(", ")}${more}.${any}${hint}` : "";
  const isDrawnFor = !version() || Boolean(drawing);
  byId("invitation").textContent = isDrawnFor ? "Draw here" : "Drop, paste or choose an image";
  canvas.classList.toggle("drawn", isDrawnFor);
  byId("undo").hidden = byId("clear").hidden = !isDrawnFor && !state.strokes.length;
}

// Asking

async function classify() {
  state.request.abort(); // only the newest picture matters
  const { signal } = (state.request = new AbortController());
  const asked = version();
  const image = asked && (await encode(asked));
  if (!image || signal.aborted) return;
  const url = `models/${encodeURIComponent(byId("model").value)}/versions/${asked.version}/classify?top_k=5`;
  const started = performance.now();
  try {
    const { predictions, threshold } = await fetchJson(url, { method: "POST", body: image, signal });
    showAnswer({ ...predictions[0], threshold }, performance.now() - started, state.file ? null : asked.drawing);
    offerCorrection(image, asked.class_names);
    offerExplanation(url, image, asked.class_names, predictions[0]);
    offerLayers(url, image);
    offerCode(asked, image);
  } catch (error) {
    if (signal.aborted) return;
    forgetAnswer();
    showError(error.fromService ? error.message : NO_ANSWER);
  }
}

/** The code for the picture that was just answered; of the live version, whichever that will be when the code runs. */
function offerCode({ version, live }, image) {
  const path = `models/${encodeURIComponent(byId("model").value)}${live ? "" : `/versions/${version}`}/classify`;
  const name = state.file?.name ?? "drawing.png";
  if (image === state.file) showCode(path, name, null);
  else showCode(path, state.file ? `small-${name.replace(/\.\w+$/, "")}.jpg` : name, image);
  byId("code").hidden = false;
}

/** What is asked about: a file, or the drawing; null where there is neither. */
async function encode({ input, drawing }) {
  return state.file ? scaledDown(state.file, byId("preview"), input) : encodeDrawing(drawing);
}

/** White ink on black as PNG: made like the data set's images where it is known how, else as it was drawn. */
function encodeDrawing(spec) {
  if (!state.strokes.length) return null;
  const seen = byId("seen");
  const context = seen.getContext("2d");
  seen.width = seen.height = spec ? spec.grid / spec.block : SIDE;
  context.fillRect(0, 0, seen.width, seen.height);
  const lineWidth = spec ? fit(context, state.strokes, spec) : INK;
  strokeLines(context, state.strokes, lineWidth, "white");
  return bytesOf(seen, "image/png");
}

/**
 * Transforms `context` so that the strokes fill `spec`'s box; returns the width of a line, in the strokes' pixels.
 *
 * Lines are drawn anew, not pixels scaled: the pen is the data set's however large somebody draws. Antialiased at
 * the final size they are the averages of blocks. A narrow drawing is widened by the cube root of what is missing,
 * which measured best: as wide as a 0, a 1 is read as a 7.
 */
function fit(context, strokes, spec) {
  const pen = spec.height * PEN;
  const { left, top, right, bottom } = bounds(strokes);
  const [width, height] = [Math.max(right - left, 1), Math.max(bottom - top, 1)];
  const widest = spec.keep_aspect ? spec.width : 2 * spec.width;
  const scale = Math.min((spec.height - pen) / height, (widest - pen) / width);
  const stretch = (room, size) => (spec.keep_aspect ? 1 : Math.min(room / size, Math.cbrt(room / size)));
  const middle = spec.centre === "mass" ? centreOfMass(strokes) : { x: (left + right) / 2, y: (top + bottom) / 2 };
  context.scale(1 / spec.block, 1 / spec.block);
  context.translate(spec.grid / 2, spec.grid / 2);
  context.scale(stretch(spec.width, width * scale + pen), stretch(spec.height, height * scale + pen));
  context.scale(scale, scale);
  context.translate(-middle.x, -middle.y);
  return pen / scale;
}

function bounds(strokes) {
  const [xs, ys] = ["x", "y"].map((axis) => strokes.flat().map((point) => point[axis]));
  return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
}

function centreOfMass(strokes) {
  const lines = strokes.flatMap((points) => points.map((end, i) => [points[Math.max(i - 1, 0)], end]));
  const masses = lines.map(([a, b]) => Math.hypot(b.x - a.x, b.y - a.y) + 0.01); // a dot weighs something, too
  const mean = (axis) => lines.reduce((sum, [a, b], i) => sum + (masses[i] * (a[axis] + b[axis])) / 2, 0);
  const total = masses.reduce((sum, mass) => sum + mass);
  return { x: mean("x") / total, y: mean("y") / total };
}

function strokeLines(context, strokes, lineWidth, strokeStyle) {
  Object.assign(context, { lineWidth, strokeStyle, lineCap: "round", lineJoin: "round" });
  context.beginPath();
  for (const [first, ...rest] of strokes) {
    context.moveTo(first.x, first.y);
    context.lineTo(first.x + 0.01, first.y); // a line of no length would not be drawn as a dot
    for (const { x, y } of rest) context.lineTo(x, y);
  }
  context.stroke();
}

// Showing; whatever comes from the service goes in as text

/** `labels` and `threshold` are there where an image may have any number of labels: all that reach the threshold. */
function showAnswer({ top, labels, threshold, unlike_training_images: isUnlike }, milliseconds, drawing) {
  showError("");
  byId("answer").replaceChildren(...(labels ? labelling(labels, threshold) : isUnlike ? doubting(top) : guesses(top)));
  byId("answer").dataset.label = (labels ?? top.slice(0, 1)).map(({ label }) => label).join(", ");
  byId("answer").classList.toggle("several", Boolean(labels));
  byId("answer").ariaBusy = "false";
  showBars(labels?.length > top.length ? labels : top, labels ? labels.length : 1, threshold);
  const side = drawing && drawing.grid / drawing.block;
  byId("seen").hidden = !drawing;
  const own = labels ? `Each label has a probability of its own, and counts from ${exactly(threshold)} on.` : "";
  byId("saw").textContent = drawing ? `What the network saw, in ${side} × ${side} pixels.` : own;
  byId("time").textContent = `Answered in ${Math.max(1, Math.round(milliseconds))} ms.`;
  byId("facts").hidden = false;
  byId("classes").hidden = true;
}

function guesses([first, second]) {
  const opening = first.probability < 0.6 ? "Perhaps " : "";
  const share = ({ probability }) => `, ${percent(probability)}`;
  return [opening, named(first), share(first), ...(second ? ["; else ", named(second), share(second)] : [])];
}

/** Of an image that is unlike those that the model was trained on: the class is no answer, whatever its share. */
function doubting([first]) {
  const badge = document.createElement("span");
  badge.className = "badge";
  badge.textContent = "Unlike the training images";
  return [badge, " Of its classes the nearest is ", named(first), `, ${percent(first.probability)}.`];
}

function labelling(labels, threshold) {
  if (!labels.length) return [`It has none of the labels: none has a probability of ${exactly(threshold)} or more.`];
  const between = (i) => (i === 0 ? "" : i === labels.length - 1 ? " and " : ", ");
  const opening = labels.length === 1 ? "It has the label " : "It has the labels ";
  const shares = labels.map(({ probability }) => ` (${percent(probability)})`);
  return [opening, ...labels.flatMap((each, i) => [between(i), named(each), shares[i]]), "."];
}

function named({ label }) {
  const name = document.createElement("strong");
  name.textContent = label;
  return name;
}

/** The first `chosen` of them are the answer; `threshold` is there where bars do not share one whole. */
function showBars(top, chosen, threshold) {
  const bars = byId("bars");
  bars.classList.toggle("independent", threshold !== undefined);
  bars.style.setProperty("--threshold", threshold ?? 1);
  bars.ariaLabel = threshold === undefined ? "The most probable classes" : "The most probable labels";
  while (bars.children.length > top.length) bars.lastElementChild.remove();
  while (bars.children.length < top.length) bars.append(byId("bar").content.cloneNode(true));
  top.forEach(({ label, probability }, i) => {
    const [name, track, share] = bars.children[i].children;
    bars.children[i].classList.toggle("chosen", i < chosen);
    name.textContent = label;
    track.style.setProperty("--probability", probability);
    share.textContent = percent(probability);
  });
}

function exactly(share) {
  return `${Number((100 * share).toPrecision(3))}\u00a0%`;
}

/** Where feedback is taken: the right label of the image just asked about. */
function offerCorrection(image, names) {
  state.answered = image;
  byId("thanks").textContent = "";
  byId("correct").hidden = !model()?.takes_feedback;
  byId("right").replaceChildren(new Option("choose the label", ""), ...names.map((name) => new Option(name, name)));
}

const OUTCOMES = {
  stored: "Thank you. The next training uses this image.",
  duplicate: "Thank you. This was said before.",
  contradictory: "This image was given another label before. Nobody trains on it until that is settled.",
  settled: "Thank you. That settles it.",
};

async function correct(label) {
  const url = `models/${encodeURIComponent(byId("model").value)}/feedback?label=${encodeURIComponent(label)}`;
  try {
    const { outcome } = await fetchJson(url, { method: "POST", body: state.answered });
    byId("thanks").textContent = OUTCOMES[outcome];
    byId("correct").hidden = true;
  } catch (error) {
    showError(error.fromService ? error.message : NO_ANSWER);
  }
}

function forgetAnswer() {
  byId("answer").textContent = nothing;
  delete byId("answer").dataset.label;
  byId("answer").ariaBusy = "false";
  byId("bars").replaceChildren();
  byId("facts").hidden = byId("correct").hidden = byId("code").hidden = true;
  forgetExplanation();
  forgetLayers();
  byId("thanks").textContent = "";
  byId("classes").hidden = false;
}

// Drawing, by pointer and by keyboard

function startStroke(point) {
  keep(null);
  state.strokes.push([]);
  draw(point);
}

function draw(...points) {
  state.strokes.at(-1).push(...points);
  changed();
}

function changed() {
  redraw();
  byId("answer").ariaBusy = "true";
  clearTimeout(state.pause);
  state.pause = setTimeout(classify, PAUSE_MS);
}

function redraw() {
  const context = canvas.getContext("2d");
  const { color, caretColor } = getComputedStyle(canvas);
  context.clearRect(0, 0, SIDE, SIDE);
  strokeLines(context, state.strokes, INK, color);
  if (state.pen.shown) strokeLines(context, [[state.pen]], state.pen.down ? INK : INK / 2, caretColor);
  canvas.parentElement.classList.toggle("empty", !state.strokes.length && !state.file);
}

function undo() {
  state.strokes.pop();
  state.pen.down = false;
  return state.strokes.length ? changed() : clear();
}

function clear() {
  state.request.abort();
  clearTimeout(state.pause);
  Object.assign(state, { strokes: [], pointer: null });
  state.pen.down = false;
  keep(null);
  forgetAnswer();
  showError("");
  redraw();
}

function toPoint({ clientX, clientY }) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  return { x: ((clientX - left) * SIDE) / width, y: ((clientY - top) * SIDE) / height };
}

canvas.addEventListener("pointerdown", (event) => {
  if (state.pointer !== null || event.button !== 0) return;
  state.pointer = event.pointerId;
  canvas.setPointerCapture(event.pointerId);
  Object.assign(state.pen, { shown: false, down: false });
  startStroke(toPoint(event));
});
canvas.addEventListener("pointermove", (event) => {
  if (event.pointerId !== state.pointer) return;
  const between = event.getCoalescedEvents?.() ?? [];
  draw(...(between.length ? between : [event]).map(toPoint));
});
canvas.addEventListener("lostpointercapture", () => (state.pointer = null));

canvas.addEventListener("keydown", (event) => {
  const { pen } = state;
  const arrow = ARROWS[event.key];
  if ((!arrow && event.key !== " ") || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault(); // the page would scroll
  const [x, y] = [pen.x, pen.y].map((at, i) => Math.min(Math.max(at + KEY_STEP * (arrow?.[i] ?? 0), INK), SIDE - INK));
  Object.assign(pen, { x, y, shown: true, down: arrow ? pen.down : !pen.down });
  if (!arrow && pen.down) startStroke({ x, y });
  if (arrow && pen.down) draw({ x, y });
  redraw();
});
for (const type of ["focus", "blur"]) {
  canvas.addEventListener(type, () => {
    Object.assign(state.pen, { shown: canvas.matches(":focus-visible"), down: false });
    redraw();
  });
}

onKey(async () => {
  await refreshModels();
  classify();
});

// Files: chosen, dropped or pasted

function take(files, complaint) {
  if (!files.length) return showError(complaint);
  showSeveral(files.length > 1 ? [...files] : []);
  select(files[0]);
}

function select(file) {
  clear();
  keep(file);
  redraw();
  byId("answer").ariaBusy = "true";
  classify();
}

function keep(file) {
  const preview = byId("preview");
  if (state.file) URL.revokeObjectURL(preview.src);
  state.file = file;
  preview.hidden = !file;
  if (file) Object.assign(preview, { src: URL.createObjectURL(file), alt: file.name });
}

byId("preview").addEventListener("error", ({ target }) => (target.hidden = true)); // the service says what is wrong
byId("choose").addEventListener("click", () => byId("file").click());
byId("shoot").addEventListener("click", () => byId("camera").click());
byId("camera").addEventListener("change", ({ target }) => take([...target.files]));
byId("file").addEventListener("change", ({ target }) => {
  take([...target.files]);
  target.value = ""; // so that the same file can be chosen again
});
document.addEventListener("paste", ({ clipboardData }) => {
  take(clipboardData.files, "There is no image on the clipboard.");
});
for (const type of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dragging", type === "dragover" || (type === "dragleave" && event.relatedTarget));
    if (type === "drop") take(event.dataTransfer.files, "That was no file. Save the image, then drop it here.");
  });
}

// The rest

byId("correct").addEventListener("submit", (event) => {
  event.preventDefault();
  correct(byId("right").value);
});
byId("agree").addEventListener("click", () => correct(byId("answer").dataset.label));
byId("undo").addEventListener("click", undo);
byId("clear").addEventListener("click", () => {
  showSeveral([]);
  clear();
});
byId("model").addEventListener("change", fillVersions);
byId("version").addEventListener("change", () => {
  state.picked[model().name] = version().version;
  showVersion();
});
byId("choice").addEventListener("change", classify);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
window.addEventListener("focus", refreshModels);
setInterval(() => document.hidden || refreshModels(), POLL_MS);
redraw();
refreshModels();
