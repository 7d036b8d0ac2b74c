"use strict";
/* Used by all parts of the page. Data are only ever set as text: `textContent` and attributes, never as HTML. */

const DATA = JSON.parse(document.getElementById("data").textContent);
const COLOURS = 6;
const STEM = "tau", MINUS = "\u2212";

/* The state of the page; `change` tells its parts. */
const state = { series: 0, cell: 0, metric: DATA.metrics.length ? DATA.metrics[0].name : "", sort: "worst", query: "", cluster: null };
const parts = [];
const series = () => DATA.series[state.series];
const cell = () => series().cells[state.cell];
const prompts = (one = series()) => DATA.prompts[one.prompts];

function change(news) {
  const before = { ...state };
  Object.assign(state, news);
  for (const part of parts) part(before);
}

const byId = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/* An element with attributes and children, which are elements or text. */
function make(tag, attributes = {}, ...children) {
  const svg = "svg g path line rect circle text title".split(" ").includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/* A number with so many digits, as the tables write it: of two that are as near the even one, where toFixed takes the larger. */
function fixed(value, digits) {
  const size = Math.abs(value), nearest_ = size.toFixed(digits);
  const between = /^50*$/.test(size.toFixed(digits + 50).split(".")[1].slice(digits));
  const text = between && Number(nearest_.at(-1)) % 2 ? (Number(nearest_) - 10 ** -digits).toFixed(digits) : nearest_;
  return (value < 0 ? "-" : "") + text;
}

const plain = (value) => String(Number(value.toPrecision(6)));
const signed = (text) => text.replace("-", MINUS);

/* A value of a figure as the tables write it. */
function number(value, figure) {
  if (value === null || value === undefined) return "–";
  const scale = figure.unit === "fraction" ? 100 : 1;
  const text = fixed(value * scale, figure.unit === "fraction" ? 1 : figure.unit === "count" ? 0 : 4);
  return signed((figure.signed && Number(text) > 0 ? "+" : "") + (Number(text) === 0 ? text.replace("-", "") : text));
}
const percent = (share) => (share === null || share === undefined ? "–" : `${signed(fixed(100 * share, 1))}%`);
const unitOf = (figure) => (figure.unit === "fraction" ? "%" : "");

/* "50.8% [42.5, 59.1]" */
function withInterval([value, low, high], figure) {
  const ends = low === null || high === null ? "" : ` [${number(low, figure)}, ${number(high, figure)}]`;
  return `${number(value, figure)}${unitOf(figure)}${ends}`;
}

/* A CSS colour as the theme has it now, for canvases. */
function colour(name) {
  const probe = byId("theme");
  const before = probe.style.color;
  probe.style.color = `var(--${name})`;
  const resolved = getComputedStyle(probe).color;
  probe.style.color = before;
  return resolved;
}

/* For every prompt, the number of steps that it is denoised together with a neighbour; null without a plan. */
function alone(one, which) {
  const tree = one.tree === null ? null : DATA.trees[one.tree];
  const together = which.together;
  if (!tree || !together) return null;
  const from = new Array(tree.order.length).fill(0);
  tree.order.forEach((prompt, place) => {
    from[prompt] = Math.max(place ? together[place - 1] : 0, place < together.length ? together[place] : 0);
  });
  return from;
}

/* The same difference in log-odds, of probabilities clipped to 0.001 to 0.999; null where scores are no probabilities. */
function logits(which, metric, prompt) {
  if (!which.probabilities.includes(metric)) return null;
  const odds = (score) => { const p = clamp(score, 0.001, 0.999); return Math.log(p / (1 - p)); };
  return (which.lower.includes(metric) ? -1 : 1) * (odds(which.shared[metric][prompt]) - odds(which.baseline[metric][prompt]));
}

/* How much better the shared picture is, prompt by prompt; null where there are no scores. */
function differences(which, metric) {
  const shared = which.shared[metric], baseline = which.baseline[metric];
  if (!shared) return null;
  const sign = which.lower.includes(metric) ? -1 : 1;
  return shared.map((score, i) => (score === null || baseline[i] === null ? null : sign * (score - baseline[i])));
}
