"""Measured results against published ones, where both err by chance. Pure functions of numbers."""

from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np

from common.errors import UserError
from metrics.statistics import LEVEL

RATES = "score test of two independent proportions, Newcombe's interval"
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


def rates_differ(wins: int, n: int, published: float, published_n: int, *, level: float = LEVEL) -> Difference:
    """Return a win rate less a published one, each a share of its own pairs, with interval and p-value.

    Pearson's score test with pooled variance; the interval is Newcombe's hybrid score (Statistics in Medicine 17,
    1998, 873-890, method 10), which stays within -1 and 1. They are taken for independent samples: where both are of
    the same prompts, whose outcomes go together, the test is conservative.

    Args:
        wins: pairs that won here.
        n: pairs here, at least 1.
        published: the published rate, from 0 to 1; its count is the nearest whole one.
        published_n: pairs it rests on, at least 1.
        level: nominal coverage.

    Returns:
        The difference from -1 to 1; above 0, more wins here.

    Raises:
        UserError: a number is no count or rate of these.

    Examples:
        >>> difference = rates_differ(60, 120, published=0.56, published_n=500)
        >>> round(difference.value, 3), round(difference.p, 3)
        (-0.06, 0.236)
        >>> difference.low < 0 < difference.high
        True
        >>> rates_differ(0, 50, published=0.0, published_n=100).p  # nothing varies
        1.0
    """
    from statsmodels.stats.proportion import confint_proportions_2indep, test_proportions_2indep

    if not (n > 0 and published_n > 0 and 0 <= wins <= n and 0 <= published <= 1):
        raise UserError(
            f"{wins} of {n} and {published:g} of {published_n} are not two rates", "give wins among pairs, and a share"
        )
    theirs = round(published * published_n)
    counts = (wins, n, theirs, published_n)
    with np.errstate(divide="ignore", invalid="ignore"):  # of the ratios that statsmodels computes besides
        low, high = confint_proportions_2indep(*counts, method="newcomb", compare="diff", alpha=1 - level)
        if wins + theirs in (0, n + published_n):  # nothing varies, and the statistic would be 0/0
            p = 1.0
        else:
            p = test_proportions_2indep(*counts, method="score", compare="diff", correction=False).pvalue
    return Difference(wins / n - theirs / published_n, float(low), float(high), float(p), RATES)


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
