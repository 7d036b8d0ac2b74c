/* Cost of generation: FLOPs by component and seconds by stage, the baseline above each tau. */

const STAGES = ["encode", "cluster", "plan", "denoise", "decode", "reused"];
const STAGE_TEXT = { reused: "reused baseline pictures" };
const PREFIXES = ["", "k", "M", "G", "T", "P", "E"];

function si(value) {
  let i = 0;
  while (value >= 1000 && i < PREFIXES.length - 1) { value /= 1000; i++; }
  return `${value.toPrecision(3)} ${PREFIXES[i]}`;
}

/* Rows of stacked bars on one scale; a row is {name, values by part, total, text, format}. */
function drawBars(place, rows, names) {
  const most = Math.max(...rows.map((row) => row.total));
  if (!rows.length || !(most > 0)) { place.replaceChildren(make("p", { class: "small" }, "Not recorded.")); return; }
  const drawn = rows.map((row) => {
    const bar = make("div", { "aria-hidden": "true" });
    names.forEach((name, i) => {
      if (!row.values[name]) return;
      const piece = make("i", { class: `c${i % COLOURS}`, title: `${name}: ${row.format(row.values[name])}` });
      piece.style.width = `calc(${(100 * row.values[name]) / most}% - 1px)`;
      bar.append(piece);
    });
    return make("div", { class: `stack${row.now ? " now" : ""}`, role: "group", "aria-label": `${row.name}: ${row.text}; ${names.filter((name) => row.values[name]).map((name) => `${name} ${row.format(row.values[name])}`).join(", ")}` },
      make("span", {}, row.name), bar, make("span", {}, row.text));
  });
  const key = make("ul", { class: "key" }, ...names.filter((name) => rows.some((row) => row.values[name])).map((name) =>
    make("li", {}, make("i", { class: `c${names.indexOf(name) % COLOURS}` }), STAGE_TEXT[name] || name)));
  place.replaceChildren(...drawn, key);
}

function drawCost() {
  const one = series(), first = one.cells[0];
  const sum = (values) => Object.values(values).reduce((a, b) => a + b, 0);
  const components = [...new Set(one.cells.flatMap((cell_) => Object.keys(cell_.components)))];
  const flops = one.cells.filter((cell_) => cell_.standard_flops).map((cell_) => ({
    name: `${STEM} ${plain(cell_.tau)}`, values: cell_.components, total: sum(cell_.components), now: cell_ === cell(),
    text: si(sum(cell_.components)), format: si,
  }));
  if (flops.length && one.cells.every((cell_) => cell_.tau > 0)) {
    flops.unshift({ name: "baseline", values: { baseline: first.standard_flops }, total: first.standard_flops, text: si(first.standard_flops), format: si });
  }
  drawBars(byId("flops"), flops, flops.some((row) => row.values.baseline) ? ["baseline", ...components] : components);
  const shownStages = ({ write = 0, ...seconds }) => Object.fromEntries(Object.entries(seconds).filter(([stage]) => STAGES.includes(stage))
    .map(([stage, value]) => [stage, stage === "decode" ? value + write : value]));
  const format = (value) => `${value < 10 ? value.toPrecision(2) : Math.round(value)} s`;
  const baseline = shownStages(first.standard_seconds);
  const encode = baseline.encode || 0;
  const seconds = one.cells.filter((cell_) => Object.keys(cell_.seconds).length).map((cell_) => {
    const values = shownStages({ encode, ...cell_.seconds });
    return { name: `${STEM} ${plain(cell_.tau)}`, values, total: sum(values), now: cell_ === cell(), text: format(sum(values)), format };
  });
  if (Object.keys(baseline).length) seconds.unshift({ name: "baseline", values: baseline, total: sum(baseline), text: format(sum(baseline)), format });
  drawBars(byId("wall"), seconds, STAGES);
  byId("wall-shares").hidden = !one.cells.some((cell_) => cell_.shared_seconds);
}
