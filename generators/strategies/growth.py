"""The growth of a strategy's time and memory with the number of prompts, beside what it declares."""

import re
import tracemalloc
from collections.abc import Callable, Sequence
from time import process_time

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from generators.sharing.plan import Planner
from generators.sharing.schedule import get_schedule
from generators.strategies.base import Strategy, grouped

SIZES = (250, 500, 1000, 2000)
DIMENSIONS = 64
STEPS = 10
# A power of N is one too high when it is measured by this much above what is declared. Small sizes hide growth behind
# fixed costs, and caches that overflow show some that is none.
SLACK = {"time": 0.75, "memory": 0.35}
# Below these, at the largest size, fixed costs are all there is to see.
LEAST = {"time": 0.01, "memory": 2.0**20}
# A size that takes this many seconds is the last.
ENOUGH = 20.0


def check_time(strategy: Strategy, sizes: Sequence[int]) -> str:
    """Return what was measured, in words.

    Raises:
        UserError: it grows faster than `complexity` says, or that says no power of N.
    """
    return _compared("time", strategy.complexity, _measured(strategy, sizes, _seconds), lambda s: f"{s:.2g} s")


def check_memory(strategy: Strategy, sizes: Sequence[int]) -> str:
    """Return what was measured, in words; it sees what Python and NumPy allocate.

    Raises:
        UserError: it grows faster than `memory` says, or that says no power of N.
    """
    return _compared("memory", strategy.memory, _measured(strategy, sizes, _bytes), lambda b: f"{b / 2**20:.3g} MiB")


def declared_power(words: str) -> float | None:
    """Return the highest power of N in words such as ``O(N^2 D) distances``; None if there is none, logarithms aside.

    Examples:
        >>> declared_power("O(N^2 D) distances, O(N log N) merging")
        2.0
    """
    powers = re.findall(r"\bN\b(?:\s*(?:\^|\*\*)\s*(\d+(?:\.\d+)?))?", re.sub(r"log\(?\s*N\b", "log", words))
    if not powers:
        return 0.0 if "O(1)" in words or "log" in words else None
    return max(float(power or 1) for power in powers)


def power(measured: Sequence[tuple[int, float]]) -> float:
    """Return the power of N by which the last three or more values grow, by least squares of their logarithms.

    Examples:
        >>> round(power([(100, 1.0), (200, 4.0), (400, 16.0)]), 6)
        2.0
    """
    sizes, values = np.log(np.array(measured[-max(3, len(measured) // 2) :])).T
    return float(np.polyfit(sizes, values, 1)[0])


def _measured(
    strategy: Strategy, sizes: Sequence[int], measure: Callable[[Callable[[], object]], float]
) -> list[tuple[int, float]]:
    rows = np.random.default_rng(0).normal(size=(max(sizes), DIMENSIONS))
    _grouped(strategy, rows[:8])  # what it imports and compiles is not of its prompts
    taken = []
    for size in sorted(sizes):
        given: NDArray[np.float64] = rows[:size].copy()
        start = process_time()
        taken.append((size, measure(lambda given=given: _grouped(strategy, given))))  # type: ignore[misc]
        if process_time() - start > ENOUGH:
            break
    return taken


def _grouped(strategy: Strategy, features: NDArray[np.float64]) -> object:
    """Have the strategy do its work: a tree, or a planner's for one tau."""
    grouping = grouped(strategy, features)
    return grouping.node_steps(get_schedule("eq7"), 1.0, STEPS) if isinstance(grouping, Planner) else grouping


def _seconds(task: Callable[[], object]) -> float:
    """Return CPU seconds, the least of three runs: other programs disturb these little."""
    taken = []
    for _ in range(3):
        start = process_time()
        task()
        taken.append(process_time() - start)
        if taken[0] > ENOUGH / 3:
            break
    return max(min(taken), 1e-9)


def _bytes(task: Callable[[], object]) -> float:
    """Return the peak of allocated bytes above what there was."""
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        task()
        return max(tracemalloc.get_traced_memory()[1] - before, 1)
    finally:
        if not tracing:
            tracemalloc.stop()


def _compared(what: str, words: str, measured: list[tuple[int, float]], shown: Callable[[float], str]) -> str:
    said = declared_power(words)
    if said is None:
        raise UserError(f"{words!r} says no power of N", "write for example O(N^2 D)")
    if len(measured) < 3:
        raise UserError(f"{measured[-1][0]} prompts took too long to measure three sizes", "give smaller --size")
    last, exponent = measured[-1], power(measured)
    seen = f"as N^{exponent:.1f}, {shown(last[1])} for {last[0]:,} prompts; declared: {words}"
    if last[1] < LEAST[what]:
        return f"too little to tell a power: {shown(last[1])} for {last[0]:,} prompts; declared: {words}"
    if exponent > said + SLACK[what]:
        raise UserError(f"grows {seen}")
    return seen
