"""How long a plan takes from a ready tree, against the number of prompts: ``python -m benchmarks.planning``.

A plan is O(M log K) over M clusters, so ten times the prompts should take about ten times as long.
"""

import argparse
from collections.abc import Callable
from time import perf_counter

import numpy as np

from generators.sharing.plan import build_plan
from generators.sharing.savings import node_steps, tau_for_savings
from generators.sharing.schedule import Schedule, get_schedule, schedules
from generators.sharing.tree import Tree


def random_tree(n_leaves: int, seed: int) -> Tree:
    """A binary tree of random merges at rising random heights, from 0 to 2."""
    rng = np.random.default_rng(seed)
    height = np.sort(rng.uniform(0, 2, n_leaves - 1))
    draws = rng.random((n_leaves - 1, 2))
    parent, open_nodes = np.full(2 * n_leaves - 1, -1), list(range(n_leaves))
    for merge, pair in enumerate(draws):
        for draw in pair:
            chosen = int(draw * len(open_nodes))
            open_nodes[chosen], open_nodes[-1] = open_nodes[-1], open_nodes[chosen]
            parent[open_nodes.pop()] = n_leaves + merge
        open_nodes.append(n_leaves + merge)
    return Tree.from_parents(parent, np.concatenate([np.zeros(n_leaves), height]), n_leaves)


def chain(n_leaves: int, seed: int) -> Tree:
    """The deepest binary tree: every merge takes in one more prompt."""
    made = np.arange(n_leaves, 2 * n_leaves - 1)
    height = np.sort(np.random.default_rng(seed).uniform(0, 2, n_leaves - 1))
    parent = np.concatenate([made[:1], made, made[1:], [-1]])
    return Tree.from_parents(parent, np.concatenate([np.zeros(n_leaves), height]), n_leaves)


def seconds(task: Callable[[], object], repeats: int) -> float:
    """The shortest of several runs, which other programs disturbed least."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        task()
        times.append(perf_counter() - start)
    return min(times)


def measured(tree: Tree, schedule: Schedule, tau: float, steps: int, repeats: int) -> tuple[float, float, float]:
    """Seconds for a plan, for its node-steps alone, and for the tau that saves half."""
    # Each plan starts from a tree with nothing cached, so that laying out the members counts.
    fresh = iter([Tree(tree.parent, tree.score, tree.n_leaves) for _ in range(repeats)])
    return (
        seconds(lambda: build_plan(next(fresh), schedule, tau, steps), repeats),
        seconds(lambda: node_steps(tree, schedule, tau, steps), repeats),
        seconds(lambda: tau_for_savings(tree, schedule, steps, 0.5), repeats),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--tau", type=float, default=1.0)
    parser.add_argument("--schedule", choices=sorted(schedules()), default="eq7")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    schedule = get_schedule(asked.schedule)
    print(f"{'tree':8}{'leaves':>9}{'plan s':>10}{'ratio':>7}{'node-steps s':>14}{'tau for 50% s':>15}{'savings':>9}")
    for name, shape in {"random": random_tree, "chain": chain}.items():
        before = None
        for n_leaves in asked.leaves:
            tree = shape(n_leaves, seed=0)
            built, counted, solved = measured(tree, schedule, asked.tau, asked.steps, asked.repeats)
            ratio = f"{built / before:.1f}" if before else "-"
            savings = build_plan(tree, schedule, asked.tau, asked.steps).savings
            print(f"{name:8}{n_leaves:>9}{built:>10.4f}{ratio:>7}{counted:>14.4f}{solved:>15.4f}{savings:>9.2%}")
            before = built


if __name__ == "__main__":
    main()
