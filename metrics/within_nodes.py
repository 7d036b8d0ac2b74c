"""How far from their cluster's mean prompts are denoised: what a sharing plan gives up, before any picture is made."""

import numpy as np
from numpy.typing import NDArray

COLUMNS = 32  # features at a time: sums over all rows are kept for so many


def mean_within_node_distance(
    features: NDArray[np.floating], order: NDArray[np.int64], spans: NDArray[np.int64], steps: NDArray[np.int64]
) -> float:
    """Mean cosine distance between a prompt and the mean direction of the node that it is denoised in.

    Over all prompts and steps, alone denoised ones (distance 0) included. For unit rows x with mean m of a node, the
    mean of 1 - x.m/|m| is 1 - |m|: no pair is looked at, and of a million prompts only sums are kept.

    Args:
        features: [N, D], a memory map perhaps; rows of any length but 0.
        order: int64 [L]; prompts, in runs.
        spans: int64 [n, 2]; node i serves ``order[spans[i, 0]:spans[i, 1]]``.
        steps: int64 [n]; over how many steps each node is denoised.

    Returns:
        Between 0 and 1.
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
    within = steps * (size - np.sqrt(squares))
    return float(within[size > 1].sum() / (steps * size).sum())


def _sums(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """float64 [N]: each row's sum of squares."""
    found = np.zeros(len(features))
    for start in range(0, features.shape[1], COLUMNS):
        found += (np.asarray(features[:, start : start + COLUMNS], dtype=np.float64) ** 2).sum(axis=1)
    return found
