"""The band of the seed control: how often the baseline from a third seed falls outside."""

import numpy as np
import pytest

from common.errors import UserError
from metrics.seed_control import chance_rates
from metrics.statistics import win_rate


@pytest.mark.parametrize("n", [60, 120, 500])
def test_a_third_seed_falls_outside_in_five_of_a_hundred(n):
    """Scores of three seeds of the same prompts, easy and hard ones; the first is the baseline."""
    rng, runs = np.random.default_rng(n), 4000
    hard = rng.normal(size=(runs, 1, n))
    first, second, third = np.moveaxis(hard + rng.normal(size=(runs, 3, n)), 1, 0)
    low, high = chance_rates(n)
    rates = (third > first).mean(axis=1)
    outside = np.mean((rates < low) | (rates > high))
    assert outside == pytest.approx(0.05, abs=0.02), "counts are whole: no band leaves out just 5%"
    control = (second > first).mean(axis=1)
    around_one = np.mean(np.abs(rates - control) > high - 0.5)
    assert around_one > 0.07, "a band around what one control happened to have leaves out more"


def test_ties_make_it_narrower_and_it_is_the_rates_whose_interval_holds_one_half():
    assert chance_rates(100, ties=0.75)[1] - 0.5 == pytest.approx((chance_rates(100)[1] - 0.5) / 2)
    low, high = chance_rates(200)
    for wins in range(80, 121):
        rate = win_rate(np.arange(200) < wins, np.full(200, 0.5)).half_tie
        assert (low <= rate.value <= high) == (rate.low <= 0.5 <= rate.high)


@pytest.mark.parametrize("given", [(0, 0.0), (10, 1.5), (10, -0.1)])
def test_what_has_no_rate_is_refused(given):
    with pytest.raises(UserError, match="have no rate"):
        chance_rates(*given)
