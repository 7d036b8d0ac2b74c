/* The tree: root left, prompts right, drawn on a canvas, zoomed along the prompts. */

const canvas = byId("canvas");
const LABELS = 11, SHIFT = 0.35;
let view = null, zoom = 1, top_ = 0, chosen = null, dragged = null;

/* Where nodes stand, who their children are, and which prompts they hold; once a tree. */
function laidOut(tree) {
  if (tree.laid) return tree.laid;
  const count = tree.parent.length, leaves = tree.order.length;
  const low = new Float64Array(count).fill(Infinity), high = new Float64Array(count).fill(-Infinity), place = new Float64Array(count);
  const from = new Int32Array(count).fill(leaves), to = new Int32Array(count), children = Array.from({ length: count }, () => []);
  tree.order.forEach((prompt, i) => { place[prompt] = i; from[prompt] = i; to[prompt] = i + 1; });
  for (let node = 0; node < count; node++) {
    if (node >= leaves) place[node] = (low[node] + high[node]) / 2;
    const up = tree.parent[node];
    if (up < 0) continue;
    children[up].push(node);
    low[up] = Math.min(low[up], place[node]); high[up] = Math.max(high[up], place[node]);
    from[up] = Math.min(from[up], from[node]); to[up] = Math.max(to[up], to[node]);
  }
  for (const siblings of children) siblings.sort((a, b) => place[a] - place[b]);
  const highest = Math.max(...tree.score);
  tree.laid = { place, from, to, children, highest, leaves };
  return tree.laid;
}

/* For each node, the number of steps for which all its prompts are denoised as one. */
function parting(tree, which) {
  const { from, to, leaves } = laidOut(tree), steps = new Int32Array(tree.parent.length).fill(which.K);
  const next = which.together;
  for (let node = leaves; node < steps.length; node++) steps[node] = 0;
  if (!next) return steps;
  const least = tree.parent.map(() => which.K);
  for (let node = 0; node < steps.length; node++) {
    const up = tree.parent[node];
    steps[node] = node < leaves ? which.K : least[node];
    if (up < 0) continue;
    const edge = to[node] < to[up] ? next[to[node] - 1] : which.K;
    least[up] = Math.min(least[up], steps[node], edge);
  }
  return steps;
}

function mix(one, other, share) {
  const read = (text) => text.match(/[\d.]+/g).slice(0, 3).map(Number);
  const [a, b] = [read(one), read(other)];
  return `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * share)).join(" ")})`;
}

const currentTree = () => (series().tree === null ? null : DATA.trees[series().tree]);

function drawTree() {
  if (!canvas) return;
  const tree = currentTree();
  byId("tree").hidden = !tree;
  if (!tree) return;
  const laid = laidOut(tree), ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  zoom = clamp(zoom, 1, Math.max(1, laid.leaves / 6));
  top_ = clamp(top_, 0, laid.leaves * (1 - 1 / zoom));
  const step = (height - 34) / (laid.leaves / zoom), labels = step >= LABELS;
  const right = labels ? Math.min(300, width * (width < 560 ? 0.62 : 0.44)) : 18;
  const x = (score) => 8 + (1 - score / (laid.highest || 1)) * (width - 16 - right);
  const y = (place) => 12 + (place + 0.5 - top_) * step;
  const steps = parting(tree, cell()), K = cell().K || 1;
  const apart = colour("apart"), whole = colour("together"), ink = colour("ink"), muted = colour("muted"), line = colour("edge");
  view = { tree, laid, x, y, step, height, width };

  const tau = cell().tau;
  context.font = "12px system-ui, sans-serif";
  if (tau > 0 && tau < laid.highest) {
    context.strokeStyle = line; context.setLineDash([4, 4]);
    context.beginPath(); context.moveTo(x(tau), 4); context.lineTo(x(tau), height - 20); context.stroke(); context.setLineDash([]);
    context.fillStyle = muted; context.textAlign = "center"; context.fillText(`${STEM} ${plain(tau)}`, clamp(x(tau), 84, width - 24), height - 6);
  }
  context.fillStyle = muted; context.textAlign = "left"; context.fillText("← height", 8, height - 6);

  const paths = new Map();
  for (let node = 0; node < tree.parent.length; node++) {
    const up = tree.parent[node];
    if (up < 0) continue;
    const [a, b] = [y(laid.place[node]), y(laid.place[up])];
    if (Math.max(a, b) < -5 || Math.min(a, b) > height - 18) continue;
    const key = steps[up];
    if (!paths.has(key)) paths.set(key, new Path2D());
    const path = paths.get(key);
    path.moveTo(x(tree.score[node]), a); path.lineTo(x(tree.score[up]), a); path.lineTo(x(tree.score[up]), b);
  }
  context.save();
  context.beginPath(); context.rect(0, 0, width, height - 19); context.clip();
  context.lineJoin = "round";
  for (const [key, path] of [...paths].sort((a, b) => a[0] - b[0])) {
    context.strokeStyle = mix(apart, whole, key / K); context.lineWidth = key ? 1.9 : 1.1;
    context.stroke(path);
  }
  for (const node of Object.keys(tree.means)) {
    context.fillStyle = ink; context.beginPath(); context.arc(x(tree.score[node]), y(laid.place[node]), 3.5, 0, 7); context.fill();
  }
  if (labels) {
    context.fillStyle = ink; context.textAlign = "left";
    const size = Math.min(12, step - 1);
    context.font = `${size}px system-ui, sans-serif`;
    const first = Math.max(0, Math.floor(top_)), last = Math.min(laid.leaves, Math.ceil(top_ + laid.leaves / zoom) + 1);
    for (let i = first; i < last; i++) {
      const lines = broken(context, prompts()[tree.order[i]], right - 18, Math.max(1, Math.floor(step / (size * 1.25))));
      lines.forEach((text, row) => context.fillText(text, width - right + 4, y(i) + size / 3 + (row - (lines.length - 1) / 2) * size * 1.25));
    }
  }
  if (chosen !== null && chosen < tree.parent.length) {
    context.strokeStyle = ink; context.lineWidth = 2.5;
    context.beginPath(); context.arc(x(tree.score[chosen]), y(laid.place[chosen]), 6, 0, 7); context.stroke();
    if (chosen >= laid.leaves) {
      context.globalAlpha = 0.1; context.fillStyle = ink;
      context.fillRect(x(tree.score[chosen]), y(laid.from[chosen] - 0.5), width, (laid.to[chosen] - laid.from[chosen]) * step); context.globalAlpha = 1;
    }
  }
  context.restore();
}

/* A text on so many lines at most, each as wide as this at most; only what has no room is cut. */
function broken(context, text, width, most) {
  const lines = [""];
  text.split(" ").forEach((word) => {
    const longer = lines[lines.length - 1] ? `${lines[lines.length - 1]} ${word}` : word;
    if (lines.length === most || context.measureText(longer).width <= width || !lines[lines.length - 1]) lines[lines.length - 1] = longer;
    else lines.push(word);
  });
  return lines.map((line_) => fitted(context, line_, width));
}

function fitted(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let low = 0, high = Math.min(text.length, 80);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle; else high = middle - 1;
  }
  return `${text.slice(0, low)}…`;
}

/* Describe a node, and scroll to it. */
function choose(node, follow = true) {
  chosen = node;
  const { tree, laid } = view, members = tree.order.slice(laid.from[node], laid.to[node]), steps = parting(tree, cell());
  if (follow && (view.y(laid.place[node]) < 12 || view.y(laid.place[node]) > view.height - 30)) top_ = laid.place[node] - laid.leaves / zoom / 2;
  const description = byId("node");
  if (node < laid.leaves) {
    const from = alone(series(), cell());
    description.replaceChildren(make("strong", {}, prompts()[node]), make("p", {}, from ? together_(from[node]) : ""));
  } else {
    const list_ = make("ul", {}, ...members.slice(0, 6).map((prompt) => make("li", {}, prompts()[prompt])));
    if (members.length > 6) list_.append(make("li", {}, `${(members.length - 6).toLocaleString("en")} more`));
    description.replaceChildren(make("strong", {}, `${members.length.toLocaleString("en")} prompts`),
      make("span", {}, `merged at height ${plain(tree.score[node])}; denoised together for ${steps[node]} of ${cell().K} steps`));
    if (tree.means[node]) description.append(make("img", { src: tree.means[node], alt: `The mean of these ${members.length} prompts, denoised to the end`, width: 160, height: 160 }));
    description.append(list_, make("button", { type: "button", onclick: () => { change({ cluster: new Set(members) }); byId("pictures").scrollIntoView(); } }, "See their pictures"));
  }
  drawTree();
}
const together_ = (steps) => (steps ? `shared ${steps} of ${cell().K} steps, then alone` : "shares nothing: the baseline's own picture");

function walk(key) {
  const { tree, laid } = view;
  if (chosen === null) return choose(tree.parent.lastIndexOf(-1));
  const up = tree.parent[chosen], kin = laid.children[up] || [], at = kin.indexOf(chosen);
  if (key === "ArrowLeft") return up >= 0 ? choose(up) : null;
  if (key === "ArrowRight") return laid.children[chosen].length ? choose(laid.children[chosen][0]) : null;
  const by = key === "ArrowDown" ? 1 : -1;
  if (kin[at + by] !== undefined) return choose(kin[at + by]);
  const edge = by > 0 ? laid.to[chosen] : laid.from[chosen] - 1;
  return edge >= 0 && edge < laid.leaves ? choose(tree.order[edge]) : null;
}

function zoomBy(factor, at = 0.5) {
  const { laid } = view, middle = top_ + (laid.leaves / zoom) * at;
  zoom = clamp(zoom * factor, 1, Math.max(1, laid.leaves / 6));
  top_ = middle - (laid.leaves / zoom) * at;
  drawTree();
}

function nearest(event) {
  const { tree, laid, x, y } = view, box = canvas.getBoundingClientRect();
  const [px, py] = [event.clientX - box.left, event.clientY - box.top];
  let best = null, least = 400;
  for (let node = 0; node < tree.parent.length; node++) {
    const far = ((x(tree.score[node]) - px) * (px > x(0) ? SHIFT * 0.2 : 1)) ** 2 + (y(laid.place[node]) - py) ** 2;
    if (far < least) { least = far; best = node; }
  }
  return best;
}

function startTree() {
  if (!canvas) return;
  byId("scale").append("never together", make("i"), "together to the last step");
  byId("zoom-in").addEventListener("click", () => zoomBy(1.6));
  byId("zoom-out").addEventListener("click", () => zoomBy(1 / 1.6));
  byId("zoom-reset").addEventListener("click", () => { zoom = 1; drawTree(); });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey && zoom === 1) return;
    const far = event.deltaY || event.deltaX;
    if (event.ctrlKey || event.metaKey) zoomBy(2 ** (-far / 200), clamp(event.offsetY / canvas.clientHeight, 0, 1));
    else if ((far < 0 && top_ <= 0) || (far > 0 && top_ >= view.laid.leaves * (1 - 1 / zoom) - 1e-9)) return;
    else { top_ += far / view.step; drawTree(); }
    event.preventDefault();
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => zoomBy(2, clamp(event.offsetY / canvas.clientHeight, 0, 1)));
  canvas.addEventListener("pointerdown", (event) => { dragged = { y: event.clientY, top: top_, moved: false }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (!dragged) return;
    if (Math.abs(event.clientY - dragged.y) > 4) dragged.moved = true;
    if (dragged.moved) { top_ = dragged.top - (event.clientY - dragged.y) / view.step; drawTree(); }
  });
  canvas.addEventListener("pointerup", (event) => {
    const node = dragged && !dragged.moved ? nearest(event) : null;
    dragged = null;
    if (node !== null) choose(node, false);
  });
  canvas.addEventListener("pointercancel", () => { dragged = null; });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.startsWith("Arrow")) walk(event.key);
    else if (event.key === "+" || event.key === "=") zoomBy(1.6);
    else if (event.key === "-") zoomBy(1 / 1.6);
    else if (event.key === "0") { zoom = 1; drawTree(); }
    else return;
    event.preventDefault();
  });
}
