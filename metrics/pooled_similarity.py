"""Similarity of a set's pictures over several seeds and prompt sets: one result with one interval."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from metrics.statistics import LEVEL, PAPER_IMAGES, Estimate, resamples, similarities, similarity_estimate, unit_rows


def pooled_similarity(
    sets: Sequence[Sequence[ArrayLike]], *, n: int | None = PAPER_IMAGES, seed: int = 0, level: float = LEVEL
) -> Estimate:
    """Return the mean over prompt sets and seeds of `metrics.statistics.pairwise_similarity`; lower is more diverse.

    The interval is the percentile bootstrap over prompts: a resample draws each set's prompts, with all their seeds.
    For one set and one seed it is that function's.

    Args:
        sets: of each prompt set, of each seed, one row an image [N, D], prompts in the same order.
        n: the number of images to draw of each set; None, or n >= N, takes all.
        seed: of the drawing and the resampling.
        level: nominal coverage.

    Returns:
        From -1 to 1; `n` is the number of images, of all sets and seeds.

    Raises:
        UserError: fewer than two images of a set, or a row that is not finite or has no length.

    Examples:
        One prompt set of three prompts and two seeds: in the second seed two of the pictures are the same.

        >>> pooled = pooled_similarity([[np.eye(3), [[1, 0, 0], [1, 0, 0], [0, 0, 1]]]])
        >>> round(pooled.value, 4), pooled.n
        (0.1667, 6)
    """
    of_sets, prompts, images = [], 0, 0
    for i, seeds in enumerate(sets):
        chosen, weights = resamples(len(np.asarray(seeds[0])), n, seed + i)  # sets are resampled independently
        of_sets.append(np.mean([similarities(unit_rows(rows)[chosen], weights) for rows in seeds], axis=0))
        prompts, images = prompts + len(chosen), images + len(chosen) * len(seeds)
    estimate = similarity_estimate(np.mean(of_sets, axis=0), prompts, level)
    return Estimate(estimate.value, estimate.low, estimate.high, images, estimate.method, level)


def pooled_similarity_difference(
    baseline: Sequence[ArrayLike], ours: Sequence[ArrayLike], *, n: int | None = PAPER_IMAGES, seed: int = 0
) -> Estimate:
    """Return `pooled_similarity` of the baseline less that of ours, of one prompt set; above 0, ours is more diverse.

    Both have the same draws and resamples, as in `metrics.statistics.compare_similarity`; for one seed it is that one's
    difference.

    Args:
        baseline: of each seed, one row an image [N, D], prompts in the same order.
        ours: likewise, of the same seeds and prompts.
        n: as in `pooled_similarity`.
        seed: likewise.

    Raises:
        UserError: as in `pooled_similarity`.

    Examples:
        >>> apart, alike = [np.eye(3)] * 2, [[[1, 0, 0], [1, 0, 0], [0, 0, 1]]] * 2
        >>> round(pooled_similarity_difference(apart, alike).value, 4)
        -0.3333
    """
    chosen, weights = resamples(len(np.asarray(ours[0])), n, seed)
    before, after = (
        np.mean([similarities(unit_rows(rows)[chosen], weights) for rows in seeds], axis=0)
        for seeds in (baseline, ours)
    )
    estimate = similarity_estimate(before - after, len(chosen), LEVEL)
    return Estimate(estimate.value, estimate.low, estimate.high, len(chosen) * len(ours), estimate.method, LEVEL)
