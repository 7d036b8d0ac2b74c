"""Planning from a thousand prompts to a million, and what it gives up: ``python -m benchmarks.scale``.

Every size is planned by the command line in a process of its own (``bench plan --embeddings FILE --strategy
partitioned-ward``), whose seconds and peak memory are taken. Up to 20,000 prompts, where exact Ward still runs, the
savings of both are compared where their prompts are equally far from the means that they are denoised with. The
embeddings are synthetic: topics, in each of them kinds, and prompts around these; prompts of a larger set stand closer.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.cluster import contingency_matrix

from common.files import atomic_write
from generators.sharing.plan import SharingPlan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.strategies.base import get_strategy
from metrics.within_nodes import mean_within_node_distance
from sweeps.machine import machine

RESULTS = Path(__file__).parent / "results" / "scale.json"
DIMENSIONS, STEPS = 768, 40
TOPICS, KINDS = 300, 30_000
PARTS = {"everything": 0.10, "topic": 0.30, "kind": 0.35, "prompt": 0.25}  # of a prompt's squared length
CHUNK = 1 << 14
TAUS = (0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 4.0)
STRATEGIES = ("ward-cosine", "partitioned-ward")
# VmHWM and not ru_maxrss, which a process inherits from the one that started it
MEASURED = """
import pathlib, sys
from bench.main import main
try:
    main()
finally:
    status = pathlib.Path("/proc/self/status").read_text()
    print(status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""


def write_embeddings(path: Path, n: int, seed: int = 0) -> None:
    """float32 [n, 768] of length about 1, written a chunk at a time; a larger set begins with a smaller one."""
    rng = np.random.default_rng(seed)

    def directions(count: int) -> NDArray[np.float32]:
        drawn = rng.standard_normal((count, DIMENSIONS), dtype=np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    length = {name: np.float32(part**0.5) for name, part in PARTS.items()}
    topics = length["everything"] * directions(1) + length["topic"] * directions(TOPICS)
    kinds = topics[rng.integers(TOPICS, size=KINDS)] + length["kind"] * directions(KINDS)
    popular = 1 / np.arange(1, KINDS + 1) ** 0.5
    stored = np.lib.format.open_memmap(path, "w+", np.float32, (n, DIMENSIONS))
    for start in range(0, n, CHUNK):
        rows = min(CHUNK, n - start)
        chosen = rng.choice(KINDS, size=CHUNK, p=popular / popular.sum())[:rows]
        stored[start : start + rows] = kinds[chosen] + length["prompt"] * directions(CHUNK)[:rows]
    stored.flush()


def planned(path: Path, tau: float) -> dict[str, Any]:
    """What the command line answers for the embeddings in `path`, its seconds and its peak memory."""
    asked = ["plan", "--embeddings", str(path), "--strategy", "partitioned-ward", "--steps", str(STEPS)]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *asked, "--tau", str(tau), "--json"], capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    (answer,) = json.loads(done.stdout)
    return {**answer, "seconds": seconds, "peak_bytes": int(done.stderr.split()[-1]) * 1024}


def spread(plan: SharingPlan, features: NDArray[np.floating]) -> float:
    """How far prompts are from the mean directions that they are denoised with."""
    spans = np.column_stack([plan.lo, plan.hi])
    return mean_within_node_distance(features, plan.order, spans, plan.stop - plan.first)


def curve(tree: Tree, features: NDArray[np.floating]) -> NDArray[np.float64]:
    """(savings, spread) at every tau, float64 [T, 2]."""
    schedule = get_schedule("eq7")
    plans = [build_plan(tree, schedule, tau, STEPS) for tau in TAUS]
    return np.array([(plan.savings, spread(plan, features)) for plan in plans])


def gap(features: NDArray[np.floating], tau: float) -> dict[str, Any]:
    """What parts save less than exact Ward at equal spread, by tau, both curves, and the purity at one tau."""
    trees = {name: get_strategy(name).tree(features) for name in STRATEGIES}
    curves = {name: curve(tree, features) for name, tree in trees.items()}
    exact, ours = (curves[name] for name in STRATEGIES)
    lost = np.interp(ours[:, 1], exact[:, 1], exact[:, 0]) - ours[:, 0]
    return {
        "taus": TAUS,
        "gap": lost.tolist(),
        "purity": purity(*(first_clusters(trees[name], tau) for name in STRATEGIES)),
        **{name: found.tolist() for name, found in curves.items()},
    }


def first_clusters(tree: Tree, tau: float) -> NDArray[np.int64]:
    """int64 [N]: the node of each prompt at the first step, where clusters are largest."""
    plan, label = build_plan(tree, get_schedule("eq7"), tau, STEPS), np.empty(tree.n_leaves, dtype=np.int64)
    for node in plan.active(0):
        label[plan.members(node)] = node
    return label


def purity(exact: NDArray[np.int64], ours: NDArray[np.int64]) -> float:
    """The share of prompts that are in the exact cluster that most of their own cluster is in."""
    return float(contingency_matrix(exact, ours, sparse=True).max(axis=0).sum() / len(ours))


def at_spread(tree: Tree, features: NDArray[np.floating], target: float) -> dict[str, float]:
    """The savings at the tau at which prompts are as far from their means as `target` says."""
    schedule, low, high = get_schedule("eq7"), 0.0, 8.0
    for _ in range(9):
        tau = (low + high) / 2
        plan = build_plan(tree, schedule, tau, STEPS)
        low, high = (tau, high) if spread(plan, features) < target else (low, tau)
    return {"tau": tau, "savings": plan.savings}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 20_000, 100_000, 1_000_000])
    parser.add_argument("--exact-up-to", type=int, default=20_000)
    parser.add_argument("--tau", type=float, default=1.0)
    parser.add_argument("--spread", type=float, default=0.1, help="mean cosine distance from the node's mean")
    parser.add_argument("--embeddings", type=Path, help="a .npy file of your own, from whose rows sets are drawn")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(argv)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n in asked.sizes:
            path = Path(folder) / f"{n}.npy"
            if asked.embeddings:
                whole = np.load(asked.embeddings, mmap_mode="r", allow_pickle=False)
                np.save(path, whole[np.sort(np.random.default_rng(0).permutation(len(whole))[:n])])
            else:
                write_embeddings(path, n)
            row: dict[str, Any] = {"prompts": n, **planned(path, asked.tau)}
            features = np.load(path, mmap_mode="r", allow_pickle=False)
            if n <= asked.exact_up_to:
                row |= gap(features, asked.tau)
            row["at_spread"] = at_spread(get_strategy("partitioned-ward").tree(features), features, asked.spread)
            path.unlink()
            rows.append(row)
            worst = (
                f", at most {100 * max(row['gap']):.2f} points below exact Ward (purity {row['purity']:.1%})"
                if "gap" in row
                else ""
            )
            print(
                f"{n:>9,} prompts: {row['seconds']:6.1f} s, {row['peak_bytes'] / 2**30:.2f} GiB, "
                f"{row['savings']:.1%} saved at tau {asked.tau:g}{worst}; {row['at_spread']['savings']:.1%} at spread "
                f"{asked.spread:g}",
                flush=True,
            )
            about = {"machine": machine("cpu"), "spread": asked.spread, "own": bool(asked.embeddings), "rows": rows}
            atomic_write(asked.out, json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
