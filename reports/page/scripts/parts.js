"use strict";
/* Used by every page of the benchmark. Data are only ever set as text: `textContent` and attributes, never as HTML. */

const MINUS = "\u2212";
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

/* About five round numbers that span from low to high. */
function ticks(low, high) {
  const rough = (high - low) / 6, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const marks = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-6; i++) marks.push(Number((i * step).toPrecision(8)));
  return marks;
}

/* As the system has it, until the reader says otherwise; a page on disk may have no storage. */
function startTheme(changed = () => {}) {
  const root = document.documentElement, button = byId("theme"), dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (["light", "dark"].includes(root.dataset.theme) ? root.dataset.theme === "dark" : dark.matches);
  const say = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
    changed();
  };
  try { root.dataset.theme = localStorage.getItem("reusebench-theme") || ""; } catch { root.dataset.theme = ""; }
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("reusebench-theme", root.dataset.theme); } catch { /* it is asked again next time */ }
    say();
  });
  dark.addEventListener("change", say);
  say();
}
