"""Intervals against published values, numeric optimisation and brute force; their coverage is `test_coverage`'s."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm

from common.errors import UserError
from metrics import statistics
from metrics.statistics import (
    bootstrap_mean,
    compare_similarity,
    constrained_loss_rate,
    paired_difference,
    pairwise_similarity,
    tango_interval,
    win_rate,
)

SCORES = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[arrays(np.float64, n, elements=st.sampled_from([0.1, 0.2, 0.3])) for _ in range(2)])
)


def outcome(wins: int, losses: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    ours = np.concatenate([np.ones(wins), np.zeros(losses), np.full(n - wins - losses, 0.5)])
    return ours, np.full(n, 0.5)


# --- Tango's interval ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wins", "losses", "n", "level", "published", "digits"),
    [
        # Fagerland, Lydersen, Laake, Statistics in Medicine 33 (2014): airway hyper-responsiveness
        (1, 7, 21, 0.95, (-0.517, -0.026), 3),
        # R contingencytables, tests of chapter 8: complete response before and after consolidation therapy
        (6, 16, 161, 0.95, (-0.1240, -0.0054), 4),
        # R PropCIs::scoreci.mp(25, 28, 618, 0.9)
        (28, 25, 618, 0.90, (-0.0148, 0.0247), 4),
    ],
)
def test_tango_interval_is_the_published_one(wins, losses, n, level, published, digits):
    assert np.round(tango_interval(wins, losses, n, level=level), digits).tolist() == list(published)


def numeric_interval(wins: int, losses: int, n: int) -> tuple[float, float]:
    """Tango's interval from his score statistic, its constrained maximum found by search instead of in closed form."""
    ties = n - wins - losses

    def loss_rate(difference: float) -> float:
        def unlikelihood(p_loss: float) -> float:
            p = np.array([p_loss + difference, p_loss, 1 - 2 * p_loss - difference])
            return -float(np.array([wins, losses, ties]) @ np.log(np.maximum(p, 1e-300)))

        bounds = max(0.0, -difference), (1 - difference) / 2
        return minimize_scalar(unlikelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x

    def statistic(difference: float) -> float:
        variance = 2 * loss_rate(difference) + difference - difference**2
        return (wins - losses - n * difference) / np.sqrt(n * variance)

    z, observed = norm.ppf(0.975), (wins - losses) / n
    return (
        brentq(lambda d: statistic(d) - z, -1 + 1e-6, observed - 1e-9),
        brentq(lambda d: statistic(d) + z, observed + 1e-9, 1 - 1e-6),
    )


@pytest.mark.parametrize(("wins", "losses", "n"), [(12, 2, 50), (3, 5, 9), (1, 1, 100), (40, 60, 100), (5, 0, 30)])
def test_tango_interval_agrees_with_numeric_maximisation(wins, losses, n):
    assert tango_interval(wins, losses, n) == pytest.approx(numeric_interval(wins, losses, n), abs=1e-5)


@settings(deadline=None)
@given(st.integers(1, 60), st.data())
def test_constrained_rate_solves_the_likelihood_equation(n, data):
    wins = data.draw(st.integers(0, n))
    losses = data.draw(st.integers(0, n - wins))
    difference = data.draw(st.floats(-0.95, 0.95))
    p = constrained_loss_rate(wins, losses, n, difference)
    assert max(0.0, -difference) - 1e-9 <= p <= (1 - difference) / 2 + 1e-9
    inside = min(p, p + difference, 1 - 2 * p - difference) > 1e-6
    if inside:
        slope = wins / (p + difference) + losses / p - 2 * (n - wins - losses) / (1 - 2 * p - difference)
        assert slope * min(p, p + difference, 1 - 2 * p - difference) == pytest.approx(0, abs=1e-4)


@settings(deadline=None)
@given(st.integers(1, 80), st.data())
def test_tango_interval_is_antisymmetric_and_holds_the_observed_difference(n, data):
    wins = data.draw(st.integers(0, n))
    losses = data.draw(st.integers(0, n - wins))
    low, high = tango_interval(wins, losses, n)
    assert -1 <= low <= (wins - losses) / n <= high <= 1
    assert tango_interval(losses, wins, n) == pytest.approx((-high, -low), abs=1e-9)


# --- win rate ------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(SCORES)
def test_counts_add_up_and_swapping_mirrors(scores):
    ours, standard = scores
    rate, mirrored = win_rate(ours, standard), win_rate(standard, ours)
    assert rate.wins + rate.ties + rate.losses == len(ours)
    assert (rate.wins, rate.losses) == (mirrored.losses, mirrored.wins)
    assert rate.half_tie.value == pytest.approx((rate.wins + rate.ties / 2) / len(ours))
    assert rate.half_tie.value == pytest.approx(1 - mirrored.half_tie.value)
    assert (rate.half_tie.low, rate.half_tie.high) == pytest.approx(
        (1 - mirrored.half_tie.high, 1 - mirrored.half_tie.low), abs=1e-9
    )
    for estimate in (rate.half_tie, rate.strict):
        assert 0 <= estimate.low <= estimate.value + 1e-12
        assert estimate.value - 1e-12 <= estimate.high <= 1
        assert estimate.n == len(ours)


def test_half_tie_interval_is_half_of_tangos_around_one_half():
    rate = win_rate(*outcome(12, 2, 50))
    low, high = tango_interval(12, 2, 50)
    assert (rate.half_tie.value, rate.half_tie.low, rate.half_tie.high) == pytest.approx(
        (0.6, 0.5 + low / 2, 0.5 + high / 2)
    )


def test_strict_rates_of_the_paper_have_the_wilson_intervals_that_its_reader_computes():
    # PAPER: Table 1's win percentages and image counts
    for wins, n, low, high in [(812, 1600, 48.3, 53.2), (1031, 2000, 49.4, 53.7), (52, 100, 42.3, 61.5)]:
        strict = win_rate(*outcome(wins, n - wins, n)).strict
        assert (round(100 * strict.low, 1), round(100 * strict.high, 1)) == (low, high)


def test_pictures_that_are_the_same_tie_whatever_their_scores():
    rate = win_rate([0.9, 0.2, 0.3], [0.8, 0.1, 0.4], same=[True, False, False])
    assert (rate.wins, rate.ties, rate.losses) == (1, 1, 1)


def test_where_every_picture_is_the_same_nothing_is_estimated():
    rate = win_rate([0.3, 0.4], [0.3, 0.4], same=[True, True])
    assert (rate.half_tie.value, rate.half_tie.low, rate.half_tie.high) == (0.5, 0.5, 0.5)
    assert (rate.strict.value, rate.strict.low, rate.strict.high, rate.ties) == (0.0, 0.0, 0.0, 2)


def test_ties_by_score_alone_keep_their_uncertainty():
    rate = win_rate([0.3] * 100, [0.3] * 100)
    z = norm.ppf(0.975)
    assert rate.half_tie.high == pytest.approx(0.5 + z**2 / (100 + z**2) / 2)
    assert rate.half_tie.low == pytest.approx(1 - rate.half_tie.high)


@pytest.mark.parametrize(
    ("ours", "standard", "same", "message"),
    [
        ([0.1, np.nan], [0.1, 0.2], None, "our scores hold NaN at index 1"),
        ([0.1], [np.inf], None, "the baseline's scores hold infinity at index 0"),
        ([0.1, 0.2], [0.1], None, "2 scores are compared with 1"),
        ([], [], None, r"shape \(0,\)"),
        ([0.1], [0.1], [True, False], "there are 1 pairs"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(ours, standard, same, message):
    with pytest.raises(UserError, match=message):
        win_rate(ours, standard, same)


# --- bootstrap means -----------------------------------------------------------------------------------------


def test_paired_difference_is_ours_minus_standard_and_repeats_with_its_seed():
    rng = np.random.default_rng(0)
    standard = rng.random(60)
    ours = standard + rng.normal(0.1, 0.05, 60)
    first, again = (paired_difference(ours, standard, seed=3) for _ in range(2))
    assert first == again
    assert first.value == pytest.approx((ours - standard).mean())
    half = norm.ppf(0.975) * (ours - standard).std(ddof=1) / np.sqrt(60)
    assert (first.low, first.high) == pytest.approx((first.value - half, first.value + half), abs=0.3 * half)


def test_differences_that_are_all_zero_have_no_width():
    difference = paired_difference([0.1, 0.7, 0.3], [0.1, 0.7, 0.3])
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_one_pair_has_a_difference_and_no_interval():
    difference = paired_difference([0.5], [0.2])
    assert difference.value == pytest.approx(0.3)
    assert difference.low is None
    assert difference.high is None


# --- pairwise similarity -------------------------------------------------------------------------------------


def brute_force_similarity(features: np.ndarray) -> float:
    return float(
        np.mean([a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in combinations(np.asarray(features, np.float64), 2)])
    )


def features(n: int, dimensions: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.4, 1, (n, dimensions))


def test_similarity_is_the_mean_over_all_pairs():
    rows = features(40)
    assert pairwise_similarity(rows, n=None).value == pytest.approx(brute_force_similarity(rows), abs=1e-12)


def test_resamples_never_compare_an_image_with_its_own_copy():
    """Against the sum over drawn positions whose images differ, written out pair by pair."""
    rows = features(12)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    _, weights = statistics.resamples(12, None, seed=5)
    fast = statistics.similarities(unit, weights[:50])
    for counts, value in zip(weights[:50], fast, strict=True):
        drawn = np.repeat(np.arange(12), counts.astype(int))
        pairs = [(i, j) for i, j in combinations(drawn, 2) if i != j]
        assert value == pytest.approx(np.mean([unit[i] @ unit[j] for i, j in pairs]), abs=1e-6)


def test_resamples_are_drawn_once_for_all_cells_and_cannot_be_spoilt():
    chosen, weights = statistics.resamples(12, None, seed=5)
    assert statistics.resamples(12, 12, seed=5)[1] is weights
    for array in (chosen, weights):
        with pytest.raises(ValueError, match="read-only"):
            array += 1
    assert not np.array_equal(statistics.resamples(12, None, seed=6)[1], weights)


def test_a_resample_of_one_image_alone_is_left_out():
    estimate = pairwise_similarity(features(3))
    assert -1 <= estimate.low <= estimate.high <= 1


def test_interval_is_the_quantiles_of_resampled_means():
    rows = features(20)
    estimate = pairwise_similarity(rows, n=None, seed=2)
    rng = np.random.default_rng(99)
    means = []
    for _ in range(3000):
        drawn = rng.integers(20, size=20)
        gram = cosine(rows)[np.ix_(drawn, drawn)]
        means.append(gram[drawn[:, None] != drawn[None]].mean())
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.02)


def cosine(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


ROWS = st.integers(2, 12).flatmap(
    lambda n: arrays(np.float64, (n, 3), elements=st.floats(-5, 5).map(lambda x: round(x, 3))).filter(
        lambda rows: np.linalg.norm(rows, axis=1).all()
    )
)


@settings(max_examples=30, deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_similarity_is_bounded_and_does_not_depend_on_order_or_length(rows, random):
    estimate = pairwise_similarity(rows, n=None)
    assert -1 - 1e-9 <= estimate.value <= 1 + 1e-9
    shuffled = rows[random.sample(range(len(rows)), len(rows))]
    assert pairwise_similarity(shuffled * 7.5, n=None).value == pytest.approx(estimate.value, abs=1e-9)


def test_one_picture_repeated_is_alike_to_the_end():
    estimate = pairwise_similarity(np.tile([0.3, 0.4], (10, 1)))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1, 1, 1))


def test_100_images_are_drawn_by_seed_and_all_on_request():
    rows = features(300)
    first, again, other = (pairwise_similarity(rows, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.n == 100
    assert first.value != other.value
    everything = pairwise_similarity(rows, n=None)
    assert everything.n == 300
    assert first.value == pytest.approx(everything.value, abs=0.05)


def test_differences_come_from_the_same_images_and_resamples():
    standard = features(150)
    ours = standard + np.random.default_rng(1).normal(0, 0.02, standard.shape)
    comparison = compare_similarity(standard, ours, seed=4)
    assert comparison.baseline == pairwise_similarity(standard, seed=4)
    assert comparison.ours == pairwise_similarity(ours, seed=4)
    assert comparison.difference.value == pytest.approx(comparison.baseline.value - comparison.ours.value)
    width = comparison.difference.high - comparison.difference.low
    assert width < 0.1 * (comparison.ours.high - comparison.ours.low)


def test_equal_sets_differ_by_exactly_nothing():
    rows = features(30)
    difference = compare_similarity(rows, rows.copy()).difference
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_two_images_are_one_pair_without_an_interval():
    estimate = pairwise_similarity([[1.0, 0.0], [1.0, 1.0]])
    assert estimate.value == pytest.approx(np.sqrt(0.5))
    assert estimate.low is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, 2.0]], "1 image has no pairs"),
        ([[1.0, 2.0], [0.0, 0.0]], "features of image 1 are all zero"),
        ([[1.0, 2.0], [np.nan, 0.0]], "NaN at index 1"),
        ([1.0, 2.0], "shape"),
    ],
)
def test_features_without_a_similarity_are_refused(rows, message):
    with pytest.raises(UserError, match=message):
        pairwise_similarity(rows)


def test_values_that_all_but_agree_have_the_percentile_interval(recwarn):
    values = np.full(11, 0.5)
    values[-1] = np.nextafter(0.5, 1)
    found = bootstrap_mean(values)
    assert found.method == "percentile bootstrap"
    assert 0.5 <= found.low <= found.high <= values[-1]
    assert not recwarn
