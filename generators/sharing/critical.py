"""The time that a plan takes on many workers: at least, and when trunks are denoised before their subtrees.

Time is counted in node-steps: what one worker does while a row is denoised one step.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generators.sharing.parts import parts
from generators.sharing.plan import SharingPlan


@dataclass(frozen=True)
class Spread:
    """A plan on W workers.

    Attributes:
        workers: W.
        critical_path: the longest chain of node-steps that wait for each other: K.
        least_time: the shortest time that any schedule reaches (`least_time`).
        trunk: node-steps of all trunks, after which subtrees begin.
        longest_trunk: of the largest of them, which one worker does.
        subtrees: their number.
        time: of trunks and subtrees as they are handed out (`handed_out`).
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
    """Return the times of a plan on so many workers; arguments and errors are those of `parts.parts`.

    Examples:
        >>> from generators.sharing.plan import baseline_plan
        >>> on_four = spread(baseline_plan(8, 10), workers=4)
        >>> on_four.time, on_four.speed_up, on_four.critical_path
        (20, 4.0, 10)
    """
    cut, size = parts(plan, workers, least), plan.stop - plan.first
    trunks = [int(size[nodes].sum()) for nodes in cut.trunks]
    work = [int(size[nodes].sum()) for nodes in cut.subtrees]
    time, bound = handed_out(trunks, work, cut.waits.tolist(), workers), least_time(plan, workers)
    longest, total = max(trunks, default=0), plan.node_steps
    return Spread(workers, plan.steps, bound, sum(trunks), longest, len(work), time, total / bound, total / time)


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


def handed_out(trunks: Sequence[int], work: Sequence[int], waits: Sequence[int], workers: int) -> int:
    """Return the time until all is done, when whoever is free takes what has been ready longest: trunks first.

    Args:
        trunks: node-steps of each trunk.
        work: node-steps of each other part.
        waits: the number of the trunk that each part begins from; -1 for none.
        workers: W.

    Examples:
        >>> handed_out(trunks=[5], work=[10, 10, 3], waits=[0, 0, -1], workers=2)
        15
    """
    ready = deque(
        [*((size, i) for i, size in enumerate(trunks)), *((s, -1) for s, w in zip(work, waits, strict=True) if w < 0)]
    )
    heirs: dict[int, list[int]] = {}
    for size, trunk in zip(work, waits, strict=True):
        heirs.setdefault(trunk, []).append(size)
    running: list[tuple[int, int]] = []
    now = 0
    while ready or running:
        while ready and len(running) < workers:
            size, trunk = ready.popleft()
            heapq.heappush(running, (now + size, trunk))
        now, trunk = heapq.heappop(running)
        if trunk >= 0:
            ready += [(size, -1) for size in heirs.get(trunk, ())]
    return now
