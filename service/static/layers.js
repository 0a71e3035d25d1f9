"use strict";

// What each stage of the network makes of the image that was answered last, and the table of its layers.

const inside = { version: "", image: null, request: new AbortController() };

/** For the image that was just answered, of the version at an address; shown while the details are open. */
function offerLayers(classified, image) {
  const address = classified.replace(/classify\?.*/, "layers");
  byId("inside").hidden = !version()?.shows_layers;
  inside.image = image;
  byId("stages").classList.add("stale"); // until the maps of this image are there
  if (inside.version !== address) {
    inside.version = address;
    byId("stages").replaceChildren();
    byId("layers").replaceChildren();
  }
  showLayers();
}

async function showLayers() {
  if (byId("inside").hidden || !byId("inside").open || !inside.image) return;
  inside.request.abort();
  const { signal } = (inside.request = new AbortController());
  try {
    if (!byId("layers").children.length) await showTable(signal);
    const { stages } = await fetchJson(inside.version, { method: "POST", body: inside.image, signal });
    stages.forEach(showMaps);
    byId("stages").classList.remove("stale");
    byId("inside-said").textContent = "What each stage makes of the image: every small picture is one feature map, and bright where it found what it looks for.";
  } catch (error) {
    if (signal.aborted) return;
    byId("inside-said").textContent = error.fromService ? error.message : NO_ANSWER;
    for (const maps of document.querySelectorAll("#stages .maps")) maps.removeAttribute("src");
  }
}

function forgetLayers() {
  inside.request.abort();
  inside.image = null;
  byId("inside").hidden = true;
}

/** The layers, and the stages with their filters. */
async function showTable(signal) {
  const { layers, stages } = await fetchJson(inside.version, { signal });
  byId("stages").replaceChildren(...stages.map(describeStage));
  byId("layers").replaceChildren(...layers.map(describeLayer));
}

function describeStage({ name, filters }) {
  const item = byId("stage").content.cloneNode(true).firstElementChild;
  item.dataset.name = name;
  item.querySelector("h3").textContent = name;
  const picture = item.querySelector(".filters");
  if (filters) Object.assign(picture, { src: `data:image/png;base64,${filters}`, alt: `Filters of ${name}` });
  else item.querySelector("details").remove();
  return item;
}

function showMaps({ name, height, width, maps, shown, png }) {
  const item = [...byId("stages").children].find(({ dataset }) => dataset.name === name);
  if (!item) return;
  const count = shown < maps ? `${shown} of ${maps}` : maps;
  item.querySelector("h3").textContent = `${name}: ${count} maps of ${height} × ${width}`;
  Object.assign(item.querySelector(".maps"), { src: `data:image/png;base64,${png}`, alt: `Feature maps of ${name}` });
}

function describeLayer({ name, kind, output, kernel, parameters, macs }) {
  const row = document.createElement("tr");
  const number = (count) => (count ? count.toLocaleString("en") : "");
  const texts = [name, kind, output.join(" × "), kernel?.join(" × ") ?? "", number(parameters), number(macs)];
  row.append(...texts.map((text, i) => Object.assign(document.createElement(i ? "td" : "th"), { textContent: text })));
  row.firstChild.scope = "row";
  return row;
}

byId("inside").addEventListener("toggle", showLayers);
