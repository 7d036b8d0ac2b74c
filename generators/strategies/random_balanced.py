"""A control: no clustering at all."""

import numpy as np
from numpy.typing import NDArray

from generators.sharing.tree import Tree
from generators.strategies.base import Strategy
from generators.strategies.contents import by_distinct_content


class RandomBalanced(Strategy):
    """A control: a balanced binary tree over prompts drawn in random order. Any strategy must beat it.

    The height of a cluster of n prompts is log n / log N: 0 for one, 1 for all. Only equal prompts are kept together.
    """

    name = "random-balanced"
    complexity = "O(N log N)"
    memory = "O(N D)"
    pair_bytes = 0
    value_bytes = 32
    source = "a control"
    control = True

    def tree(self, features: NDArray[np.floating], *, seed: int = 0) -> Tree:
        return by_distinct_content(features, lambda rows, copies: _balanced(len(rows), seed))


def _balanced(n: int, seed: int) -> Tree:
    drawn = np.random.default_rng(seed).permutation(n)
    parent, score, waiting = [-1] * n, [0.0] * n, [(0, n, -1)]
    while waiting:
        start, stop, above = waiting.pop()
        if stop - start == 1:
            parent[drawn[start]] = above
            continue
        middle = (start + stop) // 2
        waiting += [(start, middle, len(parent)), (middle, stop, len(parent))]
        parent.append(above)
        score.append(float(np.log(stop - start) / np.log(n)))
    return Tree.from_parents(parent, score, n)
