"""Tests of what a win rate claims: no worse than standard, different from it, and several claims at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from common.errors import UserError
from metrics.statistics import Floats, constrained_loss_rate


def noninferiority_p(wins: ArrayLike, losses: ArrayLike, n: ArrayLike, delta: float) -> Floats:
    """One-sided p-value of "the half-tie win rate is above 1/2 - delta", element by element.

    Tango's score test (Statistics in Medicine 17, 1998, 891-908) of p_win - p_loss > -2 delta. It is the test whose
    interval is `tango_interval`: p < 0.025 exactly where the rate's 95% interval lies above 1/2 - delta.

    Args:
        wins: pairs in which ours scores higher.
        losses: pairs in which standard scores higher.
        n: pairs, ties among them.
        delta: how far below 1/2 is tolerated, from 0 to below 1/2.

    Raises:
        UserError: delta is not such a share, or there are more wins and losses than pairs.
    """
    from scipy.stats import norm

    if not 0 <= delta < 0.5:
        raise UserError(f"delta is {delta:g}", "give a share from 0 to below 0.5: 0.05 is 5 points")
    wins, losses, n = (np.asarray(each, dtype=np.float64) for each in (wins, losses, n))
    if not ((wins >= 0) & (losses >= 0) & (wins + losses <= n) & (n > 0)).all():
        raise UserError("wins and losses are not counts among the pairs", "give wins + losses of at most n")
    null = -2 * delta
    variance = n * (2 * constrained_loss_rate(wins, losses, n, null) + null * (1 - null))
    excess = wins - losses - n * null
    # without wins, losses and tolerance the statistic is 0/0, and nothing speaks for either side
    statistic = np.divide(excess, np.sqrt(variance), out=np.zeros_like(excess), where=variance > 0)
    return np.asarray(norm.sf(statistic))


def sign_test_p(wins: int, losses: int) -> float:
    """Two-sided p-value of the exact sign test: are wins and losses equally likely? Ties say nothing of that."""
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted for being several (Holm, Scandinavian Journal of Statistics 6, 1979, 65-70), in their order.

    Rejecting where the adjusted one is below alpha makes one false claim or more with probability alpha at most,
    however the claims depend on one another. Not by statsmodels' `multipletests`: that collects garbage at every call,
    half a second each where torch is loaded.
    """
    found = np.asarray(p, dtype=np.float64)
    order = np.argsort(found, kind="stable")
    ranked = np.maximum.accumulate(found[order] * np.arange(len(found), 0, -1))
    adjusted = np.empty_like(found)
    adjusted[order] = np.minimum(ranked, 1.0)
    return [float(each) for each in adjusted]
