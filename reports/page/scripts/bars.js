/* What a picture costs to make: FLOPs by component and seconds by stage, standard above each tau. */

const STAGES = ["encode", "cluster", "plan", "denoise", "decode", "reused"];
const SAID = { reused: "pictures that are standard's own" };
const PREFIXES = ["", "k", "M", "G", "T", "P", "E"];

function si(value) {
  let i = 0;
  while (value >= 1000 && i < PREFIXES.length - 1) { value /= 1000; i++; }
  return `${value.toPrecision(3)} ${PREFIXES[i]}`;
}

/* Rows of stacked bars on one scale; a row is {name, values by part, total, said}. */
function drawBars(place, rows, names) {
  const most = Math.max(...rows.map((row) => row.total));
  if (!rows.length || !(most > 0)) { place.replaceChildren(make("p", { class: "small" }, "This was not recorded.")); return; }
  const drawn = rows.map((row) => {
    const bar = make("div", { "aria-hidden": "true" });
    names.forEach((name, i) => {
      if (!row.values[name]) return;
      const piece = make("i", { class: `c${i % COLOURS}`, title: `${name}: ${row.say(row.values[name])}` });
      piece.style.width = `calc(${(100 * row.values[name]) / most}% - 1px)`;
      bar.append(piece);
    });
    return make("div", { class: `stack${row.now ? " now" : ""}`, role: "group", "aria-label": `${row.name}: ${row.said}; ${names.filter((name) => row.values[name]).map((name) => `${name} ${row.say(row.values[name])}`).join(", ")}` },
      make("span", {}, row.name), bar, make("span", {}, row.said));
  });
  const key = make("ul", { class: "key" }, ...names.filter((name) => rows.some((row) => row.values[name])).map((name) =>
    make("li", {}, make("i", { class: `c${names.indexOf(name) % COLOURS}` }), SAID[name] || name)));
  place.replaceChildren(...drawn, key);
}

function drawCost() {
  const one = series(), first = one.cells[0];
  const sum = (values) => Object.values(values).reduce((a, b) => a + b, 0);
  const components = [...new Set(one.cells.flatMap((each) => Object.keys(each.components)))];
  const flops = one.cells.filter((each) => each.standard_flops).map((each) => ({
    name: `${STEM} ${plain(each.tau)}`, values: each.components, total: sum(each.components), now: each === cell(),
    said: si(sum(each.components)), say: si,
  }));
  if (flops.length && one.cells.every((each) => each.tau > 0)) {
    flops.unshift({ name: "standard", values: { standard: first.standard_flops }, total: first.standard_flops, said: si(first.standard_flops), say: si });
  }
  drawBars(byId("flops"), flops, flops.some((row) => row.values.standard) ? ["standard", ...components] : components);
  const made = ({ write = 0, ...seconds }) => Object.fromEntries(Object.entries(seconds).filter(([stage]) => STAGES.includes(stage))
    .map(([stage, value]) => [stage, stage === "decode" ? value + write : value]));
  const say = (value) => `${value < 10 ? value.toPrecision(2) : Math.round(value)} s`;
  const standard = made(first.standard_seconds);
  const encode = standard.encode || 0;
  const seconds = one.cells.filter((each) => Object.keys(each.seconds).length).map((each) => {
    const values = made({ encode, ...each.seconds });
    return { name: `${STEM} ${plain(each.tau)}`, values, total: sum(values), now: each === cell(), said: say(sum(values)), say };
  });
  if (Object.keys(standard).length) seconds.unshift({ name: "standard", values: standard, total: sum(standard), said: say(sum(standard)), say });
  drawBars(byId("wall"), seconds, STAGES);
  byId("wall-shares").hidden = !one.cells.some((each) => each.shared_seconds);
}
