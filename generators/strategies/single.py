"""Single linkage."""

import numpy as np
from numpy.typing import NDArray

from generators.sharing.tree import Tree
from generators.strategies.base import Strategy
from generators.strategies.contents import by_content
from generators.strategies.distances import cosine_distances


class Single(Strategy):
    """Single linkage: a merge's height is the smallest cosine distance between the two clusters' prompts.

    Chains of near neighbours merge early, so clusters can be long, with ends far apart.
    """

    name = "single"
    complexity = "O(N^2 D) distances, O(N^2) merging"
    memory = "8 N^2 bytes: the condensed distances and SciPy's copy"
    pair_bytes = 8
    source = "Sneath 1957; SciPy's linkage, a minimum spanning tree"

    def tree(self, features: NDArray[np.floating], *, seed: int = 0) -> Tree:
        from scipy.cluster.hierarchy import linkage

        return by_content(features, lambda rows: Tree.from_linkage(linkage(cosine_distances(rows), "single")))
