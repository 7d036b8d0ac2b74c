"""What more prompts of the same kind cost: node-steps of random parts of a set, and how they would grow with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.progress import progress
from generators.sharing.plan import Grouping
from generators.sharing.savings import node_steps
from generators.sharing.schedule import Schedule

LEAST = 8  # prompts of the smallest part
PARTS = 20  # of each size
HALVINGS = 4
RANGE = (2.5, 97.5)  # percentiles
AHEAD = 1000


@dataclass(frozen=True)
class Growth:
    """The node-steps of a set and of random parts of it, at one tau.

    Attributes:
        steps: K, a prompt's alone.
        parts: node-steps of the random parts by their number of prompts, the largest parts last.
        prompts, node_steps: of the whole set.
    """

    steps: int
    parts: dict[int, tuple[int, ...]]
    prompts: int
    node_steps: int

    def savings(self, prompts: int) -> tuple[float, float, float]:
        """Return the share of node-steps saved by parts of so many prompts: the mean, and the range of 95% of them."""
        counts = np.array(self.parts.get(prompts, (self.node_steps,)), dtype=float)
        saved = 1 - counts / (prompts * self.steps)
        low, high = np.percentile(saved, RANGE)
        return float(saved.mean()), float(low), float(high)

    def further(self, more: int) -> tuple[float, float, float]:
        """Return the node-steps that each of `more` further prompts of the same kind would cost: 0 to K.

        From half of the set to the whole, node-steps grew as some power of the number of prompts, and it is supposed
        that they go on so. Beside it the lowest and the highest answer of 95% of the halves.
        """
        return self._expected(self.prompts, self.node_steps, max(self.parts), more)

    def foretold(self) -> float | None:
        """Return the whole set's node-steps as the same rule expects them from its halves and quarters, over the true.

        None where there are no quarters.
        """
        if len(self.parts) < 2:
            return None
        quarter, half = sorted(self.parts)[-2:]
        mean = float(np.mean(self.parts[half]))
        expected = self._expected(half, mean, quarter, self.prompts - half)[0]
        return (mean + expected * (self.prompts - half)) / self.node_steps

    def _expected(self, prompts: int, count: float, smaller: int, more: int) -> tuple[float, float, float]:
        """Return node-steps a further prompt of a set of so many that takes `count`, by parts of `smaller` prompts."""

        def each(part: float) -> float:
            power = np.log(count / part) / np.log(prompts / smaller)
            grown = count * (((prompts + more) / prompts) ** power - 1) / more
            return float(np.clip(grown, 0, self.steps))

        low, high = np.percentile([each(part) for part in self.parts[smaller]], RANGE)
        return each(float(np.mean(self.parts[smaller]))), float(low), float(high)


def growth(
    prompts: int,
    group: Callable[[NDArray[np.int64]], Grouping],
    schedule: Schedule,
    taus: Sequence[float],
    steps: int,
    *,
    whole: Grouping | None = None,
    seed: int = 0,
) -> list[Growth]:
    """Return how a set's node-steps grow with its prompts, at each tau.

    Args:
        prompts: how many there are.
        group: groups some of them, int64 [n] ascending, as a strategy does by their features.
        taus, steps: as `build_plan`'s; schedule likewise.
        whole: the grouping of all of them, where it is known.
        seed: of the random parts.

    Raises:
        ValueError: there are too few prompts to take parts of.

    Examples:
        >>> import numpy as np
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.strategies.base import get_strategy
        >>> rows = np.repeat(np.eye(16), 4, axis=0)  # sixteen prompts, four times each
        >>> tree = get_strategy("ward-cosine").tree
        >>> (found,) = growth(64, lambda part: tree(rows[part]), get_schedule("eq7"), [0.1], 10)
        >>> found.node_steps, found.savings(64)[0], found.savings(16)[0] < 0.5  # they part at the last of ten steps
        (208, 0.675, True)
    """
    dice = np.random.default_rng(seed)
    sizes = part_sizes(prompts)
    if not sizes:
        raise ValueError(f"{prompts} prompts are too few: {2 * LEAST} are needed")
    counts: list[dict[int, list[int]]] = [{size: [] for size in sizes} for _ in taus]
    for done, size in enumerate(np.repeat(sizes, PARTS).tolist(), 1):
        rows = np.sort(dice.choice(prompts, size, replace=False))
        grouping = group(rows)
        progress("random parts", done, PARTS * len(sizes))
        for tau, counted in zip(taus, counts, strict=True):
            counted[size].append(node_steps(grouping, schedule, tau, steps))
    whole = group(np.arange(prompts)) if whole is None else whole
    return [
        Growth(
            steps,
            {size: tuple(found) for size, found in counted.items()},
            prompts,
            node_steps(whole, schedule, tau, steps),
        )
        for tau, counted in zip(taus, counts, strict=True)
    ]


def part_sizes(prompts: int) -> list[int]:
    """Return the numbers of prompts of a set's parts, the smallest first: halves, quarters, down to `LEAST` prompts."""
    return [size for halving in range(HALVINGS, 0, -1) if (size := prompts >> halving) >= LEAST]


def ahead(prompts: int) -> int:
    """Return for how many further prompts a set of so many is asked: no more than it has itself."""
    return min(AHEAD, prompts)
