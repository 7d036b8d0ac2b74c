"""How fast the report's page opens and scrolls, on a made-up run: ``python -m benchmarks.report_page``.

The run is synthetic, its records are real: 2,000 prompts at 9 taus, with a tree, plans, scores and a picture of every
prompt at every tau (random textures, which compress as badly as photographs). The page is opened from disk in headless
Chromium, in a fresh profile each time, and its list of pictures scrolled a step a frame.

Needs Chromium and the package playwright, which drives it.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.files import sha256_text
from generators.sharing.plan import build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from metrics.paired_scores import compare_scores
from sweeps.record import CellConfig, FlopCost, PlanCost, Record, Result

STEPS = 40
TAUS = [f"{tau:g}" for tau in np.linspace(0, 2, 9)]
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
# Scrolls the list, a step a frame; gives the milliseconds between frames, and whether pictures are in sight at the end.
SCROLL = """async () => {
  const list = document.getElementById("list"), frames = [];
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  let before = await frame();
  for (let i = 0; i < 240; i++) {
    list.scrollTop += 45;
    const now = await frame();
    frames.push(now - before);
    before = now;
  }
  await new Promise((done) => setTimeout(done, 300));
  const shown = [...document.querySelectorAll("#rows .thumb")].filter((each) => each.style.backgroundImage).length;
  return { frames, shown };
}"""
# Sets an input to a value and waits until the frame that shows it is drawn.
SET = """async ([id, value, kind]) => {
  const element = document.getElementById(id), start = performance.now();
  element.value = value;
  element.dispatchEvent(new Event(kind));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - start;
}"""


def random_tree(n: int) -> Tree:
    from scipy.cluster.hierarchy import linkage

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(n // 20 + 1, 16))
    points = centres[rng.integers(len(centres), size=n)] + 0.4 * rng.normal(size=(n, 16))
    Z = linkage(points / np.linalg.norm(points, axis=1, keepdims=True), "ward")
    Z[:, 2] *= 2.0 / Z[-1, 2]
    return Tree.from_linkage(Z)


def draw(folder: Path, side: int, drift: float, i: int) -> None:
    """A picture of a prompt: random textures of several scales, the more like all others the larger `drift` is."""
    from PIL import Image

    rng, common = np.random.default_rng([1, i]), np.random.default_rng(7)
    total = np.zeros((side, side, 3))
    for cells, weight in ((4, 70.0), (12, 35.0), (side // 3, 22.0)):
        own, shared = rng.normal(size=(cells, cells, 3)), common.normal(size=(cells, cells, 3))
        coarse = ((1 - drift) * own + drift * shared) * weight
        rows = [Image.fromarray(coarse[..., c].astype(np.float32)).resize((side, side), 3) for c in range(3)]
        total += np.stack([np.asarray(row) for row in rows], axis=-1)
    Image.fromarray(np.clip(total + 128, 0, 255).astype(np.uint8)).save(folder / f"{i:05d}.png", compress_level=1)


def pictures(folder: Path, n: int, side: int, drift: float) -> None:
    folder.mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(draw, folder, side, drift), range(n), chunksize=50))


def scored(baseline: NDArray[np.float64], tau: float) -> NDArray[np.float64]:
    rng = np.random.default_rng(round(100 * tau))
    return np.clip(baseline + rng.normal(-0.02 * tau, 0.15 * min(tau, 1), len(baseline)), 0, 1)


def save_scores(path: Path, scores: NDArray[np.float64]) -> None:
    import pandas as pd

    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"vqa.vqa": scores}).to_parquet(path)


def record_at(tau: str, plan: Any, ours: NDArray[np.float64], baseline: NDArray[np.float64]) -> Record:
    found = compare_scores("vqa", {"vqa": baseline}, {"vqa": ours}, plan.solo)
    figures = {
        f"vqa.{name}": Result(value=float(each))
        if isinstance(each, int | float)
        else Result(value=each.value, low=each.low, high=each.high, n=each.n, method=each.method)
        for name, each in found.items()
    }
    n, cost = plan.n_prompts, {"prior": 2e12, "denoiser": 8.6e11 * plan.node_steps, "decoder": 1e12}
    total = 3e12 + 8.6e11 * plan.baseline_node_steps
    asked = {"model": "made-up", "dataset": "made-up", "strategy": "ward-cosine", "features": "image_embeds"}
    asked |= {"schedule": "eq7", "combiner": "mean", "noise": "per-root", "scheduler": "default"}
    return Record(
        id=sha256_text(f"made-up {tau}")[:16],
        status="done",
        config=CellConfig(**asked, tau=Decimal(tau), steps=STEPS, seed=42, guidance=4.0),
        plan=PlanCost(
            n_prompts=n,
            steps_requested=STEPS,
            K=STEPS,
            node_steps=plan.node_steps,
            baseline_node_steps=plan.baseline_node_steps,
            savings=plan.savings,
        ),
        flops=FlopCost(
            components=cost, total=sum(cost.values()), baseline_total=total, savings=1 - sum(cost.values()) / total
        ),
        figures=figures,
        timings={"cluster": 0.4, "plan": 0.1, "denoise": 0.01 * plan.node_steps, "decode": 0.05 * n},
        baseline_timings={"encode": 20.0, "denoise": 0.01 * plan.baseline_node_steps, "decode": 0.05 * n},
        scorers={"vqa": {"name": "vqa", "checkpoint": "made-up", "higher_is_better": True}},
        standard="shared/standard",
    )


def make_run(folder: Path, n: int, side: int) -> None:
    """A run folder of records, trees, plans, scores and pictures."""
    (folder / "cells").mkdir(parents=True)
    (folder / "sweep.yaml").write_text("schema_version: 1\nmodel: [made-up]\n")
    tree, baseline = random_tree(n), np.random.default_rng(3).uniform(0, 1, n)
    pictures(folder / "shared/standard/images", n, side, 0.0)
    texts = [f"a made-up prompt, number {i}, of {n}, that is about as long as people write them" for i in range(n)]
    (folder / "shared/standard/prompts.json").write_text(json.dumps(texts))
    save_scores(folder / "shared/standard/scores.parquet", baseline)
    for tau in TAUS:
        plan = build_plan(tree, get_schedule("eq7"), float(tau), STEPS)
        ours = np.where(plan.solo, baseline, scored(baseline, float(tau)))
        record = record_at(tau, plan, ours, baseline)
        cell = record.folder(folder)
        if float(tau) == 0:
            shutil.copytree(folder / "shared/standard/images", cell / "images")
        else:
            pictures(cell / "images", n, side, 0.2 * float(tau))
        tree.save(cell / "tree.npz")
        plan.save(cell / "plan.npz")
        save_scores(cell / "scores.parquet", ours)
        (cell / "record.json").write_text(record.model_dump_json())


def opened(page: Path, chromium: str) -> dict[str, float]:
    """Milliseconds and counts of one visit, in a profile of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        start = perf_counter()
        tab.goto(page.resolve().as_uri())
        tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        found = {"open": 1000 * (perf_counter() - start)}
        timing = "performance.getEntriesByType('navigation')[0]"
        found["of that, until the script had run"] = tab.evaluate(f"{timing}.domContentLoadedEventEnd")
        tab.evaluate("document.getElementById('pictures').scrollIntoView({ behavior: 'instant' })")
        tab.wait_for_timeout(500)
        scrolled = tab.evaluate(SCROLL)
        frames = np.array(scrolled["frames"])
        found |= {
            "frame, median": median(frames),
            "frame, 95%": float(np.percentile(frames, 95)),
            "frame, longest": max(frames),
        }
        found["frames over 50 ms, of 240"] = float((frames > 50).sum())
        found["pictures in sight"] = float(scrolled["shown"])
        found["another tau"] = tab.evaluate(SET, ["tau", "3", "input"])
        found["another order"] = tab.evaluate(SET, ["sort", "best", "change"])
        found["a search"] = tab.evaluate(SET, ["search", "number 19", "input"])
        browser.close()
    if errors:
        raise RuntimeError(errors[0])
    return found


def timed(task: Callable[[], object]) -> float:
    start = perf_counter()
    task()
    return perf_counter() - start


def main() -> None:
    from reports.base import RunView
    from reports.page.thumbnails import MOST
    from reports.page.write import write_page

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--side", type=int, default=256, help="of the run's pictures, in pixels")
    parser.add_argument("--most", type=int, default=MOST, help="bytes of all pictures on the page")
    parser.add_argument("--run", type=Path, help="make the run here and keep it; use what is here")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        run = asked.run or Path(scratch) / "run"
        if not run.exists():
            print(f"run made in {timed(lambda: make_run(run, asked.prompts, asked.side)):.0f} s")
        start = perf_counter()
        page = write_page([RunView.of(run)], run / "report/index.html", most=asked.most)
        print(f"page of {page.size / 1e6:.1f} MB written in {perf_counter() - start:.0f} s")
        print(*(f"  left out: {note}" for note in page.notes), sep="\n")
        if asked.chromium is None:
            raise SystemExit("there is no Chromium here: give --chromium")
        visits = [opened(page.path, asked.chromium) for _ in range(asked.repeats)]
    print(f"{'milliseconds, or how many':36}{'median':>9}{'worst':>9}")
    for name in visits[0]:
        values = [visit[name] for visit in visits]
        print(f"{name:36}{median(values):>9.1f}{max(values):>9.1f}")


if __name__ == "__main__":
    main()
