"""Power: against simulation with the tests whose power it is, published sample sizes, and itself turned round."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from metrics.hypotheses import noninferiority_p
from metrics.power import (
    detectable_difference,
    difference_power,
    noninferiority_power,
    pairs_for_difference,
    pairs_for_noninferiority,
    smallest_delta,
)

TIES, POWERS = st.floats(0, 0.95), st.floats(0.5, 0.99)


def simulated(n: int, difference: float, ties: float, delta: float) -> tuple[np.ndarray, float]:
    """P-values of "above 1/2 - delta" in many runs of so many pairs."""
    rates = [(1 - ties) / 2 + difference, (1 - ties) / 2 - difference, ties]
    wins, losses, _ = np.random.default_rng(0).multinomial(n, rates, size=20_000).T
    return noninferiority_p(wins, losses, n, delta)


@pytest.mark.parametrize(
    ("n", "difference", "ties"),
    [(500, 0.06, 0.05), (100, 0.14, 0.0), (100, -0.08, 0.5), (400, 0.02, 0.9), (60, 0.18, 0.2), (1000, 0.03, 0.5)],
)
def test_two_sided_power_is_how_often_intervals_leave_out_one_half(n, difference, ties):
    p = simulated(n, difference, ties, 0)
    assert difference_power(n, difference, ties) == pytest.approx(np.mean((p < 0.025) | (p > 0.975)), abs=0.025)


@pytest.mark.parametrize(
    ("n", "difference", "ties", "delta"),
    [
        (500, 0.0, 0.05, 0.05),
        (780, 0.0, 0.0, 0.05),
        (100, 0.0, 0.5, 0.1),
        (400, 0.0, 0.9, 0.02),
        (300, 0.02, 0.3, 0.05),
        (100, 0.0, 0.0, 0.05),
        (800, -0.02, 0.1, 0.05),
    ],
)
def test_power_of_no_worse_is_how_often_it_is_shown(n, difference, ties, delta):
    shown = np.mean(simulated(n, difference, ties, delta) < 0.025)
    assert noninferiority_power(n, delta, ties, difference) == pytest.approx(shown, abs=0.025)


def test_pairs_are_those_of_the_formula_for_mcnemars_test():
    """Connor 1987, written out: 30% untied, twice as many wins as losses, 80% power."""
    expected = (1.959964 * np.sqrt(0.3) + 0.841621 * np.sqrt(0.3 - 0.01)) ** 2 / 0.01
    assert pairs_for_difference(0.05, ties=0.7) == np.ceil(expected) == 234


@given(st.floats(0.01, 0.2), st.floats(0, 0.5), POWERS)
def test_pairs_for_a_difference_are_just_enough(difference, ties, power):
    n = pairs_for_difference(difference, ties, power)
    assert difference_power(n, difference, ties) >= power - 1e-9
    assert n == 1 or difference_power(n - 1, difference, ties) < power + 1e-3, "but for the far tail"
    assert detectable_difference(n, ties, power) <= difference + 1e-9


@given(st.floats(0.01, 0.2), TIES, POWERS)
def test_pairs_for_no_worse_are_just_enough(delta, ties, power):
    n = pairs_for_noninferiority(delta, ties, power)
    assert noninferiority_power(n, delta, ties) >= power - 1e-9
    assert n == 1 or noninferiority_power(n - 1, delta, ties) < power
    assert smallest_delta(n, ties, power) <= delta + 1e-9


@given(st.integers(50, 5000), st.floats(0, 0.5), POWERS)
def test_what_can_be_detected_is_detected_with_just_that_power(n, ties, power):
    assert difference_power(n, detectable_difference(n, ties, power), ties) == pytest.approx(power, abs=1e-6)
    assert noninferiority_power(n, smallest_delta(n, ties, power), ties) == pytest.approx(power, abs=1e-6)


def test_ties_help_to_show_no_worse_and_a_difference():
    assert pairs_for_noninferiority(0.05, ties=0.5) < pairs_for_noninferiority(0.05)
    assert pairs_for_difference(0.1, ties=0.5) < pairs_for_difference(0.1)


def test_where_no_number_of_pairs_is_enough_there_is_none():
    assert pairs_for_noninferiority(0) is None
    assert pairs_for_noninferiority(0.05, difference=-0.05) is None
    assert pairs_for_difference(0) is None
    assert detectable_difference(3) is None
    assert detectable_difference(100, ties=1) is None


def test_pairs_that_all_tie_show_no_worse_or_do_not():
    n = pairs_for_noninferiority(0.05, ties=1)
    assert [noninferiority_power(each, 0.05, ties=1) for each in (n - 1, n)] == [0, 1]
    assert noninferiority_p(0, 0, n, 0.05) < 0.025 < noninferiority_p(0, 0, n - 1, 0.05)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: difference_power(0, 0.1), "0 prompts"),
        (lambda: difference_power(10, 0.3, 0.5), "cannot be 0.3 from one half where 0.5 of the pairs tie"),
        (lambda: difference_power(10, 0.1, 5), "ties are 5"),
        (lambda: noninferiority_power(10, 5), "delta is 5"),
        (lambda: pairs_for_difference(0.1, power=80), "the power is 80"),
        (lambda: smallest_delta(10, power=1), "the power is 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(ask, says):
    with pytest.raises(UserError, match=says):
        ask()
