"""Tests against published figures: against SciPy, by hand, against Newcombe's published examples, and by simulation."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, norm, ttest_ind

from common.errors import UserError
from metrics.published import means_differ, rates_differ, standard_error

# --- rates ---------------------------------------------------------------------------------------------------


def of_counts(wins: int, n: int, theirs: int, published_n: int):
    """Without ties."""
    return rates_differ(wins / n, 1.0, n, theirs / published_n, published_n)


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_without_ties_a_rate_s_p_value_is_pearson_s(n, published_n, data):
    wins, theirs = data.draw(st.integers(0, n)), data.draw(st.integers(0, published_n))
    found = of_counts(wins, n, theirs, published_n)
    table = [[wins, n - wins], [theirs, published_n - theirs]]
    if 0 < wins + theirs < n + published_n:
        assert found.p == pytest.approx(chi2_contingency(table, correction=False).pvalue, abs=1e-9)
    else:
        assert found.p == pytest.approx(1, abs=1e-6)
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9


@pytest.mark.parametrize(
    ("wins", "n", "theirs", "published_n", "low", "high"),
    [
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (10, 10, 0, 10, 0.6075, 1.0000),
    ],
)
def test_without_ties_a_rate_s_interval_is_newcombe_s(wins, n, theirs, published_n, low, high):
    """Examples (a), (b) and (h) of Newcombe 1998, table II, method 10."""
    found = of_counts(wins, n, theirs, published_n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_our_side_alone_would_claim_too_much():
    """Table 1's 52.8% of 500: 47% measured differs from it as a constant, and not as what it is."""
    found = rates_differ(0.47, 1.0, 500, 0.528, 500)
    alone = 2 * norm.sf(abs(0.47 - 0.528) / sqrt(0.528 * 0.472 / 500))
    assert alone < 0.01 < 0.05 < found.p


def test_ties_make_our_side_surer():
    assert rates_differ(0.45, 0.3, 500, 0.5, 5000).p < 0.05 < rates_differ(0.45, 1.0, 300, 0.5, 5000).p


@pytest.mark.parametrize(("ties", "n", "published_n"), [(0.0, 500, 1600), (0.6, 500, 500), (0.85, 120, 100)])
@pytest.mark.parametrize("rate", [0.5, 0.46])
def test_a_run_that_reproduces_a_published_rate_differs_in_five_of_a_hundred(ties, n, published_n, rate):
    """Prompts that share nothing tie here; where a run draws its noise anew they win or lose, as they did there."""
    rng, runs = np.random.default_rng(0), 4000
    untied = rng.binomial(n, 1 - ties, runs)
    wins = rng.binomial(untied, 0.5 + (rate - 0.5) / (1 - ties))
    theirs = rng.binomial(published_n, rate, runs)
    rates = (wins + (n - untied) / 2) / n
    cases = zip(rates.tolist(), (untied / n).tolist(), (theirs / published_n).tolist(), strict=True)
    share = np.mean([rates_differ(ours, of_pairs, n, there, published_n).p < 0.05 for ours, of_pairs, there in cases])
    assert share == pytest.approx(0.05, abs=0.015), "3 standard errors of the simulation, and counts that are whole"


@pytest.mark.parametrize(
    "given",
    [(1.5, 1, 2, 0.5, 10), (0.5, 1, 2, 1.5, 10), (0.5, 1, 0, 0.5, 10), (0.5, 1, 2, 0.5, 0), (1, 0.5, 2, 0.5, 9)],
)
def test_what_is_no_rate_is_refused(given):
    with pytest.raises(UserError, match="not two rates"):
        rates_differ(*given)


# --- means ---------------------------------------------------------------------------------------------------


def test_a_mean_s_p_value_is_the_two_sample_test_s():
    """With the published sample's own spread equal to ours, Welch's t-test in the limit."""
    rng = np.random.default_rng(1)
    ours = rng.normal(0.80, 0.2, 4000)
    theirs = ours + 0.01
    found = means_differ(ours.mean(), ours.std(ddof=1) / sqrt(4000), theirs.mean())
    assert found.p == pytest.approx(ttest_ind(ours, theirs).pvalue, abs=1e-3)
    assert found.value == pytest.approx(-0.01)
    assert (found.p < 0.05) == (not found.low <= 0 <= found.high)


def test_two_samples_of_one_mean_differ_in_five_of_a_hundred():
    rng = np.random.default_rng(2)
    ours, theirs = rng.normal(size=(4000, 100)), rng.normal(size=(4000, 400)).mean(axis=1)
    errors = ours.std(axis=1, ddof=1) / 10
    rows = zip(ours.mean(axis=1), errors, theirs, strict=True)
    share = np.mean([means_differ(mean, error, other, ratio=100 / 400).p < 0.05 for mean, error, other in rows])
    assert share == pytest.approx(0.05, abs=0.013)


@given(st.floats(0.001, 1), st.floats(0.0001, 0.1), st.floats(-1, 1))
def test_what_was_read_off_a_plot_is_surer_of_nothing(error, reading, published):
    exact, read = means_differ(0, error, published), means_differ(0, error, published, reading=reading)
    assert read.p >= exact.p
    assert read.high - read.low > exact.high - exact.low


def test_an_interval_gives_its_standard_error_back():
    assert standard_error(0.3 - 1.959964 * 0.02, 0.3 + 1.959964 * 0.02) == pytest.approx(0.02)


@pytest.mark.parametrize("error", [0, -1, float("nan")])
def test_a_mean_without_spread_is_refused(error):
    with pytest.raises(UserError, match="tells no difference"):
        means_differ(0.5, error, 0.4)
