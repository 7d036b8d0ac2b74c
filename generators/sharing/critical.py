"""The time that a plan takes on many workers: at least, and when its parts are handed out.

Time is counted in node-steps: what one worker does while a row is denoised one step.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generators.sharing.parts import part_rows, parts
from generators.sharing.plan import SharingPlan


@dataclass(frozen=True)
class Spread:
    """A plan on W workers.

    Attributes:
        workers: W.
        critical_path: the longest chain of node-steps that wait for each other: K.
        least_time: the shortest time that any schedule reaches (`least_time`).
        trunk: node-steps of trunks, the parts that others begin from.
        longest_trunk: the most that are denoised in trunks one after the other.
        subtrees: the number of the other parts.
        time: of parts as they are handed out (`handed_out`).
        speed_up_bound, speed_up: the plan's node-steps over `least_time`, over `time`.
    """

    workers: int
    critical_path: int
    least_time: int
    trunk: int
    longest_trunk: int
    subtrees: int
    time: int
    speed_up_bound: float
    speed_up: float


def spread(plan: SharingPlan, workers: int, least: int = 1) -> Spread:
    """Return the times of a plan on so many workers; arguments and errors are those of `parts.part_rows`.

    Examples:
        >>> from generators.sharing.plan import baseline_plan
        >>> on_four = spread(baseline_plan(8, 10), workers=4)
        >>> on_four.time, on_four.speed_up, on_four.critical_path
        (20, 4.0, 10)
    """
    cut, size = parts(plan, part_rows(plan.leaves, workers, least)), plan.stop - plan.first
    work = [int(size[nodes].sum()) for nodes in cut.nodes]
    trunks = [steps if heirs else 0 for steps, heirs in zip(work, cut.heirs, strict=True)]
    longest = list(trunks)
    for part, before in enumerate(cut.waits.tolist()):
        longest[part] += longest[before] if before >= 0 else 0
    time, bound, total = handed_out(work, cut.waits.tolist(), workers), least_time(plan, workers), plan.node_steps
    others = trunks.count(0)
    return Spread(workers, plan.steps, bound, sum(trunks), max(longest), others, time, total / bound, total / time)


def active_counts(plan: SharingPlan) -> NDArray[np.int64]:
    """Return int64 [K]: the number of nodes that are denoised at each step.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> active_counts(build_plan(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("eq7"), 1.1, 4)).tolist()
        [1, 1, 2, 2]
    """
    change = np.bincount(plan.first, minlength=plan.steps + 1) - np.bincount(plan.stop, minlength=plan.steps + 1)
    counts: NDArray[np.int64] = np.cumsum(change)[:-1]
    return counts


def least_time(plan: SharingPlan, workers: int) -> int:
    """Return the shortest time in which W workers, a row each at a time, can denoise a plan.

    ``max over k of k + ceil(S_k / W)``, S_k the node-steps of steps k and later: none of them can be done before k
    others were, one after the other. It is reached: read backwards the plan is a forest of tasks of one size that
    join, for which working from the highest level on is optimal (T. C. Hu, Operations Research 9(6), 1961).

    Raises:
        ValueError: there are no workers.

    Examples:
        >>> from generators.sharing.plan import baseline_plan
        >>> [least_time(baseline_plan(8, 10), workers) for workers in (1, 4, 100)]
        [80, 20, 10]
    """
    if workers < 1:
        raise ValueError(f"{workers} workers denoise nothing")
    after = np.cumsum(active_counts(plan)[::-1])[::-1]
    return int((np.arange(plan.steps) + -(-after // workers)).max())


def handed_out(work: Sequence[int], waits: Sequence[int], workers: int) -> int:
    """Return the time until all is done, when whoever is free takes the part that most depends on, of those ready.

    That is how many parts follow from it, one after the other; of equal ones the first.

    Args:
        work: node-steps of each part.
        waits: the number of the part that each begins from, which comes before it; -1 for none.

    Examples:
        >>> handed_out(work=[5, 10, 10, 3], waits=[-1, 0, 0, -1], workers=2)
        15
    """
    follow = following(waits)
    ready = [(-follow[part], part) for part, trunk in enumerate(waits) if trunk < 0]
    heirs: dict[int, list[int]] = {}
    for part, trunk in enumerate(waits):
        heirs.setdefault(trunk, []).append(part)
    running: list[tuple[int, int]] = []
    now = 0
    heapq.heapify(ready)
    while ready or running:
        while ready and len(running) < workers:
            _, part = heapq.heappop(ready)
            heapq.heappush(running, (now + work[part], part))
        now, done = heapq.heappop(running)
        for part in heirs.get(done, ()):
            heapq.heappush(ready, (-follow[part], part))
    return now


def following(waits: Sequence[int]) -> list[int]:
    """Return how many parts follow from each, one after the other.

    Examples:
        >>> following([-1, 0, 1, 0, -1])
        [2, 1, 0, 0, 0]
    """
    follow = [0] * len(waits)
    for part in reversed(range(len(waits))):
        if waits[part] >= 0:
            follow[waits[part]] = max(follow[waits[part]], follow[part] + 1)
    return follow
