/* Used by all parts of the page. */

const DATA = JSON.parse(document.getElementById("data").textContent);
const COLOURS = 6;
const STEM = "tau";

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
