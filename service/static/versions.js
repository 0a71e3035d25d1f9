"use strict";

// Every published version of the model in the page's address: what it was made of, how good it is, who decided.

const model = decodeURIComponent(location.pathname.split("/").at(-2));
const address = "versions"; // of this page
const CAPTION = "Share of its own test images that each version got right, with the 95 % interval; the filled point is live. Test images may differ from version to version.";

let tried = false; // an admin key was typed just now

async function show() {
  try {
    const found = await fetchJson(address, { headers: { Accept: "application/json" } });
    const live = found.versions.find(({ parts }) => parts?.includes("live"));
    drawChart(byId("chart"), found.versions.filter(isTested).map(pointOf).reverse(), CAPTION);
    const may = found.administration === "allowed";
    byId("versions").replaceChildren(...found.versions.map((about) => describe(about, live, may)));
    byId("administer").hidden = found.administration !== "key";
    const refused = found.administration === "key" && tried;
    if (refused) sessionStorage.removeItem("key");
    tried = false;
    byId("jobs").hidden = !found.jobs.length;
    byId("jobs").querySelector("ol").replaceChildren(...found.jobs.map(describeJob));
    showError(refused ? "This key does not allow it." : "");
  } catch (error) {
    showError(error.fromService ? error.message : NO_ANSWER);
  }
}

function isTested({ metrics }) {
  return metrics?.accuracy != null;
}

/** A version on the chart. */
function pointOf(about) {
  const { version, metrics, parts } = about;
  const [low, high] = metrics.accuracy_interval ?? [metrics.accuracy, metrics.accuracy];
  const title = `${titleOf(about)}: ${accuracy(metrics)}`;
  return { version, value: metrics.accuracy, low, high, title, kind: parts.includes("live") ? "live" : "" };
}

function titleOf({ version, parts }) {
  return [`Version ${version}`, ...(parts ?? [])].join(", ");
}

function describe(about, live, mayPromote) {
  const item = byId("version").content.cloneNode(true);
  const [title, decision, facts, rules, rest] = ["h3", ".decision", "dl", ".rules", "pre"].map((s) => item.querySelector(s));
  title.textContent = titleOf(about);
  if (about.broken) {
    decision.textContent = about.broken;
    for (const more of item.querySelectorAll("details, .buttons")) more.remove();
    return item;
  }
  decision.textContent = about.decision
    ? `${about.decision.outcome}: ${about.decision.reason}`
    : "It was not made by a retraining job.";
  const { data, metrics } = about;
  fact(facts, "Made", about.created_at ? timeOf(about.created_at) : "unknown");
  fact(facts, "Parent", about.parent_version == null ? "none" : `version ${about.parent_version}`);
  const imported = about.architecture === "imported";
  fact(facts, "Trained from", imported ? "unknown: it was imported with its weights" : describeStart(about.started_from));
  fact(facts, "Network", about.architecture);
  if (about.task === "multi_label") fact(facts, "Labels", "any number of them for each image");
  fact(facts, "Images", imported ? "unknown" : `${data.train ?? "?"} to train, ${data.val ?? "?"} to validate, ${data.test ?? "?"} to test`);
  if (data.further_images) fact(facts, "Of these feedback", data.further_images);
  if (isTested(about)) fact(facts, "Right on its test images", accuracy(metrics));
  fact(facts, "Report", linkTo(about.version, "report", "how good it is", "html"));
  fact(facts, "Model card", linkTo(about.version, "card", "what is known of it", "md"));
  if (mayPromote) offer(item.querySelector(".buttons"), about);
  compare(item.querySelector(".changes"), about, live);
  rules.append(...findings(about.decision));
  rest.textContent = JSON.stringify({ settings: about.settings, code: about.code, fingerprint: data.fingerprint }, null, 2);
  return item;
}

/** What a retraining job came to that published nothing. */
function describeJob(job) {
  const item = byId("job").content.cloneNode(true);
  item.querySelector("h4").append(`${job.outcome}, `, timeOf(job.at));
  item.querySelector(".decision").textContent = job.reason;
  item.querySelector(".rules").append(...findings(job));
  if (!job.findings.length) item.querySelector("details").remove();
  return item;
}

function findings(decision) {
  return (decision?.findings ?? []).map(({ outcome, rule, reason }) => {
    const line = document.createElement("li");
    line.textContent = `${outcome}: ${rule}. ${reason}`;
    return line;
  });
}

/** The buttons of somebody with an admin key. */
function offer(buttons, { version, parts }) {
  const [promote, rollback] = [".promote", ".rollback"].map((selector) => buttons.querySelector(selector));
  promote.hidden = parts.includes("live");
  rollback.hidden = !parts.includes("live");
  promote.addEventListener("click", () => change("promote", { version }, `Version ${version} will answer from now on.`));
  rollback.addEventListener("click", () => change("rollback", { instead_of: version }, `Version ${version} will be replaced by the one that was live before.`));
  buttons.hidden = false;
}

async function change(how, body, consequence) {
  if (!confirm(consequence)) return;
  try {
    const options = { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
    const { live } = await fetchJson(how, options);
    byId("said").textContent = `Version ${live} is live.`;
    await show();
  } catch (error) {
    showError(error.fromService ? error.message : NO_ANSWER);
  }
}

/** A table of what differs from the live version; the version itself has none. */
function compare(details, about, live) {
  if (!live || live.version === about.version) return details.remove();
  const [before, after] = [live, about].map(flat);
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const different = names.filter((name) => before[name] !== after[name]);
  details.querySelector("summary").textContent = `Compared with version ${live.version}, which is live: ${different.length === 1 ? "1 difference" : `${different.length} differences`}`;
  details.querySelector(".before").textContent = `Version ${live.version}`;
  details.querySelector(".after").textContent = `Version ${about.version}`;
  details.querySelector("tbody").append(...different.map((name) => row([name, before[name] ?? "", after[name] ?? ""])));
}

/** What can differ, as {words: text}. */
function flat({ architecture, class_names: classes, input, settings, code, data, metrics }) {
  const found = { network: architecture, classes: classes.join(", ") };
  if (metrics.accuracy != null) found["right on its test images"] = accuracy(metrics);
  for (const [name, sides] of Object.entries(data.images ?? {})) {
    found[`images of ${name}`] = Object.entries(sides).map(([side, number]) => `${number} ${side}`).join(", ");
  }
  const { augmentation = {}, ...rest } = settings;
  const groups = { input, setting: rest, augmentation, library: code.libraries ?? {} };
  for (const [group, values] of Object.entries(groups)) {
    for (const [name, value] of Object.entries(values)) found[`${group} ${name.replaceAll("_", " ")}`] = plain(value);
  }
  return found;
}

function plain(value) {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function row(texts) {
  const found = document.createElement("tr");
  found.append(...texts.map((text, i) => Object.assign(document.createElement(i ? "td" : "th"), { textContent: text })));
  found.firstChild.scope = "row";
  return found;
}

/** A time in the form and the zone of whoever looks. */
function timeOf(utc) {
  const time = document.createElement("time");
  time.dateTime = utc;
  time.textContent = new Date(utc).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  return time;
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
byId("administer").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", byId("admin-key").value);
  byId("admin-key").value = "";
  tried = true;
  show();
});
show();
