"""Estimates for a whole set: what they are over all samples that can be drawn, and how often their intervals hold."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from metrics.sampling import Strata, sequence, whole_mean, whole_outcomes


def every_sample(sizes: tuple[int, ...], each: int) -> list[tuple[int, ...]]:
    """Every sample of `each` prompts of every stratum of a set, by their rows: all are equally likely."""
    starts = np.cumsum((0, *sizes))
    strata = [combinations(range(start, start + size), each) for start, size in zip(starts, sizes, strict=False)]
    return [tuple(row for part in parts for row in part) for parts in product(*strata)]


def test_over_all_draws_the_mean_and_its_variance_are_unbiased():
    sizes, each = (4, 6), 2
    values = np.array([0.0, 1, 0, 2, 5, 3, 3, 8, 1, 1])
    samples = every_sample(sizes, each)
    strata = Strata((0,) * each + (1,) * each, sizes)
    means, variances, _ = zip(*(strata.mean(values[list(rows)]) for rows in samples), strict=True)
    assert np.mean(means) == pytest.approx(values.mean())
    assert np.mean(variances) == pytest.approx(np.var(means))


def test_a_set_that_is_there_as_a_whole_is_known_without_an_interval():
    outcomes = [1, -1, -1, 0]
    found = whole_outcomes(outcomes, Strata.whole(4))
    assert (found.rate().value, found.rate().low, found.rate().high) == (0.375, 0.375, 0.375)
    assert (found.strict().low, found.strict().high) == (0.25, 0.25)
    assert whole_mean([0.1, 0.2, 0.3, 0.4], Strata.whole(4)).low == pytest.approx(0.25)
    assert found.noninferiority_p(0.2) == 0
    assert found.noninferiority_p(0.1) == 1


def test_several_seeds_of_a_prompt_count_as_its_mean():
    strata = Strata((0,) * 10, (100,))
    once = [1, 1, 0, 0, -1, -1, 1, 0, 0, 1]
    one, twice = whole_outcomes(once, strata), whole_outcomes([once, once], strata)
    assert (twice.wins, twice.losses) == (one.wins, one.losses)
    assert twice.rate().low == pytest.approx(one.rate().low), "a second seed that repeats the first shows nothing new"
    opposite = whole_outcomes([once, [-outcome for outcome in once]], strata)
    assert opposite.rate().high - opposite.rate().low < one.rate().high - one.rate().low


@given(
    st.lists(st.sampled_from([1.0, 0.0, -1.0]), min_size=8, max_size=40),
    st.integers(1, 3),
    st.sampled_from([0.02, 0.05, 0.2]),
)
def test_the_test_is_below_its_level_exactly_where_the_interval_lies_above_the_margin(outcomes, number, delta):
    labels = tuple(sorted(i % number for i in range(len(outcomes))))
    found = whole_outcomes(outcomes, Strata(labels, (100,) * number))
    rate = found.rate()
    assert rate.low is not None
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    if abs(rate.low - (0.5 - delta)) > 1e-6:
        assert (found.noninferiority_p(delta) < 0.025) == (rate.low > 0.5 - delta)
    strict = found.strict()
    assert 0 <= strict.low <= strict.value <= strict.high <= 1


@pytest.mark.parametrize("share", [0.01, 0.5, 0.97])
def test_intervals_of_rates_hold_near_their_ends_too(share):
    """A thousand prompts of which few lose, or nearly all: strata of no spread must not give intervals of no width."""
    rng = np.random.default_rng(1)
    whole = np.where(rng.random(1000) < share, -1.0, 0.0)
    design, held = Strata(tuple(np.repeat(range(25), 4).tolist()), (40,) * 25), []
    for _ in range(500):
        rows = np.concatenate([40 * h + rng.choice(40, 4, replace=False) for h in range(25)])
        rate = whole_outcomes(whole[rows], design).rate()
        held.append(rate.low <= 0.5 + whole.mean() / 2 <= rate.high)
    assert np.mean(held) >= 0.93


def test_a_sample_as_large_as_is_said_to_be_needed_shows_it():
    found = whole_outcomes([1, -1, 0, 0] * 25, Strata((0,) * 100, (1000,)))
    needed = found.needed(0.05)
    assert 100 < needed < 1000
    half = needed // 4
    larger = whole_outcomes([1, -1, 0, 0] * half, Strata((0,) * (4 * half), (1000,)))
    assert larger.noninferiority_p(0.05) < 0.025
    assert found.noninferiority_p(0.05) > 0.025
    worse = whole_outcomes([-1, -1, 0, 0] * 25, Strata((0,) * 100, (1000,)))
    assert worse.needed(0.05) is None


def test_claims_end_at_the_first_that_is_not_shown():
    assert sequence([0.01, 0.03, 0.001], 0.025) == 1
    assert sequence([0.03, 0.001], 0.025) == 0
    assert sequence([], 0.025) == 0


def test_a_design_that_no_variance_follows_from_is_refused():
    with pytest.raises(UserError, match="too few"):
        Strata((0, 0, 1), (10, 10))
    with pytest.raises(UserError, match="more than there are"):
        Strata((0, 0, 0), (2,))
    assert Strata((0, 0, 1), (10, 1)).of == 11, "a stratum of one prompt is known whole"
    with pytest.raises(UserError, match="none of 1, 0 and -1"):
        whole_outcomes([0.5, 1], Strata((0, 0), (10,)))
