"""The merge tree that a cell was planned from, as stored beside it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError


@dataclass(frozen=True, eq=False)
class MergeTree:
    """Leaves are nodes 0..N-1 in prompt order; any arity, one root or several.

    Attributes:
        parent: int64 [M]; -1 at roots, otherwise larger than the node itself.
        score: float64 [M]; the height of the merge, 0 at leaves.
    """

    parent: NDArray[np.int64]
    score: NDArray[np.float64]

    @cached_property
    def children(self) -> list[list[int]]:
        """Of every node, its children, lowest first."""
        found: list[list[int]] = [[] for _ in self.parent]
        for node in sorted(range(len(self.parent)), key=lambda node: float(self.score[node])):
            if self.parent[node] >= 0:
                found[self.parent[node]].append(node)
        return found

    @cached_property
    def leaf_order(self) -> list[int]:
        """The prompts in an order that keeps every cluster together."""
        order = []
        waiting = [int(node) for node in np.flatnonzero(self.parent < 0)[::-1]]
        while waiting:
            node = waiting.pop()
            if children := self.children[node]:
                waiting.extend(reversed(children))
            else:
                order.append(node)
        return order

    @cached_property
    def place(self) -> NDArray[np.float64]:
        """float64 [M]: a leaf's rank in `leaf_order`; of a merge, the middle of its first and last child."""
        place = np.zeros(len(self.parent))
        place[self.leaf_order] = np.arange(len(self.leaf_order))
        for node, children in enumerate(self.children):
            if children:
                ends = place[children]
                place[node] = (ends.min() + ends.max()) / 2
        return place


def load_tree(path: Path) -> MergeTree:
    """The tree in ``tree.npz``.

    Raises:
        UserError: the file is missing, damaged or no tree; it is named.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            tree = MergeTree(arrays["parent"].astype(np.int64), arrays["score"].astype(np.float64))
    except Exception as error:  # numpy and zipfile raise a dozen kinds for a damaged file
        raise UserError(f"cannot read the tree {path}: {error}", "run the same sweep again") from error
    nodes = np.arange(len(tree.parent))
    if tree.parent.shape != tree.score.shape or np.any((tree.parent >= 0) & (tree.parent <= nodes)):
        raise UserError(f"{path} is not a tree", "run the same sweep again")
    return tree
