"""The order of rows, the ranks that each may have, and what is not told apart."""

import numpy as np
import pytest
from leaderboard_rows import a_row

from metrics.parity import savings_at_parity
from tasks.ranking import nearest_point, rank, reaches_the_end, where_it_falls

SAVED = [0.1, 0.2, 0.3, 0.4]


def curve(losing: list[int], ties: int = 0, seed: int = 0):
    """A method's savings at parity: of 200 prompts, so many lose at each level, as many of the others win as are left.

    Prompts are of differing difficulty, alike for all methods: the same ones lose first.
    """
    outcomes = np.ones((3, len(SAVED), 200))
    for level, lost in enumerate(losing):
        outcomes[:, level, :lost] = -1
    outcomes[:, :, 200 - ties :] = 0
    return savings_at_parity(outcomes, [SAVED] * 3)


def test_rows_are_ordered_by_savings_at_parity_whatever_their_order() -> None:
    rows = [a_row(name, parity) for name, parity in [("low", (0.1, 0.1, 0.1)), ("high", (0.3, 0.3, 0.3))]]
    assert rank(rows, {}).order == (1, 0)
    assert rank(rows[::-1], {}).order == (0, 1)
    assert rank(rows, {}).ranks == ((2, 2), (1, 1))


def test_intervals_that_overlap_share_ranks() -> None:
    rows = [a_row(*each) for each in [("a", (0.3, 0.2, 0.4)), ("b", (0.25, 0.15, 0.35)), ("c", (0.05, 0.0, 0.1))]]
    found = rank(rows, {})
    assert found.ranks == ((1, 2), (1, 2), (3, 3))
    assert found.unpaired == (0, 1, 2)


def test_pairs_tell_apart_what_intervals_do_not() -> None:
    better, worse = curve([0, 45, 65, 85], ties=100), curve([0, 55, 75, 95], ties=100)
    assert better.low.savings < worse.high.savings, "the intervals overlap"
    rows = [
        a_row(name, (one.value.savings, one.low.savings, one.high.savings), [0] * 4, SAVED)
        for name, one in [("worse", worse), ("better", better)]
    ]
    assert rank(rows, {}).ranks == ((1, 2), (1, 2))
    found = rank(rows, {0: worse, 1: better})
    assert (found.order, found.ranks, found.unpaired) == ((1, 0), ((2, 2), (1, 1)), ())


def test_a_method_is_not_better_than_itself() -> None:
    same = curve([0, 60, 80, 100], ties=100)
    rows = [a_row(name, (same.value.savings, 0.1, 0.3), [0] * 4, SAVED) for name in ("one", "again")]
    assert rank(rows, {0: same, 1: same}).ranks == ((1, 2), (1, 2))


def test_being_measured_further_is_no_lead() -> None:
    short, long = curve([0, 0, 0, 0], ties=200), curve([0, 0, 0, 0], ties=200)
    rows = [a_row("short", (0.2, 0.2, 0.2), [0, 0], SAVED[:2]), a_row("long", (0.4, 0.4, 0.4), [0] * 4, SAVED)]
    short = savings_at_parity(np.zeros((3, 2, 200)), [SAVED[:2]] * 3)
    assert rank(rows, {0: short, 1: long}).ranks == ((1, 2), (1, 2))


def test_a_fall_between_distant_points_counts_as_the_nearer_one() -> None:
    one_point = a_row("one bad point", (0.4, 0.0, 0.9), [0.4], [0.9])
    honest = a_row("measured", (0.2, 0.1, 0.25))
    assert where_it_falls(one_point) == (0.0, 0.9)
    assert where_it_falls(honest) == (0.2, 0.2)
    assert rank([one_point, honest], {}).order == (1, 0)


def test_what_never_falls_is_said_to_reach_the_end() -> None:
    assert reaches_the_end(a_row("lossless", (0.7, 0.5, 0.7)))
    assert not reaches_the_end(a_row("lossy", (0.69, 0.5, 0.7)))


@pytest.mark.parametrize(("level", "found"), [(0.3, 0.3), (0.32, 0.3), (0.28, 0.3), (0.33, None), (0.9, None)])
def test_a_level_has_the_point_within_two_points_or_none(level: float, found: float | None) -> None:
    point = nearest_point(a_row("any"), level)
    assert (point.savings if point else None) == found
