"""Distances between prompts, condensed as SciPy's are."""

import numpy as np
from numpy.typing import NDArray


def cosine_distances(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return condensed cosine distances, float64 [N (N-1) / 2], of the rows of float64 [N, D].

    SciPy's, which are never negative, without their rounding noise between equal rows: these are exactly 0 apart.

    Examples:
        >>> cosine_distances(np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]])).tolist()
        [1.0, 0.0, 1.0]
    """
    from scipy.spatial.distance import pdist

    distances: NDArray[np.float64] = pdist(features, "cosine")
    distances[equal_pairs(features)] = 0.0
    return distances


def equal_pairs(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return int64: the places of the pairs of equal rows among the condensed distances of the rows of float64 [N, D].

    Examples:
        >>> equal_pairs(np.array([[1.0], [2.0], [1.0]])).tolist()
        [1]
    """
    n = len(rows)
    _, kind, copies = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    together = np.split(np.argsort(kind.ravel(), kind="stable"), np.cumsum(copies)[:-1])
    places = [np.empty(0, dtype=np.int64)]
    for equals in together:
        if len(equals) > 1:
            low, high = (equals[side] for side in np.triu_indices(len(equals), 1))
            places.append(n * low - low * (low + 1) // 2 + high - low - 1)
    return np.concatenate(places)
