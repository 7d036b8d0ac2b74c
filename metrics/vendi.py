"""Diversity of a set by the Vendi score, and what of it prompts do not explain. Pure functions of arrays."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from metrics.statistics import LEVEL, Estimate, Floats, unit_rows

METHOD = "jackknife of 20 groups"
GROUPS = 20


@dataclass(frozen=True)
class VendiComparison:
    """Vendi scores of two sets of pictures of the same prompts.

    Attributes:
        baseline: of the baseline's pictures, from 1 to N; higher is more diverse.
        ours: of ours.
        ratio: ours / baseline; below 1, ours is less diverse.
    """

    baseline: float
    ours: float
    ratio: Estimate


def vendi(features: ArrayLike, given: ArrayLike | None = None) -> float:
    """Return the Vendi score of pictures, or, given their prompts, the Conditional-Vendi score; higher is more diverse.

    The Vendi score (Friedman and Dieng, arXiv 2210.02410) is exp(H(K / N)): K the matrix of cosine similarities, H the
    entropy of its eigenvalues. It is the effective number of different pictures. The Conditional-Vendi score (Jalali et
    al., arXiv 2411.02817) is exp(H(K * T / N) - H(T / N)), T the prompts' similarities and * the product element by
    element: the effective number of pictures that there is for one prompt.

    Args:
        features: embeddings of the pictures [N, D]; normalised here.
        given: embeddings of their prompts [N, D'], likewise; None: the Vendi score itself.

    Returns:
        From 1 to N.

    Raises:
        UserError: there is no row, the numbers of rows differ, or a row is not finite or has no length.

    Examples:
        >>> round(vendi([[1, 0], [1, 0], [0, 1], [0, 1]]), 12)  # two different pictures, twice each
        2.0
        >>> round(vendi([[1, 0], [1, 0], [0, 1], [0, 1]], given=[[1, 0], [1, 0], [0, 1], [0, 1]]), 12)  # one a prompt
        1.0
        >>> round(vendi([[1, 0], [0, 1], [1, 0], [0, 1]], given=[[1, 0], [1, 0], [0, 1], [0, 1]]), 12)  # two a prompt
        2.0
    """
    return float(np.exp(_entropy(*_kernels(features, given))))


def compare_vendi(
    baseline: ArrayLike, ours: ArrayLike, given: ArrayLike | None = None, *, seed: int = 0, level: float = LEVEL
) -> VendiComparison:
    """Return `vendi` of both sets, and their ratio.

    The interval is Student's t of the log ratio, with the error of the jackknife that leaves out one of 20 random
    groups of prompts at a time. Resampling would be wrong: a picture that is drawn twice makes a set less diverse. It
    says how far the ratio varies between sets of as many prompts, drawn as these were.

    Args:
        baseline: embeddings of the baseline's pictures [N, D]; normalised here.
        ours: embeddings of our pictures of the same prompts [N, D'].
        given: as in `vendi`.
        seed: of the groups.
        level: nominal coverage.

    Returns:
        The ratio has no interval for fewer than 40 prompts.

    Raises:
        UserError: the numbers of pictures differ, or as in `vendi`.

    Examples:
        >>> comparison = compare_vendi(np.eye(4), [[1, 0], [1, 0], [0, 1], [0, 1]])
        >>> round(comparison.baseline, 9), round(comparison.ours, 9), round(comparison.ratio.value, 9)
        (4.0, 2.0, 0.5)
    """
    before, after = _kernels(baseline, given), _kernels(ours, given)
    if len(before[0]) != len(after[0]):
        raise UserError(
            f"{len(after[0])} pictures are compared with {len(before[0])}", "give both sets of the same prompts"
        )

    def log_ratio(rows: NDArray[np.bool_]) -> float:
        # the prompts' own entropy is in both and cancels
        return _entropy(after[0][np.ix_(rows, rows)]) - _entropy(before[0][np.ix_(rows, rows)])

    return VendiComparison(
        float(np.exp(_entropy(*before))), float(np.exp(_entropy(*after))), _ratio(log_ratio, len(after[0]), seed, level)
    )


def _ratio(log_ratio: Callable[[NDArray[np.bool_]], float], n: int, seed: int, level: float) -> Estimate:
    """Return exp(log ratio) over all n prompts, with its interval."""
    from scipy.stats import t

    whole = log_ratio(np.ones(n, dtype=np.bool_))
    if n < 2 * GROUPS:
        return Estimate(float(np.exp(whole)), None, None, n, "too few for an interval", level)
    group = np.random.default_rng(seed).permutation(n) % GROUPS
    without = np.array([log_ratio(group != number) for number in range(GROUPS)])
    half = float(t.ppf(0.5 + level / 2, GROUPS - 1) * np.sqrt((GROUPS - 1) * without.var()))
    return Estimate(float(np.exp(whole)), float(np.exp(whole - half)), float(np.exp(whole + half)), n, METHOD, level)


def _kernels(features: ArrayLike, given: ArrayLike | None) -> tuple[Floats, ...]:
    """Return the pictures' similarities [N, N]; given prompts, their product with the prompts' own, and these."""
    pictures = _cosines(features)
    if given is None:
        return (pictures,)
    prompts = _cosines(given)
    if pictures.shape != prompts.shape:
        raise UserError(f"{len(pictures)} pictures have {len(prompts)} prompts", "give one prompt a picture")
    return pictures * prompts, prompts


def _entropy(kernel: Floats, less: Floats | None = None) -> float:
    """Return the entropy of a kernel's eigenvalues, less another's where one is given."""
    values = np.linalg.eigvalsh(kernel / len(kernel))
    values = values[values > 0]  # rounding leaves some below
    entropy = -float(values @ np.log(values))
    return entropy if less is None else entropy - _entropy(less)


def _cosines(features: ArrayLike) -> Floats:
    rows = unit_rows(features)
    return np.asarray(rows @ rows.T)
