"""Several ways to make the same prompts' pictures, held against one another. Pure functions of arrays.

A prompt's seeds and levels resemble one another: prompts are the clusters, and a prompt counts as one. A figure over
levels of savings is linear in the scores, so each prompt has its own, and the prompts are what is resampled.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from metrics.hypotheses import holm, noninferiority_p
from metrics.parity import effective_pairs, lower_bound
from metrics.statistics import LEVEL, Estimate, Floats

FLIPS = 9999
CHUNK = 1000
METHOD = "Tango score at the effective number of pairs"


def clustered_win_rate(outcomes: ArrayLike, *, level: float = LEVEL) -> Estimate:
    """Half-tie win rate over S seeds of N prompts, with Tango's interval at the effective number of pairs.

    With one seed it is the half-tie rate of `metrics.statistics.win_rate`; with several, `n` are all pairs, and the
    interval knows what they are worth (`metrics.parity.effective_pairs`).

    Args:
        outcomes: [S, N], 1 where the first scores higher, -1 where lower, 0 for a tie.
        level: nominal coverage.

    Raises:
        UserError: there is no pair, or an outcome is none of these.
    """
    values = _outcomes(outcomes)
    difference, untied, n = values.mean(), (values**2).mean(), effective_pairs(values[:, None, :])[0]
    low, high = lower_bound([difference, -difference], untied, n, level=level)
    return Estimate(0.5 + float(difference) / 2, float(low), 1 - float(high), values.size, METHOD, level)


def even_p(outcomes: ArrayLike) -> float:
    """Two-sided p-value of "neither wins more often": below 0.05 where the 95% `clustered_win_rate` leaves 1/2 out.

    Args:
        outcomes: [S, N], as in `clustered_win_rate`.

    Raises:
        UserError: as in `clustered_win_rate`.
    """
    values = _outcomes(outcomes)
    n = effective_pairs(values[:, None, :])[0]
    wins, losses = n * (values == 1).mean(), n * (values == -1).mean()
    n = max(n, wins + losses)  # without ties they are the same, but for rounding
    return min(1.0, 2 * float(noninferiority_p(max(wins, losses), min(wins, losses), n, 0.0)))


def curve_weights(savings: ArrayLike) -> Floats:
    """How much each level counts in the mean height of a curve over them: the trapezoid rule's weights, of sum 1.

    Args:
        savings: [L], ascending and different.

    Raises:
        UserError: they are not, or there are none.
    """
    x = np.asarray(savings, dtype=np.float64)
    steps = np.diff(x)
    if x.ndim != 1 or not len(x) or not (steps > 0).all():
        raise UserError("levels of savings are not ascending", "give each once, the lowest first")
    return np.asarray((np.append(steps, 0) + np.append(0, steps)) / (2 * (x[-1] - x[0])) if len(x) > 1 else np.ones(1))


def areas(values: ArrayLike, savings: ArrayLike) -> Floats:
    """Each prompt's area under its curve over the levels, divided by their range: [..., N].

    Args:
        values: [..., L, S, N] for L levels, S seeds and N prompts.
        savings: [L].

    Raises:
        UserError: as in `curve_weights`, or the levels are not as many.
    """
    values, weights = np.asarray(values, dtype=np.float64), curve_weights(savings)
    if values.ndim < 3 or values.shape[-3] != len(weights):
        raise UserError(f"values have shape {values.shape}, there are {len(weights)} levels", "give [..., L, S, N]")
    return np.asarray(np.einsum("...lsn,l->...n", values, weights) / values.shape[-2])


def sign_flip_p(values: ArrayLike, *, seed: int = 0) -> Floats:
    """Two-sided p-values of mean 0, [...]: how often the mean is as far from 0 where each prompt's sign is drawn anew.

    All rows see the same draws. Where two ways of making pictures are alike, a prompt's difference is as likely to be
    turned around (Fisher's randomisation test); of any row the least that can be found is 1 / (1 + FLIPS).

    Args:
        values: [..., N], each prompt's difference.
        seed: of the drawing.
    """
    values = np.asarray(values, dtype=np.float64)
    rows = values.reshape(-1, values.shape[-1])
    observed, rng = np.abs(rows.sum(axis=1)), np.random.default_rng(seed)
    slack = 1e-9 * np.abs(rows).sum(axis=1)
    as_far = np.ones(len(rows))
    for start in range(0, FLIPS, CHUNK):
        signs = 2.0 * rng.integers(2, size=(min(CHUNK, FLIPS - start), rows.shape[1]), dtype=np.int8) - 1
        as_far += (np.abs(signs @ rows.T) >= observed - slack).sum(axis=0)
    return np.asarray((as_far / (1 + FLIPS)).reshape(values.shape[:-1]))


def beats(values: ArrayLike, *, seed: int = 0, level: float = LEVEL) -> tuple[NDArray[np.bool_], Floats]:
    """Who is better than whom for sure: [C, C], and the p-values of all pairs, adjusted by Holm's method.

    One false claim or more among them all has probability 1 - level at most.

    Args:
        values: [C, N], each contestant's figure for each prompt; more is better.
        seed: of the sign flips.
        level: how sure.
    """
    values = np.asarray(values, dtype=np.float64)
    first, second = np.triu_indices(len(values), k=1)
    differences = values[first] - values[second]
    p = np.ones((len(values), len(values)))
    p[first, second] = p[second, first] = holm(list(sign_flip_p(differences, seed=seed))) if len(first) else ()
    means = values.mean(axis=1)
    return np.asarray((p < 1 - level) & (means[:, None] > means[None, :])), p


def rank_ranges(better: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The ranks that each contestant may have: one below all that beat it, up to one above all that it beats.

    Where the claims in `better` all hold, so do all these ranges (Mogstad, Romano, Shaikh and Wilhelm, Review of
    Economic Studies 91, 2024).

    Args:
        better: [C, C], who beats whom for sure, by `beats`.
    """
    above, below = better.sum(axis=0), better.sum(axis=1)
    return [(1 + int(up), len(better) - int(down)) for up, down in zip(above, below, strict=True)]


def rank_text(ranks: Sequence[int]) -> str:
    """``2``, or ``2-4`` where it is not sure which."""
    return f"{ranks[0]}" if ranks[0] == ranks[-1] else f"{ranks[0]}-{ranks[-1]}"


def _outcomes(outcomes: ArrayLike) -> Floats:
    values = np.asarray(outcomes, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise UserError(f"outcomes have shape {values.shape}", "give one row a seed, one column a prompt")
    if not np.isin(values, (-1, 0, 1)).all():
        raise UserError("an outcome is none of 1, 0 and -1", "give 1 for a win, 0 for a tie, -1 for a loss")
    return values
