"""Complete linkage."""

import numpy as np
from numpy.typing import NDArray

from generators.sharing.tree import Tree
from generators.strategies.base import Strategy
from generators.strategies.contents import by_content
from generators.strategies.distances import cosine_distances


class Complete(Strategy):
    """Complete linkage: a merge's height is the largest cosine distance between the two clusters' prompts.

    No two prompts that still share lie further apart than the threshold.
    """

    name = "complete"
    complexity = "O(N^2 D) distances, O(N^2) merging"
    memory = "8 N^2 bytes: the condensed distances and SciPy's copy"
    pair_bytes = 8
    source = "Sorensen 1948; SciPy's linkage"

    def tree(self, features: NDArray[np.floating], *, seed: int = 0) -> Tree:
        from scipy.cluster.hierarchy import linkage

        return by_content(features, lambda rows: Tree.from_linkage(linkage(cosine_distances(rows), "complete")))
