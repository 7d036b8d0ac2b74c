/* Ties the parts together: which series, which tau, light or dark. */

function chooseSeries(i) {
  const tau = cell().tau, cells = DATA.series[i].cells;
  const near = cells.reduce((best, cell_, j) => (Math.abs(cell_.tau - tau) < Math.abs(cells[best].tau - tau) ? j : best), 0);
  change({ series: i, cell: near, cluster: null });
}

/* The series with this value on this axis that differs least from the one that is shown. */
function along(axis, value) {
  const now = series().axes;
  const same = (one) => DATA.axes.filter((name) => one.axes[name] === now[name]).length;
  const fits = DATA.series.map((one, i) => [one, i]).filter(([one]) => one.axes[axis] === value);
  fits.sort((a, b) => same(b[0]) - same(a[0]));
  chooseSeries(fits[0][1]);
}

function drawBar() {
  const one = series(), which = cell(), slider = byId("tau");
  for (const select of byId("axes").querySelectorAll("select")) select.value = one.axes[select.dataset.axis];
  slider.max = one.cells.length - 1;
  slider.value = state.cell;
  slider.disabled = one.cells.length < 2;
  const rate = which.figures[`${state.metric}.win_rate`], figure = DATA.figures[`${state.metric}.win_rate`];
  const verdict = which.verdicts[state.metric] || "", pooled = which.pooled[state.metric];
  /* A verdict is of all seeds, never of the one that is shown. */
  const claimed = pooled ? `all ${pooled.seeds} seeds ${withInterval(pooled.rate, figure)}: ${verdict}` : verdict;
  const summary = [`${percent(which.steps)} of steps saved`, which.flops === null ? "" : `${percent(which.flops)} of FLOPs`, which.wall === null ? "" : `${percent(which.wall)} of the time`,
    rate ? `${pooled ? "this seed's " : ""}win rate ${withInterval(rate, figure)}` : "", claimed].filter(Boolean).join(" · ");
  byId("tau-value").textContent = plain(which.tau);
  byId("tau-says").textContent = summary;
  slider.setAttribute("aria-valuetext", `${plain(which.tau)}: ${summary}`);
}

function startBar() {
  byId("axes").replaceChildren(...DATA.axes.map((axis) => {
    const values = [...new Set(DATA.series.map((one) => one.axes[axis]))];
    const options = values.map((value) => make("option", { value }, value));
    return make("label", {}, axis.replace("_", " "), make("select", { "data-axis": axis, onchange: (event) => along(axis, event.target.value) }, ...options));
  }));
  byId("tau").addEventListener("input", (event) => change({ cell: Number(event.target.value) }));
}

function start() {
  state.cell = firstShown();
  startBar(); startPictures(); startTree(); startTheme(drawTree);
  const far = ["series", "cell", "metric"];
  parts.push((before) => {
    if (far.some((name) => before[name] !== state[name])) { drawBar(); drawCharts(); drawCost(); }
    const chosenSeries = before.series !== state.series;
    if (chosenSeries) { chosen = null; zoom = 1; byId("node")?.replaceChildren("Choose a branch to see which prompts it joins."); }
    if (far.slice(0, 2).some((name) => before[name] !== state[name])) { if (canvas && chosen !== null && currentTree()) choose(chosen, false); else drawTree(); }
    drawPictures();
  });
  drawBar(); drawCharts(); drawCost(); drawPictures(); drawTree();
  let asked = 0, width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(asked);
    asked = setTimeout(() => { drawCharts(); drawPictures(true); drawTree(); }, 120);
  });
}

/* The tau to begin with: the largest whose verdict is "no worse"; else the middle one of those that share. */
function firstShown() {
  const cells = series().cells;
  const good = cells.map((cell_, i) => [Object.values(cell_.verdicts)[0], i]).filter(([verdict]) => verdict === "no worse");
  if (good.length) return good[good.length - 1][1];
  return Math.min(cells.length - 1, Math.ceil(cells.length / 2));
}

if (DATA.series.length) start();
else startTheme(drawTree);
