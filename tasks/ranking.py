"""The order of a card's rows, with the ranks that each may have. Pure functions of rows and of their curves.

Rows are ordered by savings at parity. One is better than another for sure where the difference of theirs is shown: by
their prompts and seeds, resampled together, with Holm's correction over all pairs of rows, where the scores of both are
there; else where their 95% intervals do not overlap. From these claims follow the ranks that each may have
(`metrics.method_comparison.rank_ranges`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from metrics.hypotheses import holm
from metrics.method_comparison import rank_ranges
from metrics.parity import GAP, SavingsAtParity, mean_difference
from metrics.statistics import LEVEL
from sweeps.record import NEAR
from tasks.row import Point, Row

RULE = (
    "Rows are ordered by savings at parity, the share of the denoiser's rows that a method can save before its win "
    "rate against the baseline falls below {line:.0%}; two of them share ranks unless the difference is shown on the "
    "card's own prompts and seeds (95%, corrected for all pairs of rows)."
)
SLACK = 1e-9  # that a difference of decimal fractions may be off


@dataclass(frozen=True)
class Ranking:
    """The ranks of the rows of one card.

    Attributes:
        order: places of the rows, the best first.
        ranks: of each row, by its own place, the first and the last rank that it may have.
        better: [R, R], True where a row beats another for sure.
        unpaired: places of rows that were compared by their intervals alone.
    """

    order: tuple[int, ...]
    ranks: tuple[tuple[int, int], ...]
    better: NDArray[np.bool_]
    unpaired: tuple[int, ...]


def rank(rows: Sequence[Row], curves: Mapping[int, SavingsAtParity]) -> Ranking:
    """Return the ranking of rows of one card.

    Args:
        rows: in any order.
        curves: by place in `rows`, of those whose scores are there, the savings at parity that these give, of one card
            and so of the same resamples.
    """
    span = [where_it_falls(row) for row in rows]
    p = paired_p(curves)
    better = np.zeros((len(rows), len(rows)), dtype=bool)
    for first, second in combinations(range(len(rows)), 2):
        for ours, theirs in ((first, second), (second, first)):
            if (ours, theirs) in p:
                difference, chance = p[ours, theirs]
                most = min(curves[ours].most, curves[theirs].most)
                is_above = min(span[ours][0], most) > min(span[theirs][1], most) - SLACK
                better[ours, theirs] = chance < 1 - LEVEL and difference > 0 and is_above
            else:
                better[ours, theirs] = apart(rows[ours], rows[theirs])
    order = sorted(range(len(rows)), key=lambda i: (-span[i][0], -(rows[i].parity.low or 0.0), rows[i].method.name))
    unpaired = tuple(i for i in range(len(rows)) if i not in curves)
    return Ranking(tuple(order), tuple(rank_ranges(better)), better, unpaired)


def where_it_falls(row: Row) -> tuple[float, float]:
    """Return the savings between which a row's win rate falls below the line, by its estimate.

    Between points farther apart than `metrics.parity.GAP` nothing is known: both are returned. Else they are equal.
    """
    value = row.parity.value
    saved = [0.0, *(min(max(point.savings, 0.0), 1.0) for point in row.points)]
    for left, right in pairwise(saved):
        if left + SLACK < value < right - SLACK and right - left > GAP + SLACK:
            return left, right
    return value, value


def reaches_the_end(row: Row) -> bool:
    """Return whether a row's win rate never falls below the line, so that its savings at parity are the most it has."""
    return row.parity.value >= max(point.savings for point in row.points) - SLACK


def paired_p(curves: Mapping[int, SavingsAtParity]) -> dict[tuple[int, int], tuple[float, float]]:
    """Return of every ordered pair of curves the difference of savings at parity, and Holm's p-value of it."""
    from scipy.stats import norm

    pairs = list(combinations(sorted(curves), 2))
    found = [mean_difference([[curves[first]]], [[curves[second]]]) for first, second in pairs]
    raw = []
    for one in found:
        half = None if one.low is None else one.value - one.low
        if half is None:
            raw.append(1.0)
        elif half == 0:  # no resample makes a difference of it
            raw.append(float(one.value == 0))
        else:
            raw.append(float(2 * norm.sf(abs(one.value) / half * norm.ppf(0.5 + LEVEL / 2))))
    both = {}
    for (first, second), one, chance in zip(pairs, found, holm(raw), strict=True):
        both[first, second], both[second, first] = (one.value, chance), (-one.value, chance)
    return both


def apart(ours: Row, theirs: Row) -> bool:
    """Return whether the first row's interval of savings at parity lies wholly above the second's."""
    low, high = ours.parity.low, theirs.parity.high
    return low is not None and high is not None and low > high


def nearest_point(row: Row, savings: float) -> Point | None:
    """Return the point of a row that saves nearest to so much; None where none is within `sweeps.record.NEAR`."""
    point = min(row.points, key=lambda point: abs(point.savings - savings))
    return point if abs(point.savings - savings) <= NEAR + SLACK else None
