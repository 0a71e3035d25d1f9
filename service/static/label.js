"use strict";

// Goes through the images that a service has kept, the most uncertain first; every label is one key.

const BATCH = 50; // images that are asked for at a time
const FEW = 5; // left, at which more are asked for
const MOST_SHOWN = 60; // images with several labels
const MOST_KEYS = 10; // of which the tenth has a key only where labels are their own
const NO_FEEDBACK = "This service takes no feedback. Whoever runs it can open it for that.";
const KEEPING = "No image waits for a label. Whoever runs the service can have it keep some of those that are asked about.";

const state = {
  names: [], // the model's classes
  queue: [], // images as GET /models/<name>/kept lists them; the first one is shown
  seen: new Set(), // digests of images that were dealt with, or skipped
  done: [], // of those dealt with here, with the label they were given, to go back to
  discarded: null, // the digest of the image that is to be thrown away
  shown: null, // an object URL
  settling: null, // the image that was gone back to, or chosen of those with several labels
  contradictory: [], // images with several labels
  busy: false, // something is under way
};

const base = () => `models/${encodeURIComponent(byId("model").value)}`;
const current = () => state.settling ?? state.queue[0];

async function start() {
  await attempt(async () => {
    const { models, default: first } = await fetchJson("models");
    const names = models.filter((model) => model.takes_feedback).map(({ name }) => name);
    byId("model").replaceChildren(...names.map((name) => new Option(name, name)));
    const wish = new URLSearchParams(location.search).get("model") ?? first;
    if (names.includes(wish)) byId("model").value = wish;
    const wished = models.find(({ name }) => name === wish);
    if (wished && hasManyLabels(wished)) throw refusal(`Feedback is one label an image, and ${wish} gives an image any number of labels: it takes none.`);
    if (!names.length) throw refusal(NO_FEEDBACK);
    await restart();
  });
}

function hasManyLabels({ live, versions }) {
  return versions.find(({ version }) => version === live)?.task === "multi_label";
}

/** An Error whose message `attempt` shows. */
function refusal(message) {
  return Object.assign(new Error(message), { fromService: true });
}

async function restart() {
  Object.assign(state, { queue: [], seen: new Set(), done: [], discarded: null, settling: null });
  await refill();
  await show();
}

/** More images, without those that were seen. */
async function refill() {
  const found = await fetchJson(`${base()}/kept?limit=${Math.min(500, BATCH + state.seen.size)}`);
  state.names = found.class_names;
  byId("names").replaceChildren(...state.names.map((name) => new Option(name)));
  const known = new Set(state.queue.map(({ image }) => image));
  state.queue.push(...found.images.filter(({ image }) => !state.seen.has(image) && !known.has(image)));
}

/** How many images of this model have a label, and those that have several. */
async function count() {
  const { labelled, kept, contradictory } = await fetchJson(`${base()}/feedback`);
  const done = Object.values(labelled).reduce((sum, number) => sum + number, 0);
  const left = kept + contradictory.length;
  Object.assign(byId("progress"), { value: done, max: Math.max(1, done + left), hidden: false });
  const here = state.done.filter(({ label }) => label).length;
  byId("left").textContent = `${left} left, ${done} labelled${here ? `, ${here} of them here` : ""}.`;
  byId("apart").hidden = !contradictory.length;
  byId("apart").querySelector("summary").textContent = `Images with several labels: ${contradictory.length}`;
  if (byId("apart").open) await showContradictions(contradictory);
  state.contradictory = contradictory;
}

async function showContradictions(contradictory) {
  const shown = new Map([...byId("contradictions").children].map((item) => [item.dataset.image, item]));
  const items = contradictory.slice(0, MOST_SHOWN).map(async (found) => shown.get(found.image) ?? contradiction(found));
  byId("contradictions").replaceChildren(...(await Promise.all(items)));
}

/** A button with a small picture and its labels, by which the image is asked about. */
async function contradiction({ image, labels }) {
  const item = byId("contradiction").content.cloneNode(true).firstElementChild;
  item.dataset.image = image;
  const picture = await fetchAny(`${base()}/kept/${image}`).then((answer) => answer.blob(), () => null); // settled just now
  const address = picture && URL.createObjectURL(picture);
  if (address) Object.assign(item.querySelector("img"), { src: address, onload: () => URL.revokeObjectURL(address) });
  item.querySelector("span").textContent = labels.join(" or ");
  item.querySelector("button").addEventListener("click", () => settle({ image, labels }));
  return item;
}

async function settle(found) {
  await attempt(async () => {
    await throwAway();
    state.settling = found;
    await show();
  });
}

async function show() {
  const asked = current();
  byId("image").hidden = true; // until it is the one that is asked about
  byId("choices").replaceChildren(...(asked ? choices(asked).map(choice) : []));
  byId("question").textContent = !asked ? KEEPING : asked.labels ? "Which label is right?" : "What is this?";
  if (!asked) return count();
  const picture = await (await fetchAny(`${base()}/kept/${asked.image}`)).blob();
  if (current() !== asked) return;
  if (state.shown) URL.revokeObjectURL(state.shown);
  state.shown = URL.createObjectURL(picture);
  Object.assign(byId("image"), { src: state.shown, alt: "the image to label", hidden: false });
  count().catch(() => {}); // the next image need not wait for it
}

/** What was said or what the model thought, then the other classes, as many as there are keys. */
function choices({ top, labels }) {
  const likely = labels ?? top.map(({ label }) => label).filter((label) => state.names.includes(label));
  return [...likely, ...state.names.filter((name) => !likely.includes(name))].slice(0, MOST_KEYS);
}

/** What to press for a label: where all are of one character, itself. */
function keyOf(label, i) {
  return state.names.every((name) => name.length === 1) ? label : String(i + 1);
}

function choice(label, i) {
  const item = byId("choice-of-label").content.cloneNode(true);
  const [key, name, share] = ["kbd", ".label", ".quiet"].map((selector) => item.querySelector(selector));
  const found = current().top?.find((each) => each.label === label);
  key.textContent = keyOf(label, i);
  name.textContent = label;
  share.textContent = found ? percent(found.probability) : "";
  item.querySelector("button").addEventListener("click", () => give(label));
  return item;
}

async function give(label) {
  const asked = current();
  if (!asked) return;
  await attempt(async () => {
    await throwAway();
    const settle = Boolean(asked.label ?? asked.labels);
    const body = JSON.stringify({ label, digest: asked.image, settle });
    const headers = { "Content-Type": "application/json" };
    const { outcome } = await fetchJson(`${base()}/feedback`, { method: "POST", body, headers });
    state.done.push({ ...asked, label });
    if (state.settling) state.queue = state.queue.filter(({ image }) => image !== asked.image);
    await next();
    byId("said").textContent = outcome === "contradictory" ? `${label}: it had another label before.` : `That was ${label}.`;
  });
}

async function next() {
  if (state.settling) state.settling = null;
  else state.seen.add(state.queue.shift().image);
  if (state.queue.length <= FEW) await refill();
  await show();
}

/** To the image dealt with last: a label that it is given now replaces the one before, and what was discarded stays. */
async function back() {
  if (!state.done.length) return;
  await attempt(async () => {
    state.settling = state.done.pop();
    if (state.discarded === state.settling.image) state.discarded = null;
    await show();
    byId("said").textContent = state.settling.label ? `It was ${state.settling.label}.` : "Here it is again.";
  });
}

/** Thrown away only when something else is done after it, so that one can go back. */
async function discard() {
  const asked = current();
  if (!asked || asked.label || asked.labels) return; // what has a label is not thrown away
  await attempt(async () => {
    await throwAway();
    state.discarded = asked.image;
    state.done.push(asked);
    await next();
    byId("said").textContent = "Discarded.";
  });
}

async function throwAway() {
  if (!state.discarded) return;
  const url = `${base()}/kept/${state.discarded}`;
  state.discarded = null;
  await fetchAny(url, { method: "DELETE", keepalive: true });
}

async function skip() {
  const asked = current();
  if (!asked) return;
  await attempt(async () => {
    await throwAway();
    state.done.push(asked);
    await next();
    byId("said").textContent = "Skipped.";
  });
}

/** One thing at a time: a key that is pressed before the next image is there would label one that nobody has seen. */
async function attempt(action) {
  if (state.busy) return;
  state.busy = true;
  try {
    await action();
    showError("");
  } catch (error) {
    showError(error.fromService ? error.message : NO_ANSWER);
  } finally {
    state.busy = false;
  }
}

const ACTIONS = { s: skip, x: discard, u: back, "/": () => byId("other").focus() };

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.target.matches?.("input, select") || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Enter" && event.target.matches?.("button, a, summary")) return;
  const labels = current() ? choices(current()) : [];
  const chosen = event.key === "Enter" ? labels[0] : labels.find((label, i) => keyOf(label, i) === event.key);
  if (chosen === undefined && !ACTIONS[event.key]) return;
  event.preventDefault();
  if (chosen === undefined) ACTIONS[event.key]();
  else give(chosen);
});
byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const label = byId("other").value.trim();
  byId("other").value = "";
  byId("other").blur();
  if (label) give(label);
});
byId("apart").addEventListener("toggle", () => {
  if (byId("apart").open) attempt(() => showContradictions(state.contradictory));
});
byId("skip").addEventListener("click", skip);
byId("discard").addEventListener("click", discard);
byId("undo").addEventListener("click", back);
byId("model").addEventListener("change", () => attempt(restart));
window.addEventListener("pagehide", throwAway);
onKey(start);
start();
