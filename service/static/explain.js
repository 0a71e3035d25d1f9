"use strict";

// Where the network looked for a class, as the picture that POST /models/<name>/versions/<version>/explain draws; and the
// training images that resemble the image, where the version shows them.

const explained = { url: "", image: null, request: new AbortController() };

/** For the image that was just answered; with `?explain=1` in the page's address without being asked. */
function offerExplanation(classified, image, names, { top, labels }) {
  forgetExplanation();
  Object.assign(explained, { url: classified.replace(/classify\?.*/, "explain"), image });
  const first = (labels?.[0] ?? top[0]).label;
  const likely = [...top.map(({ label }) => label), ...names];
  const options = [first, ...likely.filter((name) => name !== first)];
  byId("because").replaceChildren(...[...new Set(options)].map((name) => new Option(name, name)));
  byId("why").hidden = false;
  if (new URLSearchParams(location.search).has("explain")) explain();
}

function forgetExplanation() {
  explained.request.abort();
  byId("why").hidden = byId("looked").hidden = byId("alike").hidden = true;
  byId("meaning").textContent = "";
  URL.revokeObjectURL(byId("overlay").src);
  byId("overlay").removeAttribute("src");
}

async function explain() {
  explained.request.abort();
  const { signal } = (explained.request = new AbortController());
  const label = byId("because").value;
  byId("looked").hidden = false;
  byId("meaning").textContent = `Looking for ${label}…`;
  if (byId("alike").hidden && version()?.shows_training_images) showSimilar(signal);
  try {
    const options = { method: "POST", body: explained.image, signal, headers: { Accept: "image/png" } };
    const answer = await fetchAny(`${explained.url}?class=${encodeURIComponent(label)}`, options);
    const picture = await answer.blob();
    if (signal.aborted) return;
    URL.revokeObjectURL(byId("overlay").src);
    Object.assign(byId("overlay"), { src: URL.createObjectURL(picture), alt: `Where the network looked for ${label}` });
    byId("meaning").textContent = `The brighter a place is, the more it speaks for ${label}. This is the picture as the network saw it.`;
  } catch (error) {
    if (signal.aborted) return;
    byId("overlay").removeAttribute("src");
    byId("meaning").textContent = error.fromService ? error.message : NO_ANSWER;
  }
}

/** They are the same for each class that is looked for. */
async function showSimilar(signal) {
  const url = explained.url.replace(/explain$/, "similar");
  try {
    const { images } = await fetchJson(url, { method: "POST", body: explained.image, signal });
    byId("similar").replaceChildren(...images.map(similarImage));
    byId("alike").hidden = false;
  } catch (error) {
    if (!signal.aborted) showError(error.fromService ? error.message : NO_ANSWER);
  }
}

function similarImage({ label, jpeg }) {
  const item = byId("similar-image").content.cloneNode(true).firstElementChild;
  Object.assign(item.querySelector("img"), { src: `data:image/jpeg;base64,${jpeg}`, alt: "" });
  item.querySelector("span").textContent = label;
  return item;
}

byId("why").addEventListener("submit", (event) => {
  event.preventDefault();
  explain();
});
