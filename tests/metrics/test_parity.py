"""Savings at parity: by hand, by what must always hold, and by the coverage of its interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common.errors import UserError
from metrics import parity
from metrics.parity import effective_pairs, lower_bound, mean_difference, pairs_needed, savings_at_parity
from metrics.statistics import tango_interval

SAVINGS = np.array([0.2, 0.4, 0.6, 0.7])
SEEDS, PROMPTS = st.integers(1, 3), st.integers(2, 30)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(parity, "RESAMPLES", 200)


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


def test_the_curve_is_linear_between_taus_and_starts_at_standard():
    found = savings_at_parity(outcomes_at([0.5, 0.4, 0.3, 0.2], 1000), [SAVINGS], delta=0.05)
    assert found.rate.value.savings == pytest.approx(0.3), "half way from 50% at 0.2 to 40% at 0.4"
    low, high = tango_interval(500, 500, 1000)[0] / 2, tango_interval(400, 600, 1000)[0] / 2
    assert found.bound.value.savings == pytest.approx(0.2 + 0.2 * (low + 0.05) / (low - high))
    first = savings_at_parity(outcomes_at([0.3, 0.4, 0.3, 0.2], 1000), [SAVINGS], delta=0.05)
    assert first.rate.value.savings == pytest.approx(0.2 * 0.05 / 0.2), "from 50% at 0 to 30% at 0.2"


def test_a_curve_that_never_falls_reaches_at_least_the_most_that_was_measured():
    found = savings_at_parity(outcomes_at([0.6, 0.6, 0.6, 0.6], 1000), [SAVINGS])
    for reach in (found.bound.value, found.bound.low, found.bound.high, found.rate.value):
        assert (reach.savings, reach.at_least) == (0.7, True)
    assert found.most == 0.7


def test_a_rate_that_recovers_was_not_at_parity_all_the_way():
    found = savings_at_parity(outcomes_at([0.6, 0.3, 0.6, 0.6], 1000), [SAVINGS])
    assert 0.2 < found.bound.value.savings < 0.4
    assert not found.bound.value.at_least


def test_tau_0_alone_says_that_nothing_was_shared():
    found = savings_at_parity(np.zeros((1, 1, 50)), [[0.0]])
    assert (found.bound.value.savings, found.bound.value.at_least) == (0.0, True)


def test_standards_own_pictures_have_a_bound_of_one_half_however_few_they_are():
    found = savings_at_parity(np.zeros((1, 2, 3)), [[0.0, 0.3]], delta=0.01)
    assert 0 < found.bound.value.savings < 0.05, "three ties above savings 0 show little"
    assert found.rate.value.at_least


def test_few_pairs_cannot_show_parity():
    """Ours wins exactly half of the pairs at every tau, and still the figure grows with the number of pairs."""
    reached = [
        savings_at_parity(outcomes_at([0.5] * 4, n), [SAVINGS]).bound.value
        for n in (20, 60, 200, pairs_needed(0.05) + 1)
    ]
    assert [reach.at_least for reach in reached] == [False, False, False, True]
    assert sorted(reach.savings for reach in reached) == [reach.savings for reach in reached]


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
    assert 0 <= strict.bound.value.savings <= lax.bound.value.savings + 1e-12 <= lax.most + 2e-12
    assert lax.bound.value.savings <= lax.rate.value.savings + 1e-12, "a bound is never above its rate"
    assert lax.bound.low.savings <= lax.bound.high.savings
    assert lax.bound.value.at_least == (lax.bound.value.savings == pytest.approx(lax.most) and lax.bound.beyond[0])
    assert len(curve[0]) == 1 or lax.pairs / len(curve[0]) <= min(lax.effective) <= max(lax.effective) <= lax.pairs


@given(curves(), st.randoms())
def test_order_does_not_matter(curve, random):
    outcomes, savings = curve
    seeds, taus, prompts = (random.sample(range(size), size) for size in outcomes.shape)
    shuffled = outcomes[seeds][:, taus][:, :, prompts], savings[seeds][:, taus]
    found, again = savings_at_parity(*curve), savings_at_parity(*shuffled)
    assert again.bound.value.savings == pytest.approx(found.bound.value.savings)
    assert again.rate.value.savings == pytest.approx(found.rate.value.savings)


@given(curves(), st.data())
def test_what_comes_after_the_fall_does_not_matter(curve, data):
    outcomes, savings = curve
    found = savings_at_parity(outcomes, savings)
    more = data.draw(arrays(np.float64, (len(outcomes), 1, outcomes.shape[2]), elements=st.sampled_from([-1.0, 1.0])))
    longer = savings_at_parity(np.hstack([outcomes, more]), np.hstack([savings, savings[:, -1:] + 0.1]))
    if found.bound.value.at_least:
        assert longer.bound.value.savings >= found.bound.value.savings - 1e-12
    else:
        assert not longer.bound.value.at_least
        assert longer.bound.value.savings == pytest.approx(found.bound.value.savings)


@given(curves(seeds=st.just(1)), st.data())
def test_a_win_in_place_of_a_loss_never_costs_savings(curve, data):
    outcomes, savings = curve
    losses = np.argwhere(outcomes == -1)
    if not len(losses):
        return
    better = outcomes.copy()
    better[tuple(losses[data.draw(st.integers(0, len(losses) - 1))])] = 1
    before, after = (savings_at_parity(each, savings).bound.value.savings for each in (outcomes, better))
    assert after >= before - 1e-9


@given(curves(seeds=st.just(1)), st.integers(2, 4))
def test_a_seed_that_repeats_another_shows_nothing_new(curve, copies):
    outcomes, savings = curve
    once = savings_at_parity(outcomes, savings)
    again = savings_at_parity(np.repeat(outcomes, copies, axis=0), np.repeat(savings, copies, axis=0))
    tied = (outcomes == outcomes[:, :, :1]).all(axis=(0, 2))  # nothing varies: nothing says how alike the seeds are
    assert again.effective[~tied] == pytest.approx(once.effective[~tied])
    if not tied.any():
        assert again.bound.value.savings == pytest.approx(once.bound.value.savings)


def test_seeds_that_have_nothing_in_common_are_as_many_pairs():
    outcomes = np.random.default_rng(0).choice([-1.0, 1.0], (3, 1, 4000))
    assert effective_pairs(outcomes) == pytest.approx(12000, rel=0.06)


@given(curves(prompts=st.just(1)))
def test_a_single_prompt_has_no_interval(curve):
    found = savings_at_parity(*curve)
    assert found.bound.low is found.bound.high is None
    assert mean_difference([[found.bound]], [[found.bound]]).low is None


# --- the interval --------------------------------------------------------------------------------------------


def draw(rng, seeds: int, prompts: int, alike: float, worse: float = 1) -> np.ndarray:
    """Outcomes whose win rate falls from 52% to 34%; `alike` is how much a prompt's seeds have in common."""
    mean = np.array([0.05, -0.05 * worse, -0.2 * worse, -0.4 * worse])[None, :, None]
    latent = alike * rng.normal(size=(1, 1, prompts)) + rng.normal(size=(seeds, 4, prompts))
    return np.sign(latent + mean * np.hypot(1, alike))


def truth(rng, seeds: int, prompts: int, *how: float) -> list[float]:
    """Where the bound, at so many pairs, and the rate of `draw` fall below 45%, from very many prompts."""
    many = draw(rng, seeds, 400_000 // seeds, *how)
    rate, share = 0.5 + many.mean(axis=(0, 2)) / 2, effective_pairs(many) / many[:, 0].size
    bound = lower_bound(2 * rate - 1, 1, share * seeds * prompts)
    knots = np.concatenate([[0], SAVINGS])
    return [np.interp(-0.45, -np.concatenate([[0.5], curve]), knots) for curve in (bound, rate)]


@pytest.mark.parametrize(("seeds", "prompts", "alike"), [(1, 300, 0), (3, 200, 0.7)])
def test_intervals_hold_the_truth_as_often_as_they_say_or_more(seeds, prompts, alike):
    rng = np.random.default_rng(1)
    expected = truth(rng, seeds, prompts, alike)
    trials, held = 150, np.zeros(2)
    for trial in range(trials):
        found = savings_at_parity(draw(rng, seeds, prompts, alike), np.tile(SAVINGS, (seeds, 1)), seed=trial)
        for i, (crossing, there) in enumerate(zip((found.bound, found.rate), expected, strict=True)):
            held[i] += crossing.low.savings <= there and (crossing.high.at_least or there <= crossing.high.savings)
    assert (held / trials >= 0.9).all(), held / trials


def test_the_difference_of_groups_holds_the_truth_as_often_as_it_says_or_more():
    """Two curves against two on two prompt sets."""
    rng = np.random.default_rng(3)
    groups, sets = (1.0, 2.5), (120, 60)
    sides = [np.mean([truth(rng, 3, prompts, 0.4, worse)[0] for prompts in sets]) for worse in groups]
    trials, held = 60, 0
    for trial in range(trials):
        first, second = (
            [
                [
                    savings_at_parity(draw(rng, 3, n, 0.4, worse), np.tile(SAVINGS, (3, 1)), seed=n + trial).bound
                    for _ in range(2)
                ]
                for n in sets
            ]
            for worse in groups
        )
        found = mean_difference(first, second)
        held += found.low <= sides[0] - sides[1] <= found.high
    assert held / trials >= 0.88, held


def test_savings_do_not_grow_as_the_sample_shrinks(monkeypatch):
    """Mean savings at parity of a model that is worse the more it shares, from ever fewer prompts."""
    monkeypatch.setattr(parity, "RESAMPLES", 1)
    rng = np.random.default_rng(4)
    mean = {
        prompts: np.mean(
            [savings_at_parity(draw(rng, 1, prompts, 0), [SAVINGS]).bound.value.savings for _ in range(60)]
        )
        for prompts in (1000, 250, 60, 15)
    }
    assert list(mean.values()) == sorted(mean.values(), reverse=True), mean


def test_the_same_prompts_in_both_groups_make_the_difference_sharper():
    """Two models that win and lose on the same prompts: paired, their difference is all but certain."""
    rng = np.random.default_rng(2)
    outcomes = draw(rng, 1, 200, 0)
    other = np.where(rng.random(outcomes.shape) < 0.02, -outcomes, outcomes)
    paired, unpaired = (
        mean_difference(
            [[savings_at_parity(outcomes, [SAVINGS], seed=1).rate]],
            [[savings_at_parity(other, [SAVINGS], seed=seed).rate]],
        )
        for seed in (1, 2)
    )
    assert paired.value == unpaired.value
    assert (paired.high - paired.low) < 0.6 * (unpaired.high - unpaired.low)


@settings(max_examples=20)
@given(st.lists(curves(prompts=st.just(20)), min_size=2, max_size=4))
def test_groups_are_means_over_their_curves_and_change_sign_when_swapped(given_curves):
    found = [savings_at_parity(*curve).bound for curve in given_curves]
    first, second = found[:1], found[1:]
    there, back = mean_difference([first], [second]), mean_difference([second], [first])
    expected = first[0].value.savings - np.mean([each.value.savings for each in second])
    assert there.value == pytest.approx(expected)
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
