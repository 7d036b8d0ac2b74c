"""Comparison of several methods that make the same prompts' pictures. Pure functions of arrays.

A prompt's savings targets resemble one another, and so do its seeds: a result over savings targets is linear in the
scores, so each pair of seed and prompt has its own, and prompts and seeds are the clusters (`metrics.over_seeds`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from metrics.hypotheses import holm
from metrics.over_seeds import FEW_ROOTS, mean_p
from metrics.statistics import LEVEL, Floats

FLIPS = 9999
CHUNK = 1000  # sign flips at once, which bounds memory


def curve_weights(savings: ArrayLike) -> Floats:
    """Return the weight of each savings target in the mean height of a curve over them: the trapezoid rule's, sum 1.

    Args:
        savings: [L], ascending and different.

    Raises:
        UserError: they are not, or there are none.

    Examples:
        >>> curve_weights([0.25, 0.5, 0.75])
        array([0.25, 0.5 , 0.25])
        >>> curve_weights([0.0, 0.25, 1.0])
        array([0.125, 0.5  , 0.375])
        >>> curve_weights([0.4])
        array([1.])
    """
    x = np.asarray(savings, dtype=np.float64)
    steps = np.diff(x)
    if x.ndim != 1 or not len(x) or not (steps > 0).all():
        raise UserError("savings targets are not ascending", "give each once, the lowest first")
    return np.asarray((np.append(steps, 0) + np.append(0, steps)) / (2 * (x[-1] - x[0])) if len(x) > 1 else np.ones(1))


def areas(values: ArrayLike, savings: ArrayLike) -> Floats:
    """Return the area under each pair's curve over the savings targets, divided by their range.

    Args:
        values: [..., L, S, N] for L savings targets, S seeds and N prompts.
        savings: [L], from 0 to 1.

    Returns:
        [..., S, N], in the values' own unit.

    Raises:
        UserError: as in `curve_weights`, or the savings targets are not as many.

    Examples:
        Two savings targets, one seed, three prompts:

        >>> areas([[[1.0, 0.5, 0.0]], [[0.0, 0.5, 0.5]]], [0.25, 0.75])
        array([[0.5 , 0.5 , 0.25]])
    """
    values, weights = np.asarray(values, dtype=np.float64), curve_weights(savings)
    if values.ndim < 3 or values.shape[-3] != len(weights):
        raise UserError(
            f"values have shape {values.shape}, there are {len(weights)} savings targets", "give [..., L, S, N]"
        )
    return np.asarray(np.einsum("...lsn,l->...sn", values, weights))


def sign_flip_p(values: ArrayLike, *, seed: int = 0) -> Floats:
    """Return two-sided p-values of mean 0: how often the mean is as far from 0 when each prompt's sign is drawn anew.

    Fisher's randomisation test: of two methods that do the same, a prompt's difference is as likely to be turned
    around. It assumes no distribution. All rows see the same draws, so that equal rows have equal p-values.

    Args:
        values: [..., N], each prompt's difference.
        seed: of the drawing.

    Returns:
        [...], from 1 / (1 + `FLIPS`) to 1: the observed signs count as one of the draws.

    Examples:
        >>> bool(sign_flip_p([0.5, 0.4, 0.6, 0.3, 0.5, 0.2, 0.4, 0.5, 0.3, 0.6]) < 0.01)  # 2 of 1024 are as far
        True
        >>> sign_flip_p([[3.0, -1.0], [0.0, 0.0]])
        array([1., 1.])
    """
    values = np.asarray(values, dtype=np.float64)
    rows = values.reshape(-1, values.shape[-1])
    observed, rng = np.abs(rows.sum(axis=1)), np.random.default_rng(seed)
    # sums of the same numbers in another order differ in the last bits, and must count as equally far
    slack = 1e-9 * np.abs(rows).sum(axis=1)
    as_far = np.ones(len(rows))
    for start in range(0, FLIPS, CHUNK):
        signs = 2.0 * rng.integers(2, size=(min(CHUNK, FLIPS - start), rows.shape[1]), dtype=np.int8) - 1
        as_far += (np.abs(signs @ rows.T) >= observed - slack).sum(axis=0)
    return np.asarray((as_far / (1 + FLIPS)).reshape(values.shape[:-1]))


def beats(
    values: ArrayLike, roots: int | None = None, *, seed: int = 0, level: float = LEVEL
) -> tuple[NDArray[np.bool_], Floats]:
    """Return the pairs of which the first method is better for sure, and all pairs' p-values by Holm's method.

    One false claim or more among them all has probability 1 - level at most. One seed's differences are tested by sign
    flips, several seeds' by the two-way clustered t (`metrics.over_seeds.mean_p`). One seed whose prompts start from
    fewer than `FEW_ROOTS` draws of noise tells no methods apart: the draw may favour either on all prompts.

    Args:
        values: [M, S, N], each method's result for each seed and prompt; more is better.
        roots: the number of independent draws of noise that a seed's prompts start from; None: of many.
        seed: of the sign flips.
        level: 1 less the tolerated probability of a false claim.

    Returns:
        bool [M, M], true where row beats column; and the adjusted p-values [M, M], symmetric, 1 on the diagonal.

    Examples:
        >>> prompts = np.arange(20)[None] / 20
        >>> better, p = beats([prompts + 1, prompts, prompts])
        >>> better
        array([[False,  True,  True],
               [False, False, False],
               [False, False, False]])
        >>> bool(p[0, 1] < 0.05), float(p[1, 2])
        (True, 1.0)
        >>> bool(beats([prompts + 1, prompts], roots=1)[0].any())
        False
    """
    values = np.asarray(values, dtype=np.float64)
    first, second = np.triu_indices(len(values), k=1)
    differences = values[first] - values[second]
    p = np.ones((len(values), len(values)))
    if values.shape[1] > 1:
        raw = [mean_p(table, roots) for table in differences]
    elif roots is not None and roots < FEW_ROOTS:
        raw = [1.0] * len(first)
    else:
        raw = [float(one) for one in sign_flip_p(differences[:, 0], seed=seed)] if len(first) else []
    p[first, second] = p[second, first] = holm(raw)
    means = values.mean(axis=(1, 2))
    return np.asarray((p < 1 - level) & (means[:, None] > means[None, :])), p


def rank_ranges(better: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the ranks that each method may have: from one below all that beat it to one above all that it beats.

    Where the claims in `better` all hold, so do all these ranges (Mogstad, Romano, Shaikh and Wilhelm, Review of
    Economic Studies 91, 2024).

    Args:
        better: bool [M, M], true where row beats column, by `beats`.

    Returns:
        Of each method the best and the worst rank, from 1 to M; 1 is best.

    Examples:
        >>> rank_ranges(np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]], dtype=bool))
        [(1, 1), (2, 3), (2, 3)]
    """
    above, below = better.sum(axis=0), better.sum(axis=1)
    return [(1 + int(up), len(better) - int(down)) for up, down in zip(above, below, strict=True)]


def rank_text(ranks: Sequence[int]) -> str:
    """Return ``2``, or ``2-4`` where the rank is not certain.

    Examples:
        >>> rank_text((2, 2)), rank_text((2, 4))
        ('2', '2-4')
    """
    return f"{ranks[0]}" if ranks[0] == ranks[-1] else f"{ranks[0]}-{ranks[-1]}"
