"""How far scorers agree: against SciPy, statsmodels, counting by hand, and by simulation."""

from math import asin, isnan, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr
from statsmodels.stats.proportion import proportion_confint

from common.errors import UserError
from metrics import agreement
from metrics.agreement import rank_correlation, winner_agreement

SCORES = arrays(np.float64, 30, elements=st.integers(0, 6).map(float))
OUTCOMES = arrays(np.float64, 30, elements=st.sampled_from([-1.0, 0.0, 1.0]))


@settings(max_examples=50)
@given(SCORES, SCORES)
def test_the_correlation_is_scipys_whatever_the_ties(first, second):
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert isnan(rank_correlation(first, second).value)
        return
    found = rank_correlation(first, second)
    assert found.value == spearmanr(first, second).statistic
    assert found.low is not None
    assert -1 - 1e-12 <= found.low <= found.high <= 1 + 1e-12


def test_a_resamples_correlation_is_that_of_its_pictures(monkeypatch):
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, 40).astype(float), rng.normal(size=40)
    counts = rng.multinomial(40, np.full(40, 1 / 40), size=25)
    expected = [spearmanr(np.repeat(first, row), np.repeat(second, row)).statistic for row in counts]
    np.testing.assert_allclose(agreement._rank_correlations(first, second, counts), expected, atol=1e-12)
    whole = rank_correlation(first, second)
    monkeypatch.setattr(agreement, "LARGEST", 40 * 7)
    assert rank_correlation(first, second) == whole, "in parts as at once"


def test_scorers_that_always_agree_or_never_do():
    scores = np.random.default_rng(0).normal(size=20)
    assert rank_correlation(scores, np.exp(scores)).value == pytest.approx(1)
    assert rank_correlation(scores, np.exp(scores)).low == pytest.approx(1)
    assert rank_correlation(scores, -scores).high == pytest.approx(-1)
    outcomes = np.sign(scores)
    assert (winner_agreement(outcomes, outcomes).share.value, winner_agreement(outcomes, outcomes).kappa) == (1, 1)
    assert winner_agreement(outcomes, -outcomes).share.value == 0


def test_one_pictures_copies_say_nothing_new():
    rng = np.random.default_rng(1)
    first = rng.normal(size=50)
    second = first + rng.normal(size=50)
    alone, copied = (
        rank_correlation(np.repeat(first, n), np.repeat(second, n), np.repeat(np.arange(50), n)) for n in (1, 8)
    )
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))
    first, second = np.sign(first), np.sign(second)
    alone, copied = (
        winner_agreement(np.repeat(first, n), np.repeat(second, n), np.repeat(np.arange(50), n)) for n in (1, 8)
    )
    assert copied.effective == pytest.approx(50)
    assert (copied.share.low, copied.share.high) == pytest.approx((alone.share.low, alone.share.high))
    assert (copied.kappa, copied.share.n) == (pytest.approx(alone.kappa), 400)


def test_pairs_without_a_common_prompt_have_wilsons_interval():
    first, second = [1, 1, 0, -1, -1, 1, 0, -1, 1, 1], [1, 0, 0, -1, 1, 1, 0, -1, -1, 1]
    found = winner_agreement(first, second)
    assert found.share.value == 0.7
    assert (found.share.low, found.share.high) == pytest.approx(proportion_confint(7, 10, method="wilson"))
    by_chance = 0.5 * 0.4 + 0.2 * 0.3 + 0.3 * 0.3  # both say 1, both 0, both -1
    assert found.by_chance == pytest.approx(by_chance)
    assert found.kappa == pytest.approx((0.7 - by_chance) / (1 - by_chance))


@settings(max_examples=50)
@given(OUTCOMES, OUTCOMES, arrays(np.int64, 30, elements=st.integers(0, 8)))
def test_what_must_always_hold(first, second, prompts):
    found, turned = winner_agreement(first, second, prompts), winner_agreement(-second, -first, prompts)
    assert found.share == turned.share, "whoever is called first, whichever side is called ours"
    assert 0 <= found.share.low <= found.share.value <= found.share.high <= 1
    assert len(set(prompts)) - 1e-9 <= found.effective <= 30 + 1e-9
    assert isnan(found.kappa) == (found.by_chance == 1)


def simulated(rng, prompts, pairs, rho, alike):
    """Normal scores of two scorers that correlate by `rho`, and of a prompt's pictures by `alike`."""
    covariance = [[1, rho], [rho, 1]]
    of_prompt = rng.multivariate_normal([0, 0], covariance, size=(prompts, 1))
    own = rng.multivariate_normal([0, 0], covariance, size=(prompts, pairs))
    both = (np.sqrt(alike) * of_prompt + np.sqrt(1 - alike) * own).reshape(-1, 2)
    return both[:, 0], both[:, 1], np.repeat(np.arange(prompts), pairs)


@pytest.mark.parametrize(("prompts", "pairs", "alike"), [(60, 1, 0.0), (120, 4, 0.7)])
def test_intervals_hold_the_truth_19_times_in_20(monkeypatch, prompts, pairs, alike):
    monkeypatch.setattr(agreement, "RESAMPLES", 200)
    rng, rho, held = np.random.default_rng(0), 0.7, np.zeros(2)

    def outcome(scores):
        return np.where(np.abs(scores) < 0.2, 0, np.sign(scores))

    first, second, _ = simulated(rng, 200_000, 1, rho, 0)
    truths = 6 / pi * asin(rho / 2), np.mean(outcome(first) == outcome(second))
    runs = 1200
    for _ in range(runs):
        first, second, of = simulated(rng, prompts, pairs, rho, alike)
        found = rank_correlation(first, second, of), winner_agreement(outcome(first), outcome(second), of).share
        held += [each.low <= truth <= each.high for each, truth in zip(found, truths, strict=True)]
    assert (held / runs >= 0.93).all()
    assert (held / runs <= 0.98).all()


@pytest.mark.parametrize("measure", [rank_correlation, winner_agreement])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([1, 0], [1]), "shapes"),
        (([], []), "shapes"),
        (([[1, 0]], [[1, 0]]), "shapes"),
        (([1, 0], [1, 0], [3]), "shapes"),
        (([1, np.nan], [1, 0]), "not finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(measure, arguments, says):
    with pytest.raises(UserError, match=says):
        measure(*arguments)


def test_scores_are_no_outcomes():
    with pytest.raises(UserError, match="none of 1, 0 and -1"):
        winner_agreement([0.5, 1], [1, 1])


def test_few_prompts_have_no_interval():
    found = rank_correlation([1, 2, 3, 5], [1, 3, 2, 4], [0, 0, 1, 1])
    assert found.value == spearmanr([1, 2, 3, 5], [1, 3, 2, 4]).statistic
    assert found.low is None
    assert isnan(rank_correlation([1], [1]).value)
