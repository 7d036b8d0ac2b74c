"""The official code's clustering."""

import numpy as np
from numpy.typing import NDArray

from generators.sharing.tree import Tree
from generators.strategies.base import Strategy
from generators.strategies.contents import by_content
from generators.strategies.distances import cosine_distances


class WardCosine(Strategy):
    """SciPy's Ward linkage on the condensed cosine distances, in double precision (the paper's released code).

    Ward is defined for Euclidean distances; on cosine distances its heights are no variances, but never fall towards
    the root. Unlike that code, rows are clustered in the order of their content, so that ties fall the same way in
    whatever order prompts come.
    """

    name = "ward-cosine"
    complexity = "O(N^2 D) distances, O(N^2) merging"
    memory = "8 N^2 bytes: the condensed distances and SciPy's copy (1.6 GB for 14,000 prompts)"
    pair_bytes = 8
    source = "Decatur et al., ICCV 2025 (arXiv 2508.21032); ddecatur/hierarchical-diffusion at 62b43d7"

    def tree(self, features: NDArray[np.floating], *, seed: int = 0) -> Tree:
        from scipy.cluster.hierarchy import linkage

        return by_content(features, lambda rows: Tree.from_linkage(linkage(cosine_distances(rows), "ward")))
