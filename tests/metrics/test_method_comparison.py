"""Method comparisons: known values, intervals that agree with their tests, sizes by simulation, no favourites."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common.errors import UserError
from metrics import method_comparison, statistics
from metrics.method_comparison import (
    areas,
    beats,
    clustered_win_rate,
    curve_weights,
    even_p,
    rank_ranges,
    rank_text,
    sign_flip_p,
)
from metrics.statistics import bootstrap_mean, win_rate

OUTCOMES = st.tuples(st.integers(1, 4), st.integers(2, 40)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.sampled_from([-1.0, 0.0, 1.0]))
)


def clustered(rng: np.random.Generator, seeds: int, prompts: int, alike: float, drift: float = 0.0) -> np.ndarray:
    """Outcomes [S, N] whose seeds agree the more the higher `alike` is; drift 0: neither side is better."""
    shared, own = rng.normal(drift, 1, prompts), rng.normal(0, 1, (seeds, prompts))
    latent = np.sqrt(alike) * shared + np.sqrt(1 - alike) * own
    return np.where(np.abs(latent) < 0.3, 0.0, np.sign(latent))


def test_one_seed_is_tangos_interval():
    outcomes = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 80, p=[0.2, 0.3, 0.5])
    found, known = clustered_win_rate([outcomes]), win_rate(outcomes, np.zeros(80)).half_tie
    assert (found.value, found.low, found.high) == pytest.approx((known.value, known.low, known.high), abs=1e-9)


def test_a_seed_that_repeats_another_shows_nothing_new():
    outcomes = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], (1, 50))
    once, thrice = clustered_win_rate(outcomes), clustered_win_rate(np.repeat(outcomes, 3, axis=0))
    assert (thrice.low, thrice.high, thrice.n) == pytest.approx((once.low, once.high, 150))
    assert even_p(np.repeat(outcomes, 3, axis=0)) == pytest.approx(even_p(outcomes))


def test_pairs_without_ties_are_as_many_as_they_are_worth():
    for seed in range(300):
        outcomes = np.random.default_rng(seed).choice([-1.0, 1.0], (3, 2 + seed % 40))
        assert 0 <= even_p(outcomes) <= 1


@settings(max_examples=60, deadline=None)
@given(OUTCOMES)
def test_p_is_below_five_percent_exactly_where_the_interval_leaves_one_half_out(outcomes):
    found, p = clustered_win_rate(outcomes), even_p(outcomes)
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (found.low > 0.5 or found.high < 0.5)
    turned = clustered_win_rate(-outcomes)
    assert (turned.value, turned.low, turned.high) == pytest.approx((1 - found.value, 1 - found.high, 1 - found.low))
    assert even_p(-outcomes) == pytest.approx(p)


@pytest.mark.parametrize("alike", [0.0, 0.6, 1.0])
def test_the_test_keeps_its_size_and_the_interval_its_coverage_however_alike_seeds_are(alike):
    rng, trials = np.random.default_rng(1), 400
    rejected = np.mean([even_p(clustered(rng, 3, 60, alike)) < 0.05 for _ in range(trials)])
    assert rejected < 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    truth = 0.5 + clustered(np.random.default_rng(2), 1, 10**6, alike, 0.4).mean() / 2
    found = [clustered_win_rate(clustered(rng, 3, 60, alike, 0.4)) for _ in range(trials)]
    covered = np.mean([each.low <= truth <= each.high for each in found])
    assert covered > 0.95 - 3 * np.sqrt(0.05 * 0.95 / trials)


@pytest.mark.parametrize("outcomes", [np.zeros(3), np.zeros((0, 3)), [[0.5, 1.0]]])
def test_what_is_no_outcome_is_refused(outcomes):
    with pytest.raises(UserError):
        clustered_win_rate(outcomes)


def test_the_area_is_the_trapezoids_over_the_range():
    assert curve_weights([0.3, 0.5, 0.7]).tolist() == pytest.approx([0.25, 0.5, 0.25])
    assert curve_weights([0.4]).tolist() == [1]
    values = np.random.default_rng(0).normal(size=(2, 3, 4, 5))  # methods, savings targets, seeds, prompts
    x = [0.1, 0.4, 0.5]
    by_hand = np.trapezoid(values.mean(axis=2), x, axis=1) / 0.4
    assert areas(values, x) == pytest.approx(by_hand)
    for wrong in ([0.3, 0.3, 0.5], [0.5, 0.3, 0.7], [0.1, 0.2]):
        with pytest.raises(UserError):
            areas(values, wrong)


def test_sign_flips_of_few_prompts_are_the_exact_test():
    assert sign_flip_p(np.ones(4)) == pytest.approx(2 / 16, abs=0.015)
    assert sign_flip_p([3.0, -1.0]) == 1  # 2 is the least that |3 +- 1| can be
    assert sign_flip_p(np.zeros((2, 6))).tolist() == [1, 1]


def test_sign_flips_keep_their_size_and_find_what_is_there():
    rng = np.random.default_rng(3)
    p = sign_flip_p(rng.exponential(size=(600, 60)) * rng.choice([-1, 1], (600, 60)))
    assert 0.05 - 3 * 0.009 < (p < 0.05).mean() < 0.05 + 3 * 0.009
    assert (sign_flip_p(rng.normal(0.6, 1, (50, 60))) < 0.05).mean() > 0.9


def test_the_area_s_interval_covers():
    rng, covered = np.random.default_rng(4), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 300)
        for _ in range(200):
            values = rng.normal(0.1, 1, 60) + rng.normal(size=(3, 2, 60))
            found = bootstrap_mean(areas(values, [0.3, 0.5, 0.7]))
            covered += found.low <= 0.1 <= found.high
    assert covered / 200 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 200)


def test_no_claim_is_false_more_often_than_it_may_be(monkeypatch):
    monkeypatch.setattr(method_comparison, "FLIPS", 999)
    rng = np.random.default_rng(5)
    false = [beats(rng.normal(size=(5, 40)), seed=trial)[0].any() for trial in range(100)]
    assert np.mean(false) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 99))
def test_methods_have_no_order(order, seed):
    values = np.random.default_rng(seed).normal(size=(5, 30)) + np.array([[0], [0.1], [0.5], [1], [1]])
    better, p = beats(values)
    again, p_again = beats(values[order])
    assert np.array_equal(again, better[np.ix_(order, order)])
    assert p_again == pytest.approx(p[np.ix_(order, order)])
    assert rank_ranges(again) == [rank_ranges(better)[i] for i in order]


def test_ranks_are_between_all_that_are_better_for_sure_and_all_that_are_worse():
    better = np.zeros((4, 4), bool)
    better[0, 2] = better[0, 3] = better[1, 3] = True
    assert [rank_text(each) for each in rank_ranges(better)] == ["1-2", "1-3", "2-4", "3-4"]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 99), st.integers(2, 6))
def test_the_true_rank_of_means_that_are_far_apart_is_found(seed, n):
    means = np.random.default_rng(seed).permutation(n).astype(float)
    values = means[:, None] + np.random.default_rng(seed + 1).normal(0, 0.1, (n, 40))
    assert rank_ranges(beats(values)[0]) == [(n - int(mean), n - int(mean)) for mean in means]
