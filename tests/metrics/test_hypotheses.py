"""Tests of claims: against the interval they belong to, and against SciPy, by hand and by simulation."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from common.errors import UserError
from metrics.hypotheses import holm, noninferiority_p, sign_test_p
from metrics.statistics import tango_interval

# --- no worse ------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 300), st.floats(0, 0.45), st.data())
def test_a_rate_is_no_worse_exactly_where_its_interval_says_so(n, delta, data):
    wins = data.draw(st.integers(0, n))
    losses = data.draw(st.integers(0, n - wins))
    lower = 0.5 + tango_interval(wins, losses, n)[0] / 2
    if abs(lower - (0.5 - delta)) > 1e-9:
        assert (noninferiority_p(wins, losses, n, delta) < 0.025) == (lower > 0.5 - delta)


def test_the_paper_s_style_variations_are_not_shown_to_be_no_worse():
    """52 of 100 wins: (4 + 10) / sqrt(100 (1 - 0.01)), the score statistic of a rate of 45%."""
    assert noninferiority_p(52, 48, 100, 0.05) == pytest.approx(norm.sf(14 / np.sqrt(99)))


@given(st.integers(1, 100), st.floats(0.01, 0.2), st.data())
def test_wins_and_tolerance_speak_for_it(n, delta, data):
    wins = data.draw(st.integers(0, n - 1))
    losses = data.draw(st.integers(1, n - wins))
    p = noninferiority_p(wins, losses, n, delta)
    assert 0 <= p <= 1
    assert noninferiority_p(wins, losses - 1, n, delta) <= p + 1e-12, "a tie in place of a loss"
    assert noninferiority_p(wins + 1, losses - 1, n, delta) <= p + 1e-12, "a win in place of a loss"
    assert noninferiority_p(wins, losses, n, delta + 0.1) <= p + 1e-12


def test_counts_come_as_arrays_too():
    wins, losses = np.array([[10, 20], [30, 0]]), np.array([[5, 20], [10, 0]])
    each = [
        [noninferiority_p(w, x, 40, 0.05) for w, x in zip(*row, strict=True)] for row in zip(wins, losses, strict=True)
    ]
    assert noninferiority_p(wins, losses, 40, 0.05) == pytest.approx(np.array(each))


def test_without_wins_losses_and_tolerance_nothing_is_shown():
    assert noninferiority_p(0, 0, 50, 0) == 0.5


@pytest.mark.parametrize(("ties", "delta"), [(0.05, 0.05), (0.5, 0.05), (0.9, 0.02)])
def test_at_the_margin_itself_one_in_forty_claims_is_false(ties, delta):
    rng, n = np.random.default_rng(0), 300
    rates = [(1 - ties) / 2 - delta, (1 - ties) / 2 + delta, ties]
    wins, losses, _ = rng.multinomial(n, rates, size=40_000).T
    assert np.mean(noninferiority_p(wins, losses, n, delta) < 0.025) == pytest.approx(0.025, abs=0.006)


@pytest.mark.parametrize(
    ("wins", "losses", "delta"), [(5, 6, 0.05), (-1, 2, 0.05), (5, 5, 5), (5, 5, -0.1), (5, 5, 0.5)]
)
def test_what_cannot_be_meant_is_refused(wins, losses, delta):
    with pytest.raises(UserError, match=r"delta is|counts among the pairs"):
        noninferiority_p(wins, losses, 10, delta)


# --- different -----------------------------------------------------------------------------------------------


def test_the_sign_test_is_exact_and_two_sided():
    assert sign_test_p(8, 1) == pytest.approx(2 * (1 + 9) / 2**9)
    assert sign_test_p(1, 8) == sign_test_p(8, 1)
    assert sign_test_p(4, 4) == 1


def test_ties_alone_show_no_difference():
    assert sign_test_p(0, 0) == 1


# --- several claims ------------------------------------------------------------------------------------------


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_statsmodels(ps):
    with mock.patch("gc.collect"):  # which it calls every time
        expected = multipletests(ps, method="holm")[1]
    assert holm(ps) == pytest.approx(expected, abs=1e-15)


def test_holm_collects_no_garbage():
    """A full collection walks all that torch has loaded: half a second, eight times a report."""
    with mock.patch("gc.collect") as collected:
        holm([0.04, 0.01, 0.03])
    assert not collected.called


def test_holm_keeps_the_order_and_never_helps():
    ps = np.random.default_rng(0).random(12) ** 3
    found = np.array(holm(ps))
    assert ((ps <= found) & (found <= np.minimum(1, 12 * ps))).all()
    assert (np.diff(found[np.argsort(ps)]) >= 0).all()
