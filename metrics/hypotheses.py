"""Tests of claims about a win rate: non-inferiority to the baseline, a difference from it, several claims at once."""

from collections.abc import Sequence
from math import inf

import numpy as np
from numpy.typing import ArrayLike

from common.errors import UserError
from metrics.statistics import Floats, constrained_loss_rate


def noninferiority_p(wins: ArrayLike, losses: ArrayLike, n: ArrayLike, delta: float, degrees: float = inf) -> Floats:
    """Return non-inferiority p-values: one-sided, of "the half-tie win rate is above 1/2 - delta", element by element.

    Tango's score test (Statistics in Medicine 17, 1998, 891-908) of p_win - p_loss > -2 delta. It is the test whose
    interval is `tango_interval`: p < 0.025 exactly where the rate's 95% interval lies above 1/2 - delta.

    Args:
        wins: pairs in which ours scores higher, any shape; they need not be whole.
        losses: pairs in which the baseline scores higher, broadcast against `wins`.
        n: all pairs, ties among them, likewise.
        delta: the margin, how far below 1/2 is tolerated, from 0 to below 1/2.
        degrees: of freedom, where the number of pairs is itself estimated, as over several seeds.

    Returns:
        From 0 to 1, lower speaks more for non-inferiority.

    Raises:
        UserError: delta is not such a share, or there are more wins and losses than pairs.

    Examples:
        >>> noninferiority_p([50, 45, 60], [50, 55, 40], 100, delta=0.05).round(4)
        array([0.1574, 0.5   , 0.0013])
        >>> round(float(noninferiority_p(500, 500, 1000, delta=0.05)), 4)  # the same rate, ten times the pairs
        0.0007
        >>> float(noninferiority_p(0, 0, 100, delta=0.0))  # ties alone, no margin
        0.5
    """
    from scipy.stats import t

    if not 0 <= delta < 0.5:
        raise UserError(f"delta is {delta:g}", "give a share from 0 to below 0.5: 0.05 is 5 points")
    wins, losses, n = (np.asarray(counts, dtype=np.float64) for counts in (wins, losses, n))
    if not ((wins >= 0) & (losses >= 0) & (wins + losses <= n) & (n > 0)).all():
        raise UserError("wins and losses are not counts among the pairs", "give wins + losses of at most n")
    null = -2 * delta
    variance = n * (2 * constrained_loss_rate(wins, losses, n, null) + null * (1 - null))
    excess = wins - losses - n * null
    # without wins, losses and margin the statistic is 0/0, and nothing speaks for either side
    statistic = np.divide(excess, np.sqrt(variance), out=np.zeros_like(excess), where=variance > 0)
    return np.asarray(t.sf(statistic, degrees))


def sign_test_p(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the exact sign test, of "wins and losses are equally likely".

    Exact, because untied pairs are often few, where a normal approximation is wrong. Ties say nothing of the question
    and are left out; without untied pairs it is 1.

    Args:
        wins: pairs in which ours scores higher.
        losses: pairs in which the baseline scores higher.

    Returns:
        From 0 to 1, lower speaks more for a difference.

    Examples:
        >>> sign_test_p(5, 0)  # 2 / 2 ** 5
        0.0625
        >>> sign_test_p(3, 3), sign_test_p(0, 0)
        (1.0, 1.0)
        >>> round(sign_test_p(30, 15), 4)
        0.0357
    """
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for being several, in their order, each from 0 to 1.

    Holm, Scandinavian Journal of Statistics 6 (1979) 65-70. Rejecting where the adjusted one is below alpha makes one
    false claim or more with probability alpha at most, however the claims depend on one another (taus of one sweep
    depend strongly).

    Examples:
        >>> holm([0.01, 0.04, 0.02])
        [0.03, 0.04, 0.04]
        >>> holm([0.5, 0.9]), holm([])
        ([1.0, 1.0], [])
    """
    # statsmodels' multipletests collects garbage at every call: half a second each where torch is loaded
    raw = np.asarray(p, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    ranked = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(ranked, 1.0)
    return [float(value) for value in adjusted]
