"use strict";

// A chart of how good versions are: one point a version with the interval of its accuracy, drawn as SVG.

const PLOT = { width: 640, height: 220, left: 52, right: 16, top: 12, bottom: 34 };
const SVG = "http://www.w3.org/2000/svg";
const MOST_NAMES = 12; // under the axis

/**
 * Draws into a figure; hides it where fewer than two versions were tested.
 *
 * points: of each version {version, value, low, high, kind, title}; shares from 0 to 1, and `kind` names a style.
 */
function drawChart(figure, points, caption) {
  figure.hidden = points.length < 2;
  if (figure.hidden) return;
  const [bottom, top] = range(points);
  const x = (i) => PLOT.left + ((i + 0.5) / points.length) * (PLOT.width - PLOT.left - PLOT.right);
  const y = (share) => PLOT.top + ((top - share) / (top - bottom)) * (PLOT.height - PLOT.top - PLOT.bottom);
  const svg = shape("svg", { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, role: "img", "aria-label": caption });
  for (const share of ticks(bottom, top)) {
    svg.append(shape("line", { class: "grid", x1: PLOT.left, x2: PLOT.width - PLOT.right, y1: y(share), y2: y(share) }));
    svg.append(shape("text", { x: PLOT.left - 8, y: y(share) + 4, "text-anchor": "end" }, `${Math.round(100 * share)}\u00a0%`));
  }
  const every = Math.ceil(points.length / MOST_NAMES);
  points.forEach(({ version, value, low, high, kind, title }, i) => {
    const point = shape("g", { class: kind });
    point.append(shape("title", {}, title));
    point.append(shape("line", { x1: x(i), x2: x(i), y1: y(high), y2: y(low) }));
    point.append(shape("circle", { cx: x(i), cy: y(value), r: 5 }));
    svg.append(point);
    if ((points.length - 1 - i) % every === 0) {
      svg.append(shape("text", { x: x(i), y: PLOT.height - 12, "text-anchor": "middle" }, String(version)));
    }
  });
  const words = document.createElement("figcaption");
  words.textContent = caption;
  figure.replaceChildren(svg, words);
}

/** From a round share below all intervals to one above them. */
function range(points) {
  const step = 0.1;
  const lowest = Math.min(...points.map(({ low }) => low));
  const highest = Math.max(...points.map(({ high }) => high));
  const [bottom, top] = [Math.floor(lowest / step) * step, Math.ceil(highest / step) * step];
  return [Math.max(0, top - bottom < step ? bottom - step : bottom), Math.min(1, top)];
}

function ticks(bottom, top) {
  const step = top - bottom > 0.5 ? 0.2 : 0.1;
  const number = Math.round((top - bottom) / step);
  return Array.from({ length: number + 1 }, (_, i) => Math.min(top, bottom + i * step));
}

function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
