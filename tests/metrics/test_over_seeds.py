"""Pooling seeds: what their pairs are worth, tests that agree with intervals, and one seed as it always was."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.pooled_claims import Design
from common.errors import UserError
from metrics import statistics
from metrics.hypotheses import noninferiority_p, sign_test_p
from metrics.over_seeds import FEW_ROOTS, mean_p, pool_outcomes, pooled_difference, spread
from metrics.power import noninferiority_power, pairs_for_noninferiority
from metrics.statistics import paired_difference, win_rate

OUTCOMES = st.tuples(st.integers(1, 4), st.integers(2, 40)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.sampled_from([-1.0, 0.0, 1.0]))
)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 300)


def test_one_seed_is_tango_and_the_exact_sign_test():
    outcomes = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 80, p=[0.2, 0.3, 0.5])
    pooled, known = pool_outcomes([outcomes]), win_rate(outcomes, np.zeros(80))
    assert pooled.estimate() == known.half_tie
    assert pooled.noninferiority_p(0.05) == noninferiority_p(known.wins, known.losses, 80, 0.05)
    assert pooled.even_p() == sign_test_p(known.wins, known.losses)
    assert pooled.power(0.05) == noninferiority_power(80, 0.05, known.ties / 80)
    assert pooled.prompts_needed(0.05) == pairs_for_noninferiority(0.05, known.ties / 80)
    assert pooled.seeds_needed(0.05) is None, "one seed does not say what another would add"


def test_one_seeds_difference_is_the_paired_difference():
    ours, baseline = np.random.default_rng(0).random((2, 60))
    assert pooled_difference([ours - baseline]) == paired_difference(ours, baseline)


@settings(max_examples=100, deadline=None)
@given(OUTCOMES, st.sampled_from([None, 1]), st.floats(0.0, 0.3))
def test_p_values_are_small_exactly_where_the_interval_is_beyond(outcomes, roots, delta):
    pooled = pool_outcomes(outcomes, roots)
    estimate, no_worse, even = pooled.estimate(), pooled.noninferiority_p(delta), pooled.score_p()
    assert estimate.low - 1e-9 <= estimate.value <= estimate.high + 1e-9
    assume(min(abs(no_worse - 0.025), abs(even - 0.05), abs(estimate.low - 0.5 + delta)) > 1e-9)
    assert (no_worse < 0.025) == (estimate.low > 0.5 - delta)
    assert (even < 0.05) == (estimate.low > 0.5 or estimate.high < 0.5)
    turned = pool_outcomes(-outcomes, roots).estimate()
    assert (turned.value, turned.low, turned.high) == pytest.approx(
        (1 - estimate.value, 1 - estimate.high, 1 - estimate.low)
    )


@settings(max_examples=30, deadline=None)
@given(OUTCOMES, st.randoms())
def test_the_rate_is_the_share_of_pairs_and_seeds_have_no_order(outcomes, random):
    pooled = pool_outcomes(outcomes)
    assert pooled.estimate().value == pytest.approx((np.sum(outcomes == 1) + np.sum(outcomes == 0) / 2) / outcomes.size)
    again = pool_outcomes(outcomes[random.sample(range(len(outcomes)), len(outcomes))])
    assert (again.effective, again.degrees) == pytest.approx((pooled.effective, pooled.degrees))
    assert pooled.effective <= pooled.pairs


def test_the_variance_is_the_analysis_of_variance_s():
    """Against sums of squares by hand, and against what tables of known effects vary by."""
    rng = np.random.default_rng(3)
    table = rng.normal(size=(5, 1)) + rng.normal(size=(1, 30)) + rng.normal(size=(5, 30))
    by_prompt, by_seed = 5 * table.mean(axis=0).var(ddof=1), 30 * table.mean(axis=1).var(ddof=1)
    total = ((table - table.mean()) ** 2).sum()
    rest = (total - 29 * by_prompt - 4 * by_seed) / (29 * 4)
    found = spread(table)
    assert found.variance == pytest.approx((by_prompt + by_seed - rest) / 150)
    assert spread(table, roots=1).degrees == 4
    tables = [
        0.4 * rng.normal(size=(5, 1)) + 0.7 * rng.normal(size=(1, 30)) + rng.normal(size=(5, 30)) for _ in range(1500)
    ]
    expected = 0.16 / 5 + 0.49 / 30 + 1 / 150
    assert np.mean([spread(one).variance for one in tables]) == pytest.approx(expected, rel=0.08)


def test_a_seed_that_repeats_another_shows_nothing_new():
    outcomes = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], (1, 50))
    thrice = pool_outcomes(np.repeat(outcomes, 3, axis=0))
    assert thrice.effective == pytest.approx(50, rel=0.03)
    assert thrice.pairs == 150
    assert thrice.seeds_needed(0.05) is None, "no number of such seeds is enough"


def test_seeds_that_have_nothing_in_common_are_more_pairs():
    outcomes = np.random.default_rng(0).choice([-1.0, 1.0], (4, 200))
    one, four = pool_outcomes(outcomes[:1]).estimate(), pool_outcomes(outcomes).estimate()
    assert four.high - four.low == pytest.approx((one.high - one.low) / 2, rel=0.25)


def test_a_shift_that_all_prompts_of_a_seed_share_is_in_the_interval():
    rng = np.random.default_rng(5)
    shifted = np.where(rng.random((4, 100)) < np.array([0.2, 0.8, 0.3, 0.7])[:, None], 1.0, -1.0)
    pooled = pool_outcomes(shifted)
    assert pooled.effective < 20, "four seeds that differ so are worth few pairs, whatever the prompts"
    assert pooled.estimate().high - pooled.estimate().low > 0.5
    assert pool_outcomes(shifted, roots=FEW_ROOTS - 1).degrees == 3
    assert mean_p(shifted) > 0.5


def test_prompts_that_all_tie_do_not_show_that_all_would():
    pooled = pool_outcomes(np.zeros((3, 40)))
    one = pool_outcomes(np.zeros((1, 40))).estimate()
    assert pooled.effective == 40
    assert pooled.estimate().low <= one.low < 0.5


def test_power_is_how_often_no_worse_is_shown():
    design, rng = Design(4, 60, 60, prompt_effect=0.8, lean=0.0), np.random.default_rng(1)
    pooled = [pool_outcomes(design.outcomes(rng)) for _ in range(400)]
    shown = np.mean([one.noninferiority_p(0.1) < 0.025 for one in pooled])
    assert np.median([one.power(0.1) for one in pooled]) == pytest.approx(shown, abs=0.1)


def test_as_many_prompts_or_seeds_as_are_called_for_have_the_power():
    rng = np.random.default_rng(2)
    few = Design(4, 60, 60, prompt_effect=0.5, lean=0.0)
    pooled = [pool_outcomes(few.outcomes(rng)) for _ in range(20)]
    prompts = int(np.median([one.prompts_needed(0.08) for one in pooled]))
    seeds = int(np.median([one.seeds_needed(0.08) or 1000 for one in pooled]))
    for design in (Design(4, prompts, prompts, 0.5, lean=0.0), Design(seeds, 60, 60, 0.5, lean=0.0)):
        shown = [pool_outcomes(design.outcomes(rng)).noninferiority_p(0.08) < 0.025 for _ in range(200)]
        assert 0.68 < np.mean(shown) < 0.92


def test_several_outcomes_of_one_pair_count_as_one():
    outcomes = np.random.default_rng(0).choice([-1.0, 1.0], (2, 60))
    twice = pool_outcomes(np.stack([outcomes, outcomes], axis=1))
    assert twice.pairs == 240
    assert twice.effective == pytest.approx(pool_outcomes(outcomes).effective)


def test_the_mean_s_p_is_small_exactly_where_its_interval_leaves_0_out():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = rng.normal(0.2, 1, (3, 1)) * rng.random() + rng.normal(0.15, 1, (3, 30))
        estimate = pooled_difference(values)
        assert (mean_p(values) < 0.05) == (estimate.low > 0 or estimate.high < 0)


@pytest.mark.parametrize(
    ("values", "says"), [([0.0, 1.0], "shape"), (np.zeros((0, 3)), "shape"), ([[0.5]], "none of 1, 0 and -1")]
)
def test_what_is_no_outcome_is_refused(values, says):
    with pytest.raises(UserError, match=says):
        pool_outcomes(values)
    with pytest.raises(UserError, match="NaN"):
        pooled_difference([[np.nan, 1.0]])
