/* Sorting, opening, curves. Without this script every row is open, in the order of ranks. */

const DATA = JSON.parse(byId("data").textContent);
const HEIGHT = 280, LEFT = 52, RIGHT = 14, TOP = 12, BOTTOM = 42;

/* Texts are compared as texts, numbers as numbers; what is missing is last, either way. */
function sortBy(table, column, direction) {
  const value = (body) => body.querySelector(".main").children[column].dataset.sort;
  const numeric = table.tHead.rows[0].cells[column].dataset.first !== "text";
  const bodies = [...table.tBodies];
  const place = new Map(bodies.map((body) => [body, Number(body.dataset.row)]));
  const sign = direction === "ascending" ? 1 : -1;
  bodies.sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === "" || b === "") return (a === "") - (b === "") || place.get(one) - place.get(other);
    const by = numeric ? Number(a) - Number(b) : a.localeCompare(b, "en");
    return sign * by || place.get(one) - place.get(other);
  });
  table.append(...bodies);
  [...table.tHead.rows[0].cells].forEach((cell, i) => cell.setAttribute("aria-sort", i === column ? direction : "none"));
}

function startSorting(table) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    cell.querySelector("button").addEventListener("click", () => {
      const first = cell.dataset.first === "descending" ? "descending" : "ascending";
      const now = cell.getAttribute("aria-sort"), other = first === "ascending" ? "descending" : "ascending";
      sortBy(table, column, now === first ? other : first);
    });
  });
}

/* A row's curve of one result against savings, those of the others in grey. */
function drawCurve(board, row, name) {
  const figure = board.figures[name], scale = figure.unit === "fraction" ? 100 : 1;
  const points = (one) => one.points.filter((point) => point.figures[name] && point.figures[name][0] !== null).map((point) => ({ ...point, f: point.figures[name] }));
  const ours = points(row), all = board.rows.flatMap(points);
  if (!ours.length) return [];
  const place = make("figure"), width = Math.max(280, Math.min(row.width, 620));
  const values = [...all.map((point) => point.f[0]), ...ours.flatMap((point) => point.f), figure.line, figure.even, ...(figure.band || [])]
    .filter((value) => value !== null && value !== undefined).map((value) => value * scale);
  let low = Math.min(...values), high = Math.max(...values);
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  low -= room; high += room;
  const most = Math.max(0.1, ...all.map((point) => point.saved)) * 1.04, least = Math.min(0, ...all.map((point) => point.saved)) * 1.04;
  const x = (share) => LEFT + ((share - least) / (most - least)) * (width - LEFT - RIGHT);
  const y = (value) => TOP + ((high - value * scale) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const svg = make("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", "aria-label": `${figure.text} of ${row.name} against rows saved; the table below has its numbers` });
  const line = (cls, value) => make("line", { class: cls, x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) });
  const text = (content, at, anchor) => make("text", { x: at[0], y: at[1], "text-anchor": anchor }, content);
  if (figure.band) {
    const [lower, upper] = figure.band;
    svg.append(make("rect", { class: "band", x: LEFT, width: width - LEFT - RIGHT, y: y(upper), height: Math.max(1, y(lower) - y(upper)) }), text("seed control (A/A)", [width - RIGHT - 4, y(upper) + 14], "end"));
  }
  for (const tick of ticks(low, high)) svg.append(line("grid", tick / scale), text(`${signed(plain(tick))}${unitOf(figure)}`, [LEFT - 8, y(tick / scale) + 4], "end"));
  for (const tick of ticks(least * 100, most * 100)) svg.append(text(`${signed(plain(tick))}%`, [x(tick / 100), HEIGHT - BOTTOM + 18], "middle"));
  svg.append(text("rows of the denoiser saved", [width - RIGHT, HEIGHT - 4], "end"));
  if (figure.even !== null) svg.append(line("zero", figure.even));
  if (figure.line !== null) svg.append(line("parity", figure.line), text(`parity: ${plain(100 * figure.line)}%`, [LEFT + 6, y(figure.line) + 15], "start"));
  const path = (of) => make("path", { class: "line", d: of.map((point, i) => `${i ? "L" : "M"}${x(point.saved)} ${y(point.f[0])}`).join("") });
  for (const other of board.rows) {
    if (other === row) continue;
    const group = make("g", { class: "rest" }, make("title", {}, other.name), path(points(other)));
    if (points(other).length === 1) group.append(make("circle", { class: "point", cx: x(points(other)[0].saved), cy: y(points(other)[0].f[0]), r: 2.5 }));
    svg.append(group);
  }
  const group = make("g", { class: "c0" }, path(ours));
  for (const point of ours) {
    if (point.f[1] !== null && point.f[2] !== null) group.append(make("line", { class: "bar", x1: x(point.saved), x2: x(point.saved), y1: y(point.f[1]), y2: y(point.f[2]) }));
    group.append(make("g", {}, make("title", {}, `${point.name}: ${percent(point.saved)} saved, ${withInterval(point.f, figure)}`), make("circle", { class: "point", cx: x(point.saved), cy: y(point.f[0]), r: 4.5 })));
  }
  svg.append(group);
  place.append(make("figcaption", {}, figure.text), svg);
  return [place];
}

function open(button, wanted) {
  const body = button.closest("tbody"), more = body.querySelector(".more"), curves = more.querySelector(".curves");
  button.setAttribute("aria-expanded", String(wanted));
  more.hidden = !wanted;
  if (!wanted) return;
  const board = DATA.boards[Number(body.closest(".board").dataset.board)], row = board.rows[Number(body.dataset.row)];
  const width = more.querySelector(".inner").clientWidth - 40;
  row.width = width > 820 ? (width - 32) / 2 : width;
  curves.replaceChildren(...board.curves.flatMap((name) => drawCurve(board, row, name)));
}

for (const table of document.querySelectorAll(".ranking")) startSorting(table);
for (const button of document.querySelectorAll(".open")) {
  open(button, false);
  button.addEventListener("click", () => open(button, button.getAttribute("aria-expanded") !== "true"));
}
startTheme();
let asked = 0, width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  clearTimeout(asked);
  asked = setTimeout(() => { for (const button of document.querySelectorAll('.open[aria-expanded="true"]')) open(button, true); }, 120);
});
