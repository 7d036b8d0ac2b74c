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


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_a_rate_s_p_value_is_pearson_s(n, published_n, data):
    wins, theirs = data.draw(st.integers(0, n)), data.draw(st.integers(0, published_n))
    found = rates_differ(wins, n, theirs / published_n, published_n)
    table = [[wins, n - wins], [theirs, published_n - theirs]]
    if 0 < wins + theirs < n + published_n:
        assert found.p == pytest.approx(chi2_contingency(table, correction=False).pvalue, abs=1e-9)
    else:
        assert found.p == 1
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(
    ("wins", "n", "theirs", "published_n", "low", "high"),
    [
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (10, 10, 0, 10, 0.6075, 1.0000),
    ],
)
def test_a_rate_s_interval_is_newcombe_s(wins, n, theirs, published_n, low, high):
    """Examples (a), (b) and (h) of Newcombe 1998, table II, method 10."""
    found = rates_differ(wins, n, theirs / published_n, published_n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_our_side_alone_would_claim_too_much():
    """Table 1's 52.8% of 500: 47% measured differs from it as a constant, and not as what it is."""
    found = rates_differ(235, 500, 0.528, 500)
    alone = 2 * norm.sf(abs(0.47 - 0.528) / sqrt(0.528 * 0.472 / 500))
    assert alone < 0.01 < 0.05 < found.p


def test_two_samples_of_one_rate_differ_in_five_of_a_hundred():
    rng = np.random.default_rng(0)
    ours, theirs = rng.binomial(500, 0.5, 3000), rng.binomial(1600, 0.5, 3000)
    pairs = zip(ours.tolist(), theirs.tolist(), strict=True)
    share = np.mean([rates_differ(a, 500, b / 1600, 1600).p < 0.05 for a, b in pairs])
    assert share == pytest.approx(0.05, abs=0.012), "3 standard errors of the simulation"


@pytest.mark.parametrize("given", [(3, 2, 0.5, 10), (1, 2, 1.5, 10), (0, 0, 0.5, 10), (1, 2, 0.5, 0), (-1, 2, 0.5, 9)])
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
