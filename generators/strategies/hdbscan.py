"""HDBSCAN's tree."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generators.sharing.tree import Tree
from generators.strategies.base import Strategy
from generators.strategies.contents import by_content, contracted
from generators.strategies.distances import cosine_distances, equal_pairs


class Hdbscan(Strategy):
    """HDBSCAN's condensed tree: single linkage on the mutual reachability of prompts, small clusters dissolved.

    The mutual reachability of two prompts is the largest of their cosine distance and of each one's distance to its
    `min_samples`-th nearest prompt, itself included: prompts in thin places merge late. A cluster that comes to fewer
    than `min_cluster_size` prompts is none: these go alone. Equal prompts are 0 apart and stay together.
    """

    name = "hdbscan"
    complexity = "O(N^2 D) distances, O(N^2) merging"
    memory = "20 N^2 bytes: the distances, condensed and square, and a sorted copy"
    pair_bytes = 20
    source = "Campello, Moulavi and Sander 2013, doi:10.1007/978-3-642-37456-2_14; SciPy's linkage"

    min_samples: int = Field(5, ge=1, description="the neighbour whose distance tells thin from dense; 1 for `single`")
    min_cluster_size: int = Field(5, ge=2, description="the fewest prompts of a cluster; 2 dissolves none")

    def tree(self, features: NDArray[np.floating], *, seed: int = 0) -> Tree:
        return by_content(features, self._condensed)

    def _condensed(self, rows: NDArray[np.float64]) -> Tree:
        from scipy.cluster.hierarchy import linkage

        tree = Tree.from_linkage(linkage(mutual_reachability(rows, self.min_samples), "single"))
        inner = np.arange(len(tree.parent)) >= tree.n_leaves
        small = tree.hi - tree.lo < self.min_cluster_size
        return contracted(tree, ~(inner & small & (tree.score > 0)))


def mutual_reachability(rows: NDArray[np.float64], min_samples: int) -> NDArray[np.float64]:
    """Return condensed float64 [N (N-1) / 2]: max(core(a), core(b), cosine distance), but 0 between equal rows."""
    from scipy.spatial.distance import squareform

    n, reach = len(rows), cosine_distances(rows)
    core = np.partition(squareform(reach), min(min_samples, n) - 1, axis=1)[:, min(min_samples, n) - 1].copy()
    start = 0
    for row in range(n - 1):
        pairs = reach[start : start + n - 1 - row]
        np.maximum(pairs, np.maximum(core[row], core[row + 1 :]), out=pairs)
        start += len(pairs)
    reach[equal_pairs(rows)] = 0.0
    return reach
