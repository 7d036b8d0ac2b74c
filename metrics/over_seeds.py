"""Several seeds of the same prompts: pooled figures whose intervals know that a prompt's seeds resemble one another.

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
    """Mean paired difference over S seeds of N prompts, with its cluster bootstrap interval.

    Args:
        differences: ours - standard, [S, N].
        seed: of the resampling.
        level: nominal coverage.

    Raises:
        UserError: there is no pair, or a difference is not finite.
    """
    values = _by_seed(differences)
    found = bootstrap_mean(values.mean(axis=0), seed=seed, level=level)
    method = found.method.replace("bootstrap", "cluster bootstrap over prompts")
    return replace(found, n=values.size, method=method)


def pooled_win_rate(outcomes: ArrayLike, *, seed: int = 0, level: float = LEVEL) -> Estimate:
    """Half-tie win rate over S seeds of N prompts, with its cluster bootstrap interval.

    Where all prompts fare alike, say all tie, there is nothing to resample and no interval: few pairs that tie do not
    show that all would.

    Args:
        outcomes: [S, N], 1 where ours scores higher, -1 where lower, 0 for a tie.
        seed: of the resampling.
        level: nominal coverage.

    Raises:
        UserError: there is no pair, or an outcome is none of these.
    """
    values = _by_seed(outcomes)
    if not np.isin(values, (-1, 0, 1)).all():
        raise UserError("an outcome is none of 1, 0 and -1", "give 1 for a win, 0 for a tie, -1 for a loss")
    found = pooled_difference(0.5 + values / 2, seed=seed, level=level)
    if found.low == found.high:
        return replace(found, low=None, high=None, method="all prompts fare alike")
    return found


def _by_seed(values: ArrayLike) -> Floats:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise UserError(f"values over seeds have shape {values.shape}", "give one row a seed, one column a prompt")
    return values
