"""Several seeds of the same prompts: pooled results whose intervals know that a prompt's seeds resemble one another.

Prompts are the clusters of a cluster bootstrap (Davison and Hinkley, Bootstrap Methods and their Application, 1997,
section 3.8): a resample draws prompts, each with all its seeds. As every prompt has equally many, the mean over pairs
is the mean over prompts of each prompt's mean, and resampling prompts is resampling those N means.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from common.errors import UserError
from metrics.statistics import LEVEL, Estimate, Floats, bootstrap_mean


def pooled_difference(differences: ArrayLike, *, seed: int = 0, level: float = LEVEL) -> Estimate:
    """Return the mean paired difference over S seeds of N prompts, with its cluster bootstrap interval.

    Args:
        differences: ours - baseline, [S, N]; above 0, ours is better.
        seed: of the resampling.
        level: nominal coverage.

    Returns:
        `n` is the number of pairs, S N.

    Raises:
        UserError: there is no pair, or a difference is not finite.

    Examples:
        Seeds that repeat one another show nothing new: three of them have the interval of one.

        >>> once = pooled_difference([[0.5, 0.25, -0.25, 0.0]])
        >>> thrice = pooled_difference([[0.5, 0.25, -0.25, 0.0]] * 3)
        >>> once.value, once.n, thrice.value, thrice.n
        (0.125, 4, 0.125, 12)
        >>> (once.low, once.high) == (thrice.low, thrice.high)
        True
        >>> thrice.method
        'BCa cluster bootstrap over prompts'
    """
    values = _by_seed(differences)
    estimate = bootstrap_mean(values.mean(axis=0), seed=seed, level=level)
    method = estimate.method.replace("bootstrap", "cluster bootstrap over prompts")
    return replace(estimate, n=values.size, method=method)


def pooled_win_rate(outcomes: ArrayLike, *, seed: int = 0, level: float = LEVEL) -> Estimate:
    """Return the half-tie win rate over S seeds of N prompts, with its cluster bootstrap interval; higher is better.

    Where all prompts fare equally, say all tie, there is nothing to resample and no interval: few pairs that tie do not
    show that all would.

    Args:
        outcomes: [S, N], 1 where ours scores higher, -1 where lower, 0 for a tie.
        seed: of the resampling.
        level: nominal coverage.

    Returns:
        From 0 to 1; `n` is the number of pairs, S N.

    Raises:
        UserError: there is no pair, or an outcome is none of these.

    Examples:
        >>> rate = pooled_win_rate([[1, 1, 0, -1], [1, 0, 0, -1]])
        >>> rate.value, rate.n
        (0.5625, 8)
        >>> pooled_win_rate([[0, 0, 0]])
        Estimate(value=0.5, low=None, high=None, n=3, method='all prompts fare equally', level=0.95)
    """
    values = _by_seed(outcomes)
    if not np.isin(values, (-1, 0, 1)).all():
        raise UserError("an outcome is none of 1, 0 and -1", "give 1 for a win, 0 for a tie, -1 for a loss")
    estimate = pooled_difference(0.5 + values / 2, seed=seed, level=level)
    if estimate.low == estimate.high:
        return replace(estimate, low=None, high=None, method="all prompts fare equally")
    return estimate


def _by_seed(values: ArrayLike) -> Floats:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise UserError(f"values over seeds have shape {values.shape}", "give one row a seed, one column a prompt")
    return values
