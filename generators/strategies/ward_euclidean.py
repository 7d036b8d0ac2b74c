"""Ward as it is defined."""

import numpy as np
from numpy.typing import NDArray

from generators.sharing.tree import Tree
from generators.strategies.base import Strategy
from generators.strategies.contents import by_content, unit


class WardEuclidean(Strategy):
    """Ward linkage on Euclidean distances of the features at length 1, which is what Ward is defined for.

    A merge's height is sqrt(2 a b / (a + b)) times the distance of the two means, a and b prompts: half its square is
    what the merge adds to the sum of squared distances from the cluster means.
    """

    name = "ward-euclidean"
    complexity = "O(N^2 D) distances, O(N^2) merging"
    memory = "8 N^2 bytes: the condensed distances and SciPy's copy"
    pair_bytes = 8
    source = "Ward 1963, doi:10.1080/01621459.1963.10500845; SciPy's linkage"

    def tree(self, features: NDArray[np.floating], *, seed: int = 0) -> Tree:
        from scipy.cluster.hierarchy import linkage

        return by_content(features, lambda rows: Tree.from_linkage(linkage(unit(rows), "ward")))
