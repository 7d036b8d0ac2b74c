"""Halves of halves."""

import numpy as np
from numpy.typing import NDArray

from generators.sharing.tree import Tree
from generators.strategies.base import Strategy
from generators.strategies.contents import by_distinct_content, unit


class BisectingKMeans(Strategy):
    """Bisecting k-means of the features at length 1: from the top, each part is halved by scikit-learn's 2-means.

    A part's height is Ward's for the merge of its two halves, so tau has ward-euclidean's units; where a half is higher
    than its whole, the whole is raised. Parts that cannot be halved (one direction) split into their prompts at once.
    """

    name = "bisecting-kmeans"
    complexity = "O(N D log N) where halves are even, O(N^2 D) at worst"
    memory = "O(N D)"
    pair_bytes = 0
    source = "Steinbach, Karypis and Kumar 2000; scikit-learn's KMeans"

    def tree(self, features: NDArray[np.floating], *, seed: int = 0) -> Tree:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # threads add up in any order, and small parts are slower on several
            return by_distinct_content(features, lambda rows, copies: _bisected(unit(rows), copies, seed))


def _bisected(rows: NDArray[np.float64], copies: NDArray[np.int64], seed: int) -> Tree:
    n, rng = len(rows), np.random.default_rng(seed)
    parent, score = [-1] * n, [0.0] * n
    waiting = [(np.arange(n), -1)]
    while waiting:
        part, above = waiting.pop()
        if len(part) == 1:
            parent[part[0]] = above
            continue
        left = _left(rows[part], copies[part], int(rng.integers(2**31)))
        halves = [part[left], part[~left]]
        split = left.any() and not left.all()
        waiting += [(piece, len(parent)) for piece in (halves if split else part.reshape(-1, 1))]
        parent.append(above)
        score.append(_ward_height(*((rows[half], copies[half]) for half in halves)) if split else 0.0)
    return Tree.from_parents(parent, score, n, repair="monotone")


def _left(rows: NDArray[np.float64], copies: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return bool [n]: the rows in the first half; all, or none, where there is nothing to tell them apart."""
    if len(rows) == 2:
        return np.array([True, (rows[0] == rows[1]).all()])
    if (rows == rows[0]).all():
        return np.ones(len(rows), dtype=np.bool_)
    from sklearn.cluster import KMeans

    return np.asarray(KMeans(2, n_init=1, random_state=seed).fit(rows, sample_weight=copies).labels_ == 0)


def _ward_height(*halves: tuple[NDArray[np.float64], NDArray[np.int64]]) -> float:
    a, b = (float(copies.sum()) for _, copies in halves)
    first, second = (np.average(rows, axis=0, weights=copies) for rows, copies in halves)
    return float(np.sqrt(2 * a * b / (a + b)) * np.linalg.norm(first - second))
