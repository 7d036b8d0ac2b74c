"""Measured results against published ones, where both err by chance. Pure functions of numbers."""

from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np

from common.errors import UserError
from metrics.statistics import LEVEL, tango_interval

RATES = "score test of two independent rates, ties as half, Newcombe's interval"
MEANS = "normal, the published result's standard error taken to be ours"


@dataclass(frozen=True)
class Difference:
    """Measured less published.

    Attributes:
        value: the difference.
        low: lower end of its interval.
        high: upper end.
        p: two-sided, of no difference; from 0 to 1.
        method: the names of interval and test.
    """

    value: float
    low: float
    high: float
    p: float
    method: str


def rates_differ(
    rate: float, untied: float, n: int, published: float, published_n: int, *, level: float = LEVEL
) -> Difference:
    """Return a half-tie win rate less a published one, each of its own pairs, with interval and p-value.

    A score test: both variances are those under the common rate r that all pairs together give, a pair's being
    untied / 4 - (r - 1/2)^2 here and r (1 - r) there, where no pair is known to tie. Without ties it is Pearson's. The
    interval is Newcombe's hybrid score (Statistics in Medicine 17, 1998, 873-890, method 10) of Tango's interval here
    and Wilson's there. They are taken for independent samples: where both are of the same prompts, whose outcomes go
    together, the test is conservative.

    Args:
        rate: the half-tie win rate here, from 0 to 1.
        untied: the mean square of the outcomes 1, 0 and -1 here: the share of pairs that do not tie.
        n: pairs here, at least 1.
        published: the published rate, from 0 to 1.
        published_n: pairs it rests on, at least 1.
        level: nominal coverage.

    Returns:
        The difference from -1 to 1; above 0, more wins here.

    Raises:
        UserError: a number is no rate or number of pairs.

    Examples:
        >>> difference = rates_differ(0.5, 1.0, 120, published=0.56, published_n=500)
        >>> round(difference.value, 3), round(difference.p, 3)
        (-0.06, 0.236)
        >>> difference.low < 0 < difference.high
        True
        >>> rates_differ(0.0, 1.0, 50, published=0.0, published_n=100).p  # nothing varies
        1.0
    """
    from scipy.stats import norm
    from statsmodels.stats.proportion import proportion_confint

    outcome = 2 * rate - 1
    if not (n > 0 and published_n > 0 and 0 <= published <= 1 and abs(outcome) <= untied + 1e-9 <= 1 + 1e-8):
        raise UserError(
            f"{rate:g} of {n} pairs, {untied:g} of them untied, and {published:g} of {published_n} are not two rates",
            "give rates and a share of untied pairs from 0 to 1",
        )
    wins, losses = (max(n * (untied + sign * outcome) / 2, 0.0) for sign in (1, -1))
    low, high = (0.5 + end / 2 for end in tango_interval(wins, losses, n, level=level))
    their_low, their_high = proportion_confint(published * published_n, published_n, alpha=1 - level, method="wilson")
    common = (n * rate + published_n * published) / (n + published_n)
    variance = max(untied / 4 - (common - 0.5) ** 2, 0.0) / n + common * (1 - common) / published_n
    value = rate - published
    return Difference(
        value,
        value - float(np.hypot(rate - low, their_high - published)),
        value + float(np.hypot(high - rate, published - their_low)),
        2 * float(norm.sf(abs(value) / sqrt(variance))) if variance > 0 else 1.0,
        RATES,
    )


def means_differ(
    value: float, error: float, published: float, *, ratio: float = 1.0, reading: float = 0.0, level: float = LEVEL
) -> Difference:
    """Return a mean less a published one of which no spread is known: its sampling error is taken to be like ours.

    Args:
        value: measured here.
        error: our standard error, say of a bootstrap (`standard_error`).
        published: the published value.
        ratio: our number of images over theirs; the published variance is ours times it.
        reading: half the width of what a value read off a plot may be, evenly spread; its variance is reading^2 / 3.
        level: nominal coverage.

    Raises:
        UserError: an error is negative or not finite, or both are nothing.

    Examples:
        >>> difference = means_differ(0.70, 0.01, published=0.68, ratio=1.0)
        >>> round(difference.value, 3), round(difference.low, 3), round(difference.high, 3), round(difference.p, 3)
        (0.02, -0.008, 0.048, 0.157)
        >>> means_differ(0.70, 0.01, published=0.68, reading=0.02).p > difference.p
        True
    """
    from scipy.stats import norm

    spread = sqrt(error**2 * (1 + ratio) + reading**2 / 3) if min(error, ratio, reading) >= 0 else float("nan")
    if not isfinite(spread) or not spread:
        raise UserError(f"a standard error of {error:g} tells no difference", "measure more images")
    difference, z = value - published, float(norm.ppf(0.5 + level / 2))
    p = 2 * float(norm.sf(abs(difference) / spread))
    return Difference(difference, difference - z * spread, difference + z * spread, p, MEANS)


def standard_error(low: float, high: float, *, level: float = LEVEL) -> float:
    """Return the standard error that an interval, were it normal, would come from.

    Args:
        low: lower end.
        high: upper end.
        level: the interval's coverage.

    Examples:
        >>> round(standard_error(0.402, 0.598), 4)
        0.05
    """
    from scipy.stats import norm

    return (high - low) / (2 * float(norm.ppf(0.5 + level / 2)))
