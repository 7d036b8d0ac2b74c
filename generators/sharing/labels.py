"""The order in which SciPy numbers clusters, in which the paper's released code goes through them."""

import numpy as np
from numpy.typing import NDArray

from generators.sharing.tree import Tree


def fcluster_order(tree: Tree) -> NDArray[np.int64]:
    """Return int64 [N]: the prompts, so that the clusters of any cut stand in the order of their `fcluster` labels.

    SciPy walks down from the root and goes through a cluster's inner children, as they are numbered, before the
    prompts that hang below it directly. Of clusters of several roots or many children, which SciPy has not, the same.

    Examples:
        >>> fcluster_order(Tree.from_linkage([[1, 2, 0.2, 2], [0, 3, 0.5, 3]])).tolist()
        [1, 2, 0]
    """
    n, size = tree.n_leaves, tree.hi - tree.lo
    parents = tree.parent.tolist()
    own = [0] * (len(parents) + 1)  # prompts directly below each node; the last, which -1 finds, is above the roots
    for up in parents[:n]:
        own[up] += 1
    end = [0] * len(parents) + [n]
    free = [0] * len(parents) + [n - own[-1]]
    for node in range(len(parents) - 1, n - 1, -1):
        up = parents[node]
        end[node] = free[up]
        free[node] = end[node] - own[node]
        free[up] -= int(size[node])
    order = np.empty(n, dtype=np.int64)
    for prompt in range(n - 1, -1, -1):
        up = parents[prompt]
        end[up] -= 1
        order[end[up]] = prompt
    return order
