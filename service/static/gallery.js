"use strict";

// Several images at once, each with its label, and test images of the version to try.

const MOST_EXAMPLES = 8; // test images that are offered
const gallery = { request: new AbortController(), offered: "" };

/** Thumbnails of several files, each with the label that the network gives it; the one that is pressed is looked at. */
async function showSeveral(files) {
  gallery.request.abort();
  const { signal } = (gallery.request = new AbortController());
  forgetThumbnails(byId("several"));
  const items = files.map((file) => thumbnail(file, file.name));
  byId("several").replaceChildren(...items);
  for (const [i, file] of files.entries()) {
    const label = await labelOf(file, items[i].querySelector("img"), signal);
    if (signal.aborted) return;
    items[i].querySelector("span").textContent = label;
  }
}

async function labelOf(file, picture, signal) {
  const asked = version();
  const url = `models/${encodeURIComponent(byId("model").value)}/versions/${asked?.version}/classify?top_k=1`;
  try {
    const body = await scaledDown(file, picture, asked?.input);
    const { predictions } = await fetchJson(url, { method: "POST", body, signal });
    const { top, labels, unlike_training_images: isUnlike } = predictions[0];
    if (isUnlike) return `unlike the training images; nearest: ${top[0].label}`;
    if (labels) return labels.map(({ label }) => label).join(", ") || "none";
    return `${top[0].label}, ${percent(top[0].probability)}`;
  } catch (error) {
    return error.fromService ? error.message : NO_ANSWER;
  }
}

/** A button with a small picture; `name` is what it is called until there is a label. */
function thumbnail(file, name) {
  const item = byId("thumbnail").content.cloneNode(true).firstElementChild;
  Object.assign(item.querySelector("img"), { src: URL.createObjectURL(file), alt: name });
  item.querySelector("button").addEventListener("click", () => select(file));
  return item;
}

function forgetThumbnails(list) {
  for (const picture of list.querySelectorAll("img")) URL.revokeObjectURL(picture.src);
  list.replaceChildren();
}

/** Some of the version's test images, from all of them alike. */
async function offerExamples() {
  const path = `models/${encodeURIComponent(byId("model").value)}/versions/${byId("version").value}/examples`;
  const offered = version() ? `${path} ${version().created_at}` : "";
  if (gallery.offered === offered) return;
  gallery.offered = offered;
  forgetThumbnails(byId("examples"));
  byId("trial").hidden = true;
  if (!offered) return;
  const files = await exampleFiles(path).catch(() => null); // the page is of use without them
  if (gallery.offered !== offered) return;
  if (!files) gallery.offered = ""; // so that it is tried again
  if (!files?.length) return;
  byId("examples").replaceChildren(...files.map((file) => thumbnail(file, file.name)));
  byId("trial").hidden = false;
}

async function exampleFiles(path) {
  const { examples } = await fetchJson(path);
  const count = Math.min(examples, MOST_EXAMPLES);
  const numbers = Array.from({ length: count }, (_, i) => Math.floor((i * examples) / count));
  return Promise.all(
    numbers.map(async (number) => new File([await (await fetchAny(`${path}/${number}`)).blob()], `test image ${number}`)),
  );
}
