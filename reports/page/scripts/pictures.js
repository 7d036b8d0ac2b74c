/* Prompt by prompt: a list of which only the visible part exists, and one prompt at every tau. */

const ACROSS = 4, PER_SHEET = ACROSS * ACROSS, SPARE = 3, PRINTED = 24;
const SETS = [...document.querySelectorAll("script.set")].map((element) => ({ element, places: JSON.parse(element.dataset.places) }));
const list = byId("list"), rows = byId("rows");
let order = [], gains = null, solo = null, columns = 1, cardHeight = 0, printing = false;
const cards = new Map();

/* A sprite as an address, decoded when it is first asked for. */
function sheet(set, i) {
  set.sheets ??= set.element.textContent.split("\n");
  set.urls ??= [];
  if (!set.urls[i]) {
    const bytes = Uint8Array.from(atob(set.sheets[i]), (letter) => letter.charCodeAt(0));
    set.urls[i] = URL.createObjectURL(new Blob([bytes], { type: "image/webp" }));
  }
  return set.urls[i];
}

/* Show a prompt's picture of a set in an element; half a pixel is cut at its edges, where its neighbours on the sprite shine in. */
function paint(element, number_, prompt) {
  const set = number_ === null ? null : SETS[number_];
  const place = !set ? -1 : set.places ? set.places[prompt] : prompt;
  element.classList.toggle("none", place < 0);
  if (place < 0) { element.style.backgroundImage = ""; return; }
  set.count ??= set.places ? set.places.filter((place_) => place_ >= 0).length : prompts().length;
  const i = Math.floor(place / PER_SHEET), within = place % PER_SHEET;
  const down = Math.ceil(Math.min(PER_SHEET, set.count - i * PER_SHEET) / ACROSS), side = DATA.side;
  const at = (cell_, cells) => (cells * side - (side - 1) ? (100 * (cell_ * side + 0.5)) / (cells * side - (side - 1)) : 0);
  element.style.backgroundImage = `url(${sheet(set, i)})`;
  element.style.backgroundSize = `${(100 * ACROSS * side) / (side - 1)}% ${(100 * down * side) / (side - 1)}%`;
  element.style.backgroundPosition = `${at(within % ACROSS, ACROSS)}% ${at(Math.floor(within / ACROSS), down)}%`;
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    paint(entry.target, ...entry.target.what);
  }
}, { root: null, rootMargin: "250px" });

function thumb(number_, prompt, label) {
  const element = make("div", { class: "thumb", role: "img", "aria-label": label });
  element.what = [number_, prompt];
  seen.observe(element);
  return element;
}

const score = (value) => (value === null || value === undefined ? "–" : fixed(value, 4));
const gain = (value) => `${value > 0 ? "+" : value < 0 ? MINUS : ""}${Math.abs(value) < 0.00005 ? Math.abs(value).toPrecision(1) : fixed(Math.abs(value), 4)}`;
const metricLabel = () => (DATA.metrics.find((metric) => metric.name === state.metric) || { label: "score" }).label;

/* "−0.271 (−1.75 logits)": what one difference says. Below the scorer's floor it says nothing. */
function effect(which, prompt) {
  const difference = differences_(which)?.[prompt];
  if (difference === null || difference === undefined) return "";
  if (difference === 0) return make("b", {}, "the same");
  if (Math.abs(difference) < (which.zones[state.metric] || 0)) return make("b", { title: "edits that nobody sees make as large differences" }, `${gain(difference)}, within the floor`);
  const odds = logits(which, state.metric, prompt);
  return make("b", { class: difference < 0 ? "bad" : "good" }, gain(difference) + (odds === null ? "" : ` (${signed(fixed(odds, 1))} logits)`));
}

/* "0.9120 → 0.6410  −0.2710", with as many digits as the tables have */
function scores(which, prompt) {
  const line = make("span", { class: "scores" });
  const baseline = which.baseline[state.metric];
  if (!baseline) { line.append("no score"); return line; }
  line.append(`${metricLabel()} ${score(baseline[prompt])} → ${score(which.shared[state.metric][prompt])} `, effect(which, prompt));
  return line;
}

const memory = new WeakMap();
function differences_(which) {
  const known = memory.get(which) || {};
  known[state.metric] ??= { differences: differences(which, state.metric) };
  memory.set(which, known);
  return known[state.metric].differences;
}

function together(prompt) {
  if (!solo) return "";
  if (!solo[prompt]) return "nothing shared: the baseline's own picture";
  return `shared ${solo[prompt]} of ${cell().K} steps`;
}

function arrange() {
  const one = series(), texts = prompts(one);
  gains = differences_(cell());
  solo = alone(one, cell());
  const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = (i) => (!state.cluster || state.cluster.has(i)) && words.every((word) => texts[i].toLowerCase().includes(word));
  const tree = one.tree === null ? null : DATA.trees[one.tree].order;
  order = (state.sort === "tree" && tree ? tree : texts.map((_, i) => i)).filter(shown);
  if (gains && (state.sort === "worst" || state.sort === "best")) {
    const sign = state.sort === "worst" ? 1 : -1;
    order.sort((a, b) => (gains[a] === null) - (gains[b] === null) || sign * (gains[a] - gains[b]) || a - b);
  }
}

function card(place) {
  const prompt = order[place], text = prompts()[prompt], which = cell();
  const button = make("button", { type: "button", onclick: () => openOne(place) });
  button.append(
    make("span", { class: "duo" },
      thumb(series().pictures, prompt, `Baseline: ${text}`),
      thumb(which.pictures, prompt, `Shared, ${STEM} ${plain(which.tau)}: ${text}`)),
    make("span", { class: "words" }, make("span", { class: "prompt" }, text), scores(which, prompt), make("span", { class: "small" }, together(prompt))));
  return make("li", { class: "card", "aria-setsize": order.length, "aria-posinset": place + 1, "data-prompt": prompt }, button);
}

/* How wide a card is, how high, and how many stand side by side. */
function measure() {
  const width = list.clientWidth, narrow = width < 560;
  columns = narrow ? 1 : Math.max(1, Math.floor(width / 440));
  const side = narrow ? Math.min(190, Math.floor((width - 30) / 2)) : 128;
  cardHeight = narrow ? side + 145 : side + 40;
  list.style.setProperty("--thumb", `${side}px`);
  const high = Math.ceil(order.length / columns) * cardHeight;
  rows.style.height = `${high}px`;
  list.style.height = high + 4 < Math.min(innerHeight * 0.8, 736) && !printing ? `${Math.max(high, 90) + 4}px` : "";
}

function fill() {
  const top = Math.floor(list.scrollTop / cardHeight) - SPARE, sight = Math.ceil((list.clientHeight || 700) / cardHeight) + 2 * SPARE;
  const first = printing ? 0 : clamp(top * columns, 0, order.length), last = printing ? Math.min(PRINTED, order.length) : clamp((top + sight) * columns, 0, order.length);
  for (const [place, element] of cards) {
    if (place >= first && place < last) continue;
    if (element.contains(document.activeElement)) continue;
    element.remove();
    cards.delete(place);
  }
  const width = list.clientWidth / columns;
  for (let place = first; place < last; place++) {
    if (cards.has(place)) continue;
    const element = card(place);
    element.style.width = `${width}px`;
    element.style.height = `${cardHeight}px`;
    element.style.transform = `translate(${(place % columns) * width}px, ${Math.floor(place / columns) * cardHeight}px)`;
    const after = [...cards.keys()].filter((shown) => shown > place).sort((a, b) => a - b)[0];
    rows.insertBefore(element, after === undefined ? null : cards.get(after));
    cards.set(place, element);
  }
}

function drawPictures(keep = false) {
  arrange();
  for (const element of cards.values()) element.remove();
  cards.clear();
  if (!keep) list.scrollTop = 0;
  measure();
  fill();
  const all = prompts().length, results = cell().figures;
  const counts = ["wins", "ties", "losses"].map((name) => results[`${state.metric}.${name}`]);
  const tally = counts.every(Boolean) ? ` Shared pictures score higher for ${counts[0][0]}, lower for ${counts[2][0]}, the same for ${counts[1][0]}.` : "";
  byId("count").textContent = (order.length === all ? `${all.toLocaleString("en")} prompts.` : `${order.length.toLocaleString("en")} of ${all.toLocaleString("en")} prompts.`) + tally;
  byId("cluster").hidden = !state.cluster;
  clearTimeout(forPaper.soon);
  forPaper.soon = setTimeout(readyForPaper, 1500);
  byId("printed").textContent = order.length > PRINTED ? `The first ${PRINTED} of ${order.length.toLocaleString("en")} are printed.` : "";
}

/* Paper does not wait: the sprites of what it will show are decoded when there is time. */
const forPaper = [];
function readyForPaper() {
  forPaper.length = 0;
  const wanted = new Set();
  for (const prompt of order.slice(0, PRINTED)) {
    for (const number_ of [series().pictures, cell().pictures]) {
      const set = number_ === null ? null : SETS[number_], place = !set ? -1 : set.places ? set.places[prompt] : prompt;
      if (place >= 0) wanted.add(sheet(set, Math.floor(place / PER_SHEET)));
    }
  }
  for (const url of wanted) forPaper.push(Object.assign(new Image(), { src: url }));
}

/* One prompt, at every tau. */
let opened = 0;
function openOne(place) {
  opened = place;
  const prompt = order[place], one = series(), dialog = byId("one");
  byId("one-prompt").textContent = prompts()[prompt];
  byId("one-says").textContent = [`${place + 1} of ${order.length.toLocaleString("en")}`, together(prompt), matchMedia("(hover: hover)").matches ? "arrow keys: next and previous" : ""].filter(Boolean).join(" · ");
  const baseline = one.cells.map((cell_) => cell_.baseline[state.metric]).find(Boolean);
  const film = [make("li", {}, thumb(one.pictures, prompt, `Baseline: ${prompts()[prompt]}`), make("strong", {}, "baseline"), baseline ? score(baseline[prompt]) : "")];
  for (const cell_ of one.cells) {
    const from = alone(one, cell_);
    film.push(make("li", cell_ === cell() ? { class: "now", "aria-current": "true" } : {},
      thumb(cell_.pictures, prompt, `${STEM} ${plain(cell_.tau)}: ${prompts()[prompt]}`),
      make("strong", {}, `${STEM} ${plain(cell_.tau)}`),
      cell_.shared[state.metric] ? `${score(cell_.shared[state.metric][prompt])} ` : "",
      effect(cell_, prompt),
      from ? make("div", {}, from[prompt] ? `shared ${from[prompt]} of ${cell_.K} steps` : "nothing shared") : ""));
  }
  byId("film").replaceChildren(...film);
  byId("one-before").disabled = order[opened - 1] === undefined;
  byId("one-after").disabled = order[opened + 1] === undefined;
  if (!dialog.open) dialog.showModal();
}

byId("one-before").addEventListener("click", () => openOne(opened - 1));
byId("one-after").addEventListener("click", () => openOne(opened + 1));
byId("one").addEventListener("keydown", (event) => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (by && order[opened + by] !== undefined) { event.preventDefault(); openOne(opened + by); }
});
byId("one").addEventListener("click", (event) => { if (event.target === byId("one")) byId("one").close(); });
byId("one").addEventListener("close", () => {
  if (!cards.has(opened)) { list.scrollTop = Math.floor(opened / columns) * cardHeight; fill(); }
  cards.get(opened)?.firstChild.focus();
});

function startPictures() {
  let asked = false;
  list.addEventListener("scroll", () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; fill(); });
  }, { passive: true });
  byId("metric").replaceChildren(...DATA.metrics.map((metric) => make("option", { value: metric.name }, metric.label)));
  byId("metric-label").hidden = DATA.metrics.length < 2;
  byId("sort").addEventListener("change", (event) => change({ sort: event.target.value }));
  byId("metric").addEventListener("change", (event) => change({ metric: event.target.value }));
  byId("search").addEventListener("input", (event) => change({ query: event.target.value }));
  byId("cluster").addEventListener("click", () => change({ cluster: null }));
  byId("to-worst")?.addEventListener("click", () => { byId("sort").value = "worst"; change({ sort: "worst", query: "", cluster: null }); byId("search").value = ""; });
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
    printing = true; drawPictures(true);
    for (const element of rows.querySelectorAll(".thumb")) paint(element, ...element.what);
  });
  addEventListener("afterprint", () => { printing = false; drawPictures(true); for (const details of closed) details.open = false; });
}
