"""Savings at parity: by hand, by what must always hold, and by the coverage of its interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks import parity_coverage
from common.errors import UserError
from metrics import parity
from metrics.over_seeds import pool_outcomes
from metrics.parity import GAP, lower_bound, mean_difference, pairs_needed, savings_at_parity
from metrics.power import noninferiority_power
from metrics.statistics import tango_interval

SAVINGS = np.array([0.1, 0.2, 0.3, 0.39])
SEEDS, PROMPTS = st.integers(1, 3), st.integers(2, 30)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(parity, "RESAMPLES", 40)


@st.composite
def curves(draw, seeds=SEEDS, prompts=PROMPTS):
    """Outcomes [S, T, N] and savings [S, T] that rise with tau."""
    shape = draw(seeds), draw(st.integers(1, 4)), draw(prompts)
    outcomes = draw(arrays(np.float64, shape, elements=st.sampled_from([-1.0, 0.0, 1.0])))
    steps = draw(arrays(np.float64, shape[:2], elements=st.floats(0.01, 0.2)))
    return outcomes, np.cumsum(steps, axis=1)


def outcomes_at(rates, n: int) -> np.ndarray:
    """One seed of n untied pairs, of which these shares win."""
    return np.where(np.arange(n) < np.round(np.asarray(rates)[:, None] * n), 1.0, -1.0)[None]


# --- by hand -------------------------------------------------------------------------------------------------


def test_the_curve_is_linear_between_taus_and_starts_at_the_baseline():
    found = savings_at_parity(outcomes_at([0.5, 0.4, 0.3, 0.2], 1000), [SAVINGS], delta=0.05)
    assert found.value.savings == pytest.approx(0.15), "half way from 50% at 0.1 to 40% at 0.2"
    low, high = tango_interval(500, 500, 1000)[0] / 2, tango_interval(400, 600, 1000)[0] / 2
    assert found.low.savings == pytest.approx(0.1 + 0.1 * (low + 0.05) / (low - high))
    first = savings_at_parity(outcomes_at([0.3, 0.4, 0.3, 0.2], 1000), [SAVINGS], delta=0.05)
    assert first.value.savings == pytest.approx(0.1 * 0.05 / 0.15), "from 50% at 0 to 35%, the mean of two, at 0.1"


def test_a_curve_that_never_falls_reaches_at_least_the_most_that_was_measured():
    found = savings_at_parity(outcomes_at([0.6, 0.6, 0.6, 0.6], 1000), [SAVINGS])
    for reach in (found.value, found.low, found.high):
        assert (reach.savings, reach.at_least) == (0.39, True)
    assert found.most == 0.39


def test_one_noisy_tau_does_not_decide():
    """The first dip ends what is demonstrated, and not the estimate, to which later taus belong."""
    found = savings_at_parity(outcomes_at([0.52, 0.44, 0.52, 0.52], 1000), [SAVINGS])
    assert found.value.at_least
    assert found.low.savings < 0.2
    assert found.high.at_least


def test_between_distant_taus_the_gap_is_told_and_the_interval_claims_nothing_of_it():
    found = savings_at_parity(outcomes_at([0.5, 0.3], 2000), [[0.2, 0.55]])
    assert found.value.gap == (0.2, 0.55)
    assert (found.low.savings, found.high.savings) == (0.2, 0.55)
    near = savings_at_parity(outcomes_at([0.5, 0.3], 2000), [[0.05, 0.05 + GAP - 0.001]])
    assert near.value.gap is None
    assert 0.05 < near.low.savings < near.value.savings < near.high.savings < 0.149


def test_tau_0_alone_says_that_nothing_was_shared():
    found = savings_at_parity(np.zeros((1, 1, 50)), [[0.0]])
    assert (found.value.savings, found.value.at_least) == (0.0, True)


def test_the_baseline_s_own_pictures_have_a_bound_of_one_half_however_few_they_are():
    found = savings_at_parity(np.zeros((1, 2, 3)), [[0.0, 0.09]], delta=0.01)
    assert 0 < found.low.savings < 0.05, "three ties above savings 0 show little"
    assert found.value.at_least


def test_few_pairs_demonstrate_little_of_a_lossless_method_and_estimate_it_all_the_same():
    found = [savings_at_parity(outcomes_at([0.5] * 4, n), [SAVINGS]) for n in (20, 60, 200, pairs_needed(0.05) + 1)]
    assert [curve.low.at_least for curve in found] == [False, False, False, True]
    assert sorted(curve.low.savings for curve in found) == [curve.low.savings for curve in found]
    assert all(curve.value.at_least for curve in found)


def test_power_is_that_of_the_test_and_a_lossless_method_demonstrates_as_much_as_is_said(monkeypatch):
    monkeypatch.setattr(parity, "RESAMPLES", 2000)
    rng = np.random.default_rng(0)
    alone = savings_at_parity(np.where(rng.random((1, 1, 600)) < 0.3, 1, -1), [[0.09]])
    assert alone.power == pytest.approx(noninferiority_power(600, 0.05), abs=0.04), "of one tau, and not of this model"
    monkeypatch.setattr(parity, "RESAMPLES", 300)
    rates = parity_coverage.RATES["lossless"]
    found = [
        savings_at_parity(parity_coverage.simulated(rng, rates, 1, 360), [parity_coverage.SAVINGS]) for _ in range(60)
    ]
    assert np.mean([curve.lossless for curve in found]) == pytest.approx(
        np.mean([curve.low.savings for curve in found]), abs=0.06
    )


@pytest.mark.parametrize("delta", [0.03, 0.05, 0.1])
def test_pairs_needed_are_just_enough(delta):
    n = pairs_needed(delta)
    assert lower_bound(0, 1, n) >= 0.5 - delta > lower_bound(0, 1, n - 1)
    assert pairs_needed(0) is None


# --- what must always hold -----------------------------------------------------------------------------------


@given(st.integers(1, 200), st.data())
def test_bounds_of_arrays_are_the_records(n, data):
    counts = data.draw(st.lists(st.tuples(st.integers(0, n), st.integers(0, n)), min_size=1, max_size=5))
    wins, losses = np.array([(min(a, b), n - max(a, b)) for a, b in counts]).T
    expected = [0.5 + tango_interval(int(w), int(lost), n)[0] / 2 for w, lost in zip(wins, losses, strict=True)]
    assert lower_bound((wins - losses) / n, (wins + losses) / n, n) == pytest.approx(expected, abs=1e-9)


@given(curves(), st.floats(0, 0.4), st.floats(0, 0.4))
def test_what_is_found_was_measured_and_tolerance_never_hurts(curve, one, other):
    strict, lax = (savings_at_parity(*curve, delta=delta) for delta in sorted((one, other)))
    assert 0 <= strict.value.savings <= lax.value.savings + 1e-12 <= lax.most + 2e-12
    for found in (strict, lax):
        assert found.low.savings <= found.value.savings + 1e-12 <= found.high.savings + 2e-12
        assert found.value.at_least <= found.high.at_least
        assert not found.value.at_least or found.value.savings == pytest.approx(found.most)
        assert 0 <= found.lossless <= found.most + 1e-12
        assert (found.resamples <= found.most + 1).all()
    assert 0 < min(lax.effective) <= max(lax.effective) <= lax.pairs


@given(curves(), st.randoms())
def test_order_does_not_matter(curve, random):
    outcomes, savings = curve
    seeds, taus, prompts = (random.sample(range(size), size) for size in outcomes.shape)
    shuffled = outcomes[seeds][:, taus][:, :, prompts], savings[seeds][:, taus]
    found, again = savings_at_parity(*curve), savings_at_parity(*shuffled)
    for one, other in ((found.value, again.value), (found.low, again.low), (found.high, again.high)):
        assert other.savings == pytest.approx(one.savings)
    assert again.effective == pytest.approx(found.effective[taus])


@given(curves(seeds=st.just(1)), st.data())
def test_a_win_in_place_of_a_loss_never_costs_savings(curve, data):
    outcomes, savings = curve
    losses = np.argwhere(outcomes == -1)
    if not len(losses):
        return
    better = outcomes.copy()
    better[tuple(losses[data.draw(st.integers(0, len(losses) - 1))])] = 1
    before, after = (savings_at_parity(values, savings) for values in (outcomes, better))
    assert after.value.savings >= before.value.savings - 1e-9
    assert after.low.savings >= before.low.savings - 1e-9


def test_the_bounds_are_those_of_the_pooled_win_rate_and_seeds_that_differ_widen_them():
    rng = np.random.default_rng(0)
    alike = np.where(rng.random((4, 1, 100)) < 0.5, 1.0, -1.0)
    apart = np.where(rng.random((4, 1, 100)) < np.array([0.65, 0.35, 0.6, 0.4])[:, None, None], 1.0, -1.0)
    savings = np.full((4, 1), 0.09)
    found = [savings_at_parity(outcomes, savings) for outcomes in (alike, apart)]
    assert [curve.effective[0] for curve in found] == [pool_outcomes(o[:, 0]).effective for o in (alike, apart)]
    assert found[1].effective[0] < 0.5 * found[0].effective[0]
    assert found[1].lossless < found[0].lossless
    one_root = savings_at_parity(apart, savings, [1])
    assert one_root.low.savings <= found[1].low.savings, "as many degrees of freedom as seeds, less one"


@given(curves(prompts=st.just(1)))
def test_a_single_prompt_has_no_difference_s_interval(curve):
    found = savings_at_parity(*curve)
    assert mean_difference([[found]], [[found]]).low is None


# --- the interval: `python -m benchmarks.parity_coverage` has more designs ------------------------------------


@pytest.mark.parametrize("name", ["lossless", "early", "late"])
def test_intervals_hold_the_truth_as_often_as_they_say_or_more_and_estimates_do_not_know_the_number_of_pairs(name):
    few, many = (parity_coverage.row(name, 1, pairs, runs=60) for pairs in (60, 600))
    assert min(few["coverage"], many["coverage"]) >= 0.93
    assert many["width"] < few["width"]
    for found in (few, many):
        assert found["median"] == pytest.approx(found["true"], abs=0.06)


def draw(rng, seeds: int, prompts: int, worse: float = 1) -> np.ndarray:
    """Outcomes of a method that falls late, and `worse` times as far."""
    return parity_coverage.simulated(rng, 0.5 + worse * (parity_coverage.RATES["late"] - 0.5), seeds, prompts)


def test_the_difference_of_groups_holds_the_truth_as_often_as_it_says_or_more():
    """One curve against one on two prompt sets; the better group's never fall far below within what was measured."""
    rng = np.random.default_rng(3)
    groups, sets, savings = (1.0, 2.5), (240, 120), np.tile(parity_coverage.SAVINGS, (2, 1))
    sides = [parity_coverage.truth(0.5 + worse * (parity_coverage.RATES["late"] - 0.5)).savings for worse in groups]
    trials, held = 50, 0
    for trial in range(trials):
        first, second = (
            [[savings_at_parity(draw(rng, 2, n, worse), savings, seed=n + trial)] for n in sets] for worse in groups
        )
        found = mean_difference(first, second)
        held += found.low <= sides[0] - sides[1] <= found.high
    assert held / trials >= 0.88, held


def test_the_same_prompts_in_both_groups_make_the_difference_sharper(monkeypatch):
    """Two models that win and lose on the same prompts: paired, their difference is all but certain."""
    monkeypatch.setattr(parity, "RESAMPLES", 200)
    rng, savings = np.random.default_rng(2), [parity_coverage.SAVINGS]
    outcomes = draw(rng, 1, 200, 2)
    other = np.where(rng.random(outcomes.shape) < 0.02, -outcomes, outcomes)
    paired, unpaired = (
        mean_difference(
            [[savings_at_parity(outcomes, savings, seed=1)]], [[savings_at_parity(other, savings, seed=seed)]]
        )
        for seed in (1, 2)
    )
    assert paired.value == unpaired.value
    assert (paired.high - paired.low) < 0.7 * (unpaired.high - unpaired.low)


def test_a_group_is_not_ahead_for_having_been_measured_further():
    same = outcomes_at([0.5, 0.5], 100)
    near, far = savings_at_parity(same, [[0.1, 0.2]]), savings_at_parity(same, [[0.1, 0.6]])
    assert mean_difference([[far]], [[near]]).value == 0


@settings(max_examples=20)
@given(st.lists(curves(prompts=st.just(20)), min_size=2, max_size=4))
def test_groups_are_means_over_their_curves_and_change_sign_when_swapped(given_curves):
    found = [savings_at_parity(*curve) for curve in given_curves]
    first, second = found[:1], found[1:]
    there, back = mean_difference([first], [second]), mean_difference([second], [first])
    most = min(curve.most for curve in found)
    capped = [min(curve.value.savings, most) for curve in found]
    assert there.value == pytest.approx(capped[0] - np.mean(capped[1:]))
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert there.low <= there.high
    two = mean_difference([first, first], [second, second])
    assert (two.value, two.low, two.high) == pytest.approx((there.value, there.low, there.high))


@pytest.mark.parametrize(
    ("outcomes", "savings", "delta", "says"),
    [
        (np.zeros((1, 2)), [[0.1]], 0.05, "shape"),
        (np.zeros((1, 0, 3)), np.zeros((1, 0)), 0.05, "shape"),
        (np.zeros((1, 2, 3)), [[0.1]], 0.05, "shape"),
        (np.full((1, 1, 3), 0.5), [[0.1]], 0.05, "none of 1, 0 and -1"),
        (np.full((1, 1, 3), np.nan), [[0.1]], 0.05, "none of 1, 0 and -1"),
        (np.zeros((1, 1, 3)), [[np.nan]], 0.05, "0 to 1"),
        (np.zeros((1, 1, 3)), [[50]], 0.05, "0 to 1"),
        (np.zeros((1, 1, 3)), [[0.1]], 0.5, "delta is 0.5"),
        (np.zeros((1, 1, 3)), [[0.1]], -0.1, "delta is -0.1"),
    ],
)
def test_what_cannot_be_meant_is_refused(outcomes, savings, delta, says):
    with pytest.raises(UserError, match=says):
        savings_at_parity(outcomes, savings, delta=delta)
