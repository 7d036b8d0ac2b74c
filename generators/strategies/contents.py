"""Prompts by what they are: a tree must not change with the order in which prompts come, nor part equal ones.

Clustering breaks ties by row and rounds in the order of rows. So rows are first put into an order that follows from
their content alone, and the tree's leaves are named as the prompts were.
"""

from collections.abc import Callable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from generators.sharing.tree import Tree
from generators.strategies.base import check_features

Cluster = Callable[[NDArray[np.float64]], Tree]


def by_content(features: NDArray[np.floating], cluster: Cluster) -> Tree:
    """Return the tree that `cluster` makes of the rows in the order of their content, for the prompts as they came.

    Args:
        features: float64 [N, D].
        cluster: gets float64 [N, D], N >= 2, equal rows beside one another.

    Raises:
        UserError: the features have no directions to compare.
    """
    matrix = check_features(features) + 0.0  # -0.0 equals 0.0, so its bytes must too
    if len(matrix) == 1:
        return Tree.singletons(1)
    order = content_order(matrix)
    return renamed(cluster(matrix[order]), order)


def by_distinct_content(features: NDArray[np.floating], cluster: Callable[..., Tree]) -> Tree:
    """Return `by_content`'s tree for what cannot weigh equal rows: `cluster` sees each once, and they join at height 0.

    Args:
        features: float64 [N, D].
        cluster: gets distinct rows, float64 [n, D], n >= 2, and how many prompts have each, int64 [n].

    Raises:
        UserError: the features have no directions to compare.
    """

    def distinct(rows: NDArray[np.float64]) -> Tree:
        first = first_of_equals(rows)
        kind = np.cumsum(first) - 1
        unlike = rows[first]
        return with_copies(Tree.singletons(1) if len(unlike) == 1 else cluster(unlike, np.bincount(kind)), kind)

    return by_content(features, distinct)


def content_order(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return int64 [N]: the rows by the hash of their bytes; equal rows beside one another, in the order they had."""
    digests = b"".join(blake2b(row.tobytes(), digest_size=16).digest() for row in rows)
    high, low = np.frombuffer(digests, dtype=">u8").reshape(-1, 2).T
    return np.lexsort((low, high))


def first_of_equals(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return bool [N]: the rows that differ from the one before, where equal rows stand beside one another.

    Examples:
        >>> first_of_equals(np.array([[1.0], [1.0], [2.0]])).tolist()
        [True, False, True]
    """
    return np.append(True, (rows[1:] != rows[:-1]).any(axis=1))


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows at length 1.

    Examples:
        >>> unit(np.array([[3.0, 4.0]])).tolist()
        [[0.6, 0.8]]
    """
    lengths: NDArray[np.float64] = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / lengths


def renamed(tree: Tree, names: NDArray[np.int64]) -> Tree:
    """Return the tree whose leaf ``names[i]`` is what leaf i was.

    Examples:
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.5, 3]])
        >>> renamed(tree, np.array([2, 0, 1])).parent.tolist()
        [3, 4, 3, 4, -1]
    """
    parent = tree.parent.copy()
    parent[names] = tree.parent[: tree.n_leaves]
    return Tree(parent, tree.score, tree.n_leaves)


def with_copies(tree: Tree, kind: NDArray[np.int64]) -> Tree:
    """Return the tree of N prompts, prompt i being leaf ``kind[i]`` of `tree`; prompts of one leaf join at height 0.

    Examples:
        >>> copied = with_copies(Tree.from_linkage([[0, 1, 0.5, 2]]), np.array([0, 0, 1]))
        >>> copied.parent.tolist(), copied.score.tolist()
        ([3, 3, 4, 4, -1], [0.0, 0.0, 0.0, 0.0, 0.5])
    """
    copies = np.bincount(kind, minlength=tree.n_leaves)
    several = np.flatnonzero(copies > 1)
    joins = len(kind) + np.arange(len(several))
    shift = len(kind) + len(several) - tree.n_leaves
    above = np.where(tree.parent < 0, -1, tree.parent + shift)
    own = above[: tree.n_leaves].copy()
    own[several] = joins
    parent = np.concatenate([own[kind], above[several], above[tree.n_leaves :]])
    return Tree(parent, np.concatenate([np.zeros(len(kind) + len(several)), tree.score[tree.n_leaves :]]), len(kind))


def contracted(tree: Tree, kept: NDArray[np.bool_]) -> Tree:
    """Return the tree of the nodes in `kept`, bool [M], leaves among them; each joins its nearest kept ancestor.

    Raises:
        UserError: an inner node is kept without any of its leaves, or no leaf is.
    """
    parent, above = tree.parent.tolist(), [-1] * len(tree.parent)
    for node in range(len(parent) - 1, -1, -1):
        up = parent[node]
        above[node] = up if up < 0 or kept[up] else above[up]
    number = np.append(np.cumsum(kept) - 1, -1)
    return Tree(number[np.array(above)[kept]], tree.score[kept], int(np.count_nonzero(kept[: tree.n_leaves])))
