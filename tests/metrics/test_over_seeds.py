"""Pooling seeds: what the clusters are, against resampling pair by pair and against one seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common.errors import UserError
from metrics import statistics
from metrics.over_seeds import pooled_difference, pooled_win_rate
from metrics.statistics import paired_difference

OUTCOMES = st.tuples(st.integers(1, 4), st.integers(2, 30)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.sampled_from([-1.0, 0.0, 1.0]))
)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 300)


def test_one_seed_is_the_paired_difference():
    ours, standard = np.random.default_rng(0).random((2, 60))
    pooled, alone = pooled_difference([ours - standard]), paired_difference(ours, standard)
    assert (pooled.value, pooled.low, pooled.high, pooled.n) == (alone.value, alone.low, alone.high, 60)


def test_interval_is_the_quantiles_of_resampled_prompts_with_all_their_seeds():
    rng = np.random.default_rng(0)
    outcomes = np.sign(rng.normal(size=80) + rng.normal(size=(3, 80)))
    drawn = rng.integers(80, size=(4000, 80))
    means = 0.5 + outcomes[:, drawn].mean(axis=(0, 2)) / 2
    found = pooled_win_rate(outcomes)
    assert found.method == "BCa cluster bootstrap over prompts"
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.025)


def test_a_seed_that_repeats_another_shows_nothing_new():
    outcomes = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], (1, 50))
    once, thrice = pooled_win_rate(outcomes), pooled_win_rate(np.repeat(outcomes, 3, axis=0))
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx((once.value, once.low, once.high))
    assert (once.n, thrice.n) == (50, 150)


def test_seeds_that_have_nothing_in_common_are_more_pairs():
    outcomes = np.random.default_rng(0).choice([-1.0, 1.0], (4, 200))
    one, four = pooled_win_rate(outcomes[:1]), pooled_win_rate(outcomes)
    assert four.high - four.low == pytest.approx((one.high - one.low) / 2, rel=0.2)


@settings(max_examples=30, deadline=None)
@given(OUTCOMES, st.randoms())
def test_the_rate_is_the_share_of_pairs_and_seeds_have_no_order(outcomes, random):
    found = pooled_win_rate(outcomes)
    assert found.value == pytest.approx((np.sum(outcomes == 1) + np.sum(outcomes == 0) / 2) / outcomes.size)
    again = pooled_win_rate(outcomes[random.sample(range(len(outcomes)), len(outcomes))])
    assert again.value == pytest.approx(found.value)
    if found.low is not None:
        assert found.low <= found.value + 1e-12
        assert found.value - 1e-12 <= found.high
        assert (again.low, again.high) == pytest.approx((found.low, found.high))


def test_prompts_that_all_tie_do_not_show_that_all_would():
    found = pooled_win_rate(np.zeros((2, 40)))
    assert (found.value, found.low, found.high) == (0.5, None, None)
    assert pooled_win_rate([[1.0], [-1.0]]).low is None, "nor does a single prompt"


@pytest.mark.parametrize(
    ("values", "says"), [([0.0, 1.0], "shape"), (np.zeros((0, 3)), "shape"), ([[0.5]], "none of 1, 0 and -1")]
)
def test_what_is_no_outcome_is_refused(values, says):
    with pytest.raises(UserError, match=says):
        pooled_win_rate(values)
    with pytest.raises(UserError, match="NaN"):
        pooled_difference([[np.nan, 1.0]])
