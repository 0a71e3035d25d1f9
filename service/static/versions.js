"use strict";

// Every published version of the model in the page's address: what it was made of, how good it is, who decided.

const model = decodeURIComponent(location.pathname.split("/").at(-2));
const address = "versions"; // of this page

async function show() {
  try {
    const { versions } = await fetchJson(address, { headers: { Accept: "application/json" } });
    byId("versions").replaceChildren(...versions.map(describe));
  } catch (error) {
    showError(error.fromService ? error.message : NO_ANSWER);
  }
}

function describe(about) {
  const item = byId("version").content.cloneNode(true);
  const [title, decision, facts, rules, rest] = ["h3", ".decision", "dl", ".rules", "pre"].map((s) => item.querySelector(s));
  title.textContent = [`Version ${about.version}`, ...(about.parts ?? [])].join(", ");
  if (about.broken) {
    decision.textContent = about.broken;
    item.querySelector("details").remove();
    return item;
  }
  decision.textContent = about.decision
    ? `${about.decision.outcome}: ${about.decision.reason}`
    : "It was not made by a retraining job.";
  const { data, metrics } = about;
  fact(facts, "Made", about.created_at ?? "unknown");
  fact(facts, "Parent", about.parent_version == null ? "none" : `version ${about.parent_version}`);
  const imported = about.architecture === "imported";
  fact(facts, "Trained from", imported ? "unknown: it was imported with its weights" : describeStart(about.started_from));
  fact(facts, "Network", about.architecture);
  if (about.task === "multi_label") fact(facts, "Labels", "any number of them for each image");
  fact(facts, "Images", imported ? "unknown" : `${data.train ?? "?"} to train, ${data.val ?? "?"} to validate, ${data.test ?? "?"} to test`);
  if (data.further_images) fact(facts, "Of these feedback", data.further_images);
  if (metrics.accuracy != null) fact(facts, "Right on its test images", accuracy(metrics));
  fact(facts, "Report", linkTo(about.version, "report", "how good it is", "html"));
  fact(facts, "Model card", linkTo(about.version, "card", "what is known of it", "md"));
  for (const { outcome, rule, reason } of about.decision?.findings ?? []) {
    const line = document.createElement("li");
    line.textContent = `${outcome}: ${rule}. ${reason}`;
    rules.append(line);
  }
  rest.textContent = JSON.stringify({ settings: about.settings, code: about.code, fingerprint: data.fingerprint }, null, 2);
  return item;
}

function describeStart(start) {
  if (!start) return "random weights";
  return `the weights of ${start.model}${start.version == null ? "" : ` version ${start.version}`}`;
}

function accuracy({ accuracy, accuracy_interval: interval }) {
  const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
  return percent(accuracy) + (interval ? ` (${interval.map(percent).join(" to ")})` : "");
}

function fact(list, name, value) {
  const [term, description] = ["dt", "dd"].map((tag) => document.createElement(tag));
  term.textContent = name;
  description.append(value instanceof Node ? value : String(value));
  list.append(term, description);
}

/** A link to a part of a version; with an API key, which a link cannot carry, it downloads the part. */
function linkTo(version, part, text, ending) {
  const link = document.createElement("a");
  link.textContent = text;
  link.href = `${address}/${version}/${part}`;
  link.addEventListener("click", async (event) => {
    if (!sessionStorage.getItem("key")) return;
    event.preventDefault();
    const page = await (await fetchAny(link.href)).blob();
    const download = Object.assign(document.createElement("a"), {
      href: URL.createObjectURL(page),
      download: `${model}-${version}.${ending}`,
    });
    download.click();
    URL.revokeObjectURL(download.href);
  });
  return link;
}

document.title = `${model} · Striate`;
byId("title").textContent = `Versions of ${model}`;
onKey(show);
show();
