"use strict";

// What every page needs: elements by their ids, and the service's answers, with an API key where it wants one.

const NO_KEY = "This service answers only who has an API key.";
const NO_ANSWER = "The service does not answer. This page keeps trying.";
const byId = (id) => document.getElementById(id);

/** The answer's JSON. Throws an Error with the service's own message, marked `fromService`. */
async function fetchJson(url, options) {
  const response = await fetchAny(url, options);
  return response.status === 204 ? null : response.json();
}

async function fetchAny(url, options) {
  const key = sessionStorage.getItem("key"); // forgotten when the tab is closed
  const headers = { ...options?.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const response = await fetch(url, { ...options, headers });
  byId("unlock").hidden = response.status !== 401;
  if (response.ok) return response;
  const { error } = await response.json();
  const message = response.status === 401 && !key ? NO_KEY : inWords(error.message);
  throw Object.assign(new Error(message), { fromService: true });
}

/** A message without the settings that it names: those are for whoever runs the service, who finds them in the answer. */
function inWords(message) {
  const words = message
    .replace(/\s*\([^()]*\bSERVICE_[A-Z_]+[^()]*\)/g, "")
    .replace(/[^.:;]*\bSERVICE_[A-Z_]+[^.]*\.?/g, "")
    .trim()
    .replace(/[:;,]$/, ".");
  return words || "The service is not set up for this.";
}

function percent(share) {
  if (share > 0.995) return ">99\u00a0%"; // a network is never certain
  return share < 0.005 ? "<1\u00a0%" : `${Math.round(100 * share)}\u00a0%`;
}

/** A canvas as an encoded image. Not by toBlob, which waits up to a second for an idle moment. */
function bytesOf(canvas, type, quality) {
  const base64 = canvas.toDataURL(type, quality).split(",")[1];
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function showError(message) {
  const error = byId("error");
  if (error.textContent !== message) error.textContent = message; // or it would be read out again
}

/** Calls `retry` once somebody has typed an API key. */
function onKey(retry) {
  byId("unlock").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("key", byId("key").value);
    byId("key").value = "";
    showError("");
    retry();
  });
}
