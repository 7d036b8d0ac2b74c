"""A control: the paper's tree with its prompts in the wrong places."""

import numpy as np
from numpy.typing import NDArray

from generators.sharing.tree import Tree
from generators.strategies.base import Strategy
from generators.strategies.contents import by_content, contracted, first_of_equals, renamed, with_copies
from generators.strategies.ward_cosine import WardCosine


class ShuffledWard(Strategy):
    """A control: ward-cosine's tree with its prompts shuffled. Where it does as well, clustering was not what helped.

    Shape and heights are ward-cosine's, so at any tau the savings are exactly the same: only who shares with whom
    differs. Equal prompts move together.
    """

    name = "shuffled-ward"
    complexity = WardCosine.complexity
    memory = WardCosine.memory
    pair_bytes = 8
    value_bytes = 72
    source = "a control"
    control = True

    def tree(self, features: NDArray[np.floating], *, seed: int = 0) -> Tree:
        return by_content(features, lambda rows: _shuffled(rows, seed))


def _shuffled(rows: NDArray[np.float64], seed: int) -> Tree:
    ward, first = WardCosine().tree(rows), first_of_equals(rows)
    shape = contracted(ward, _branching(ward, first))
    names = np.random.default_rng(seed).permutation(shape.n_leaves)
    return with_copies(renamed(shape, names), np.cumsum(first) - 1)


def _branching(tree: Tree, leaves: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return bool [M]: these leaves, and the nodes that still branch when there are no others."""
    before = np.append(0, np.cumsum(leaves[tree.leaf_order]))
    living = (before[tree.hi] > before[tree.lo]) & (tree.parent >= 0)
    kept = np.bincount(tree.parent[living], minlength=len(tree.parent)) > 1
    kept[: tree.n_leaves] = leaves
    return kept
