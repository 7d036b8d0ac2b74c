"""Centroid linkage, made monotone."""

import numpy as np
from numpy.typing import NDArray

from generators.sharing.tree import Tree
from generators.strategies.base import Strategy
from generators.strategies.contents import by_content, unit


class Centroid(Strategy):
    """Centroid linkage (UPGMC) of the features at length 1: a merge's height is the distance of the two means.

    Such heights can fall towards the root. There they are raised to the largest below, as SciPy's `fcluster` does.
    """

    name = "centroid"
    complexity = "O(N^2 D) distances, O(N^2 log N) merging; O(N^3) at worst"
    memory = "8 N^2 bytes: the condensed distances and SciPy's copy"
    pair_bytes = 8
    source = "Sokal and Michener 1958; SciPy's linkage"

    def tree(self, features: NDArray[np.floating], *, seed: int = 0) -> Tree:
        from scipy.cluster.hierarchy import linkage

        return by_content(features, lambda rows: Tree.from_linkage(linkage(unit(rows), "centroid"), repair="monotone"))
