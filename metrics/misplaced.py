"""Pictures that show another prompt of their set: they fit it better than their own. Pure functions of embeddings."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from metrics.statistics import Floats, unit_rows

EQUAL = 1e-6  # leads below it are rounding: of captions that are equal, or that the encoder cut to the same
BLOCK = 1024  # rows of similarities held at once
RESAMPLES = 1_999


class Rivals(NamedTuple):
    """For each picture, the prompt of the set, other than its own, that it fits best.

    Attributes:
        lead: how much better it fits that one than its own; above 0 it is misplaced [N].
        prompt: the row of that prompt [N].
    """

    lead: Floats
    prompt: NDArray[np.int64]


def rivals(pictures: ArrayLike, prompts: ArrayLike) -> Rivals:
    """Return which other prompt each picture fits best, and its lead in cosine similarity over the picture's own.

    Args:
        pictures: embeddings [N, D]; normalised here.
        prompts: of the prompts of those pictures, by the same encoder [N, D].

    Raises:
        UserError: there are fewer than two, their numbers differ, or a row is not finite or has no length.

    Examples:
        >>> found = rivals([[1, 0], [1, 0.1], [-0.1, 1]], prompts=[[1, 0], [0, 1], [-0.1, 1]])
        >>> (found.lead > 0).tolist(), found.prompt.tolist()  # the second picture shows the first prompt
        ([False, True, False], [1, 0, 1])
    """
    shown, asked = unit_rows(pictures), unit_rows(prompts)
    if shown.shape != asked.shape or len(shown) < 2:
        raise UserError(f"{len(shown)} pictures are held against {len(asked)} prompts", "give each picture a prompt")
    lead, prompt = np.empty(len(shown)), np.empty(len(shown), dtype=np.int64)
    for start in range(0, len(shown), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(shown)))
        fit = shown[rows] @ asked.T
        own = fit[rows - start, rows].copy()
        fit[rows - start, rows] = -np.inf
        prompt[rows] = fit.argmax(axis=1)
        lead[rows] = fit.max(axis=1) - own
    return Rivals(np.where(np.abs(lead) < EQUAL, 0.0, lead), prompt)


def misplaced_p(baseline: ArrayLike, ours: ArrayLike, *, seed: int = 0) -> float:
    """Return the one-sided p-value of "ours are misplaced no more, and no further, than the baseline's".

    The permutation test of the sum of leads above 0: were sharing harmless, a prompt's two pictures could as well be
    each other's, so that exchanging them changes nothing (exact for few pairs, else 1,999 draws). All seeds of a prompt
    are exchanged together, as they resemble one another.

    Args:
        baseline: leads of the baseline's pictures, as from `rivals` [N], or [S, N] of S seeds.
        ours: of ours, same prompts.
        seed: of the draws.

    Raises:
        UserError: the numbers of pictures differ.

    Examples:
        >>> sound = [-0.2] * 40
        >>> misplaced_p(sound, [0.3] * 6 + [-0.2] * 34)
        0.015625
        >>> misplaced_p(sound, sound)
        1.0
    """
    from scipy.stats import permutation_test

    before, after = (np.maximum(np.atleast_2d(np.asarray(leads, dtype=np.float64)), 0) for leads in (baseline, ours))
    if before.shape != after.shape:
        raise UserError(
            f"{after.shape[1]} pictures are compared with {before.shape[1]}", "give both of the same prompts"
        )
    differs = (before != after).any(axis=0)
    if not differs.any():
        return 1.0
    further = np.append((after - before)[:, differs].sum(axis=0), 0.0)  # scipy takes no single pair; 0 changes nothing
    # a pair is exchanged by turning the sign of its difference
    tested = permutation_test(
        (further, -further),
        lambda first, _, axis: first.sum(axis=axis),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return float(tested.pvalue)


def outranked(pictures: ArrayLike, prompts: ArrayLike, owners: ArrayLike) -> Floats:
    """Return for each picture the share of other prompts that it fits better than its own, from 0 to 1.

    Args:
        pictures: embeddings [N, D]; normalised here.
        prompts: of M different prompts, at least two, by the same encoder [M, D].
        owners: the row of each picture's own prompt [N].

    Raises:
        UserError: there are fewer than two prompts, or a row is not finite or has no length.

    Examples:
        >>> outranked([[1, 0], [0, 1], [0.5, 1]], prompts=[[1, 0], [0, 1], [-1, 1]], owners=[0, 0, 1]).tolist()
        [0.0, 1.0, 0.0]
    """
    shown, asked, own = unit_rows(pictures), unit_rows(prompts), np.asarray(owners, dtype=np.int64)
    if len(asked) < 2:
        raise UserError("pictures are held against one prompt", "give several")
    shares = np.empty(len(shown))
    for start in range(0, len(shown), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(shown)))
        fit = shown[rows] @ asked.T
        shares[rows] = (fit > fit[rows - start, own[rows]][:, None] + EQUAL).sum(axis=1) / (len(asked) - 1)
    return shares
