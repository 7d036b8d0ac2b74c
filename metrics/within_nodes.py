"""Distance of prompts from the mean that they are denoised by: what a sharing plan gives up, before any picture."""

import numpy as np
from numpy.typing import NDArray

COLUMNS = 32  # features at a time: sums over all rows are kept for so many


def mean_within_node_distance(
    features: NDArray[np.floating], order: NDArray[np.int64], spans: NDArray[np.int64], steps: NDArray[np.int64]
) -> float:
    """Return the mean cosine distance between a prompt and the mean direction of the node that it is denoised in.

    It is taken over all prompts and steps, those in which a prompt is alone (distance 0) included. For unit rows x with
    mean m of a node, the mean of 1 - x.m/|m| is 1 - |m|: no pair is looked at, and of a million prompts only sums are
    kept.

    Args:
        features: [N, D], a memory map perhaps; rows of any length but 0.
        order: int64 [L]; prompts, in runs.
        spans: int64 [n, 2]; node i serves ``order[spans[i, 0]:spans[i, 1]]``.
        steps: int64 [n]; the number of steps over which each node is denoised.

    Returns:
        From 0 to 1; lower is nearer to the baseline.

    Examples:
        Of ten steps, two orthogonal prompts share the first five: 1 - 1 / sqrt(2) for half of the time.

        >>> distance = mean_within_node_distance(
        ...     np.eye(2), order=np.array([0, 1]), spans=np.array([[0, 2], [0, 1], [1, 2]]), steps=np.array([5, 5, 5])
        ... )
        >>> round(distance, 4)
        0.1464
    """
    lo, hi = spans.T
    squares = np.zeros(len(spans))
    norms = np.sqrt(_sums(features))
    for start in range(0, features.shape[1], COLUMNS):
        columns = np.asarray(features[:, start : start + COLUMNS], dtype=np.float64) / norms[:, None]
        sums = np.zeros((len(order) + 1, columns.shape[1]))
        np.cumsum(columns[order], axis=0, out=sums[1:])
        squares += ((sums[hi] - sums[lo]) ** 2).sum(axis=1)
    size = hi - lo
    within = steps * (size - np.sqrt(squares))  # a node's size times 1 - |m|
    return float(within[size > 1].sum() / (steps * size).sum())


def _sums(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return each row's sum of squares, float64 [N], without a float64 copy of all features."""
    squares = np.zeros(len(features))
    for start in range(0, features.shape[1], COLUMNS):
        squares += (np.asarray(features[:, start : start + COLUMNS], dtype=np.float64) ** 2).sum(axis=1)
    return squares
