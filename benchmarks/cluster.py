"""Sharing on a cluster, without one: ``python -m benchmarks.cluster``.

First, what crosses the network for each prompt, from every full-size model's shapes. Then a simulation: a small set is
clustered by ``partitioned-ward``; its trees, drawn again and again, are the trees of a large set; they are cut and
handed out as ``--executor ray`` does it. What is assumed besides: seconds a node-step, how much workers differ, how
often one dies and how long another takes to load the model. Nothing is measured but the trees.
"""

import argparse
import heapq
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.scale import write_embeddings
from common.files import atomic_write
from generators.catalogue import model
from generators.families.base import DTYPES, get_family, resolve_settings
from generators.sharing.critical import spread
from generators.sharing.parts import branch_node_steps, part_rows
from generators.sharing.plan import SharingPlan, build_plan
from generators.sharing.schedule import get_schedule
from generators.strategies.base import get_strategy
from metrics.memory import conditioning_bytes

RESULTS = Path(__file__).parent / "results" / "cluster.json"
MODELS = ("kandinsky-2.2", "karlo", "sd15", "flux-dev", "flux-schnell")
BATCH = 32
RGB = 3


@dataclass(frozen=True)
class Crossing:
    """Bytes a prompt or a handed-over latent. Pictures are counted uncompressed: PNG files are smaller."""

    model: str
    conditioning: int
    latent: int
    picture: int


def crossing(name: str) -> Crossing:
    """From the public configurations of a model, at its own size and dtype."""
    entry = model(name)
    settings = resolve_settings(entry, device="cuda")
    family = get_family(entry.family).load(entry, "cpu", settings.dtype)
    item = DTYPES[settings.dtype].itemsize
    return Crossing(
        name,
        conditioning_bytes(family.conditioning_of(entry, settings)),
        item * prod(family.latent_shape(settings)),
        RGB * settings.height * settings.width,
    )


@dataclass(frozen=True)
class Assumed:
    """What a simulation assumes; see the options' help."""

    row_seconds: float
    differ: float
    hours_between_deaths: float
    load_seconds: float


def sampled_plan(n: int, tau: float, steps: int) -> SharingPlan:
    """The plan of a synthetic set, clustered by parts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e.npy"
        write_embeddings(path, n)
        tree = get_strategy("partitioned-ward").tree(np.load(path, mmap_mode="r", allow_pickle=False))
    return build_plan(tree, get_schedule("eq7"), tau, steps)


def simulated(
    roots: NDArray[np.int64], per_prompt: float, steps: int, prompts: int, workers: int, assumed: Assumed
) -> dict[str, Any]:
    """List scheduling of parts filled with trees drawn from `roots`, each with its node-steps; none has a trunk.

    Args:
        roots: int64 [T]; node-steps of every tree of the sampled plan.
        per_prompt: node-steps a prompt of that plan.
        steps: K.
        prompts, workers: of the cluster.
    """
    rng = np.random.default_rng(0)
    total = per_prompt * prompts
    size = part_rows(prompts, workers, BATCH) * per_prompt
    if roots.max() > size:
        raise SystemExit(f"a tree of {roots.max():,} node-steps is larger than a part of {size:,.0f}: fewer workers")
    # a part's trees are many: their sum is drawn as a normal number of its mean and variance
    each = size / roots.mean()
    parts = np.maximum(size + rng.standard_normal(round(total / size)) * roots.std() * each**0.5, 0)
    slowness = np.exp(assumed.differ * rng.standard_normal(workers))
    slowness *= np.mean(1 / slowness)  # together they do what as many of average speed would
    free = [(assumed.load_seconds, i) for i in range(workers)]
    heapq.heapify(free)
    died, end = 0, 0.0
    for part in parts:
        start, worker = heapq.heappop(free)
        seconds = part * assumed.row_seconds * slowness[worker]
        while (fails := rng.exponential(assumed.hours_between_deaths * 3600)) < seconds:
            start += fails + assumed.load_seconds  # the part is begun again
            died += 1
        end = max(end, start + seconds)
        heapq.heappush(free, (start + seconds, worker))
    alone = total * assumed.row_seconds
    return {
        "prompts": prompts,
        "workers": workers,
        "parts": len(parts),
        "prompts_a_part": prompts / len(parts),
        "hours": end / 3600,
        "speed_up": alone / end,
        "deaths": died,
        "pictures_a_second": prompts / end,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=20_000, help="prompts that are clustered")
    parser.add_argument("--prompts", type=int, default=10**8)
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--tau", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--row-seconds", type=float, default=0.02, help="of a worker, a row and a step")
    parser.add_argument("--differ", type=float, default=0.05, help="log-normal spread of workers' speeds")
    parser.add_argument("--hours-between-deaths", type=float, default=500, help="of one worker, on average")
    parser.add_argument("--load-seconds", type=float, default=120, help="until a new worker has the model")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(argv)
    crossings = [crossing(name) for name in MODELS]
    print(f"{'bytes':14}{'conditioning':>14}{'latent':>10}{'picture':>12}")
    for each in crossings:
        print(f"{each.model:14}{each.conditioning:>14,}{each.latent:>10,}{each.picture:>12,}")
    assumed = Assumed(asked.row_seconds, asked.differ, asked.hours_between_deaths, asked.load_seconds)
    plan = sampled_plan(asked.sample, asked.tau, asked.steps)
    roots = branch_node_steps(plan)[plan.source < 0]
    print(
        f"{asked.sample:,} prompts, tau {asked.tau:g}, {asked.steps} steps: {plan.savings:.1%} saved, "
        f"{len(roots):,} trees, the largest {roots.max():,} of {plan.node_steps:,} node-steps"
    )
    bounds = [spread(plan, workers) for workers in asked.workers]
    for each in bounds:
        print(
            f"  the sample itself on {each.workers:,}: at most {each.speed_up_bound:.4g} times as fast, "
            f"{each.speed_up:.4g} as cut (trunks {each.trunk:,} node-steps, at most {each.longest_trunk:,})"
        )
    per_prompt = plan.node_steps / asked.sample
    found = [simulated(roots, per_prompt, asked.steps, asked.prompts, workers, assumed) for workers in asked.workers]
    for row in found:
        print(
            f"{row['prompts']:,} prompts on {row['workers']:,}: {row['hours']:,.1f} h, "
            f"{row['speed_up']:.4g} times one, {row['deaths']} deaths, "
            f"{row['pictures_a_second']:,.0f} pictures a second"
        )
    about = {
        "assumed": vars(assumed),
        "sample": {"prompts": asked.sample, "tau": asked.tau, "steps": asked.steps, "savings": plan.savings},
        "trees": {"count": len(roots), "largest": int(roots.max()), "mean": float(roots.mean())},
        "bytes": [vars(each) for each in crossings],
        "sample_spread": [vars(each) for each in bounds],
        "simulated": found,
    }
    atomic_write(asked.out, json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
