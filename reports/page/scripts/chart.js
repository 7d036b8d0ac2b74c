/* Curves of a result against savings: one line a series, intervals as bars, the seed control as a band. */

const HEIGHT = 300, LEFT = 52, RIGHT = 14, TOP = 12, BOTTOM = 42;

/* The middle of the widest gap between these places, where a label hides least. */
function widestGap(places) {
  const sorted = [...places].sort((a, b) => a - b);
  let best = 0;
  for (let i = 1; i < sorted.length - 1; i++) if (sorted[i + 1] - sorted[i] > sorted[best + 1] - sorted[best]) best = i;
  return (sorted[best] + sorted[best + 1]) / 2;
}

function drawChart(place, name) {
  const figure = DATA.figures[name], scale = figure.unit === "fraction" ? 100 : 1;
  const rate = name.endsWith(".win_rate"), baseline = DATA.figures[`${name}_standard`] && !rate;
  const width = Math.max(280, place.clientWidth || 480);
  const points = (one) => one.cells.map((cell_, i) => ({ i, tau: cell_.tau, x: cell_.steps, f: cell_.figures[name] }))
    .filter((point) => point.f && point.f[0] !== null && point.x !== null);
  const now = series();
  const bands = now.references.filter((reference) => reference.bands[name]).map((reference) => reference.bands[name]);
  const fewer = now.references.filter((reference) => reference.role === "fewer-steps" && reference.figures[name]).sort((a, b) => a.steps - b.steps);
  const shown = points(now);
  const values = [
    ...DATA.series.flatMap(points).map((point) => point.f[0]), ...shown.flatMap((point) => point.f),
    ...bands.flat(), ...fewer.map((reference) => reference.figures[name][0]),
    ...(rate ? [0.5, 0.5 - DATA.delta] : figure.signed ? [0] : []),
    ...(baseline ? shown.map((point) => now.cells[point.i].figures[`${name}_standard`][0]) : []),
  ].filter((value) => value !== null && value !== undefined).map((value) => value * scale);
  if (!values.length) return null;
  let low = Math.min(...values), high = Math.max(...values);
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  low -= room; high += room;
  const most = Math.max(0.1, ...DATA.series.flatMap(points).map((point) => point.x), ...fewer.map((reference) => reference.steps)) * 104;
  const x = (share) => LEFT + ((100 * share) / most) * (width - LEFT - RIGHT);
  x.right = width - RIGHT;
  const clear = widestGap([LEFT, width - RIGHT, ...shown.map((point) => x(point.x))]);
  const y = (value) => TOP + ((high - value * scale) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const svg = make("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "group", "aria-label": `${figure.text} against steps saved` });
  const line = (cls, height) => make("line", { class: cls, x1: LEFT, x2: width - RIGHT, y1: height, y2: height });
  const text = (content, at, attributes = {}) => make("text", { x: at[0], y: at[1], ...attributes }, content);

  for (const [lower, upper] of bands) {
    svg.append(make("rect", { class: "band", x: LEFT, width: width - LEFT - RIGHT, y: y(upper), height: Math.max(1, y(lower) - y(upper)) }));
    svg.append(text("seed control (A/A)", [width - RIGHT - 6, y(upper) + 15], { "text-anchor": "end" }));
  }
  for (const tick of ticks(low, high)) {
    svg.append(line("grid", y(tick / scale)), text(`${signed(plain(tick))}${unitOf(figure)}`, [LEFT - 8, y(tick / scale) + 4], { "text-anchor": "end" }));
  }
  for (const tick of ticks(0, most)) svg.append(text(`${tick}%`, [x(tick / 100), HEIGHT - BOTTOM + 18], { "text-anchor": "middle" }));
  svg.append(text("denoiser evaluations saved", [width - RIGHT, HEIGHT - 4], { "text-anchor": "end" }));
  if (rate) {
    svg.append(line("zero", y(0.5)), line("parity", y(0.5 - DATA.delta)));
    svg.append(text(`parity: ${plain(50 - 100 * DATA.delta)}%`, [clear, y(0.5 - DATA.delta) + 14], { "text-anchor": "middle" }));
  } else if (figure.signed) svg.append(line("zero", y(0)));
  if (baseline && shown.length) {
    const at = y(now.cells[shown[0].i].figures[`${name}_standard`][0]);
    svg.append(line("standard", at), text("baseline", [clear, at - 6], { "text-anchor": "middle" }));
  }
  DATA.series.forEach((one, i) => i !== state.series && svg.append(curve(one, i, points(one), x, y, name, false)));
  if (fewer.length) {
    const way = fewer.map((reference, i) => `${i ? "L" : "M"}${x(reference.steps)} ${y(reference.figures[name][0])}`).join("");
    const last = fewer[fewer.length - 1];
    svg.append(make("path", { class: `fewer c${state.series % COLOURS}`, d: way }));
    svg.append(text("equal-compute baseline", [x(last.steps), y(last.figures[name][0]) - 7], { "text-anchor": "end" }));
  }
  svg.append(curve(now, state.series, shown, x, y, name, true));
  const [title, better] = figure.axis.split(" (");
  return make("figure", {}, make("figcaption", {}, title.replace(/, %$/, ""), make("span", {}, better ? ` (${better}` : "")), svg);
}

function curve(one, number_, points, x, y, name, chosen) {
  const group = make("g", { class: `c${number_ % COLOURS}${chosen ? "" : " other"}` });
  group.append(make("path", { class: "line", d: points.map((point, i) => `${i ? "L" : "M"}${x(point.x)} ${y(point.f[0])}`).join("") }));
  for (const point of points) {
    const now = chosen && point.i === state.cell;
    if (chosen && point.f[1] !== null) group.append(make("line", { class: "bar", x1: x(point.x), x2: x(point.x), y1: y(point.f[1]), y2: y(point.f[2]) }));
    const description = `${STEM} ${plain(point.tau)}: ${percent(point.x)} of steps saved, ${withInterval(point.f, DATA.figures[name])}`;
    const choose = () => change({ series: number_, cell: point.i });
    const dot = make("g", chosen ? { tabindex: 0, role: "button", "aria-label": description, "aria-pressed": String(now), onclick: choose,
      onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); refocus(name, point.i); } }, "data-point": `${name}/${point.i}` } : { onclick: choose });
    dot.append(make("title", {}, chosen ? description : `${one.name}: ${description}`));
    dot.append(make("circle", { class: `point${now ? " now" : ""}`, cx: x(point.x), cy: y(point.f[0]), r: chosen ? 4.5 : 3 }));
    if (now) {
      const atEdge = x(point.x) > x.right - 60;
      dot.append(make("text", { class: "now-label", x: x(point.x) + (atEdge ? -9 : 9), y: y(point.f[0]) - 8, "text-anchor": atEdge ? "end" : "start" }, `${STEM} ${plain(point.tau)}`));
    }
    group.append(dot);
  }
  return group;
}

function refocus(name, i) {
  const again = document.querySelector(`[data-point="${CSS.escape(`${name}/${i}`)}"]`);
  if (again) again.focus();
}

function drawCharts() {
  for (const [id, names] of [["curve-charts", DATA.curves], ["diversity-charts", DATA.diversity]]) {
    const place = byId(id);
    if (!place) continue;
    place.replaceChildren(...names.map(() => make("div")));
    [...place.children].forEach((child, i) => child.replaceChildren(...[drawChart(child, names[i])].filter(Boolean)));
  }
  const legend = byId("legend");
  legend.replaceChildren(...(DATA.series.length < 2 ? [] : DATA.series.map((one, i) => make("button", { type: "button", "aria-pressed": String(i === state.series), onclick: () => chooseSeries(i) },
    make("i", { class: `c${i % COLOURS}` }), one.name))));
}
