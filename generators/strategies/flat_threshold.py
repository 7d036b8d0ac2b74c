"""Groups that split once."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generators.sharing.tree import Tree
from generators.strategies.base import Strategy
from generators.strategies.contents import by_distinct_content
from generators.strategies.distances import cosine_distances

BELOW = 1e-4  # relative: a tau of four digits still reaches its step, and no step of fewer than 1 / BELOW lies between


class FlatThreshold(Strategy):
    """Groups of prompts that are all at least so similar; a group shares its first steps, then each goes alone (SAGE).

    A tree of two levels. All groups have the same height, the cosine distance 1 - similarity, so all split at one step:
    under eq7, tau = (1 - similarity) / (1 - f) shares the first fraction f of the steps, and up to tau = 1 - similarity
    nothing is shared. SAGE's 40% at its similarity of 0.5 is tau 0.8333. How much can be saved at all depends on
    `similarity`. The groups are those of complete linkage cut at that height. eq7 gives a height that phi meets to the
    smaller cluster, so theirs is put a hair lower: that step is still shared. SAGE also trains the model for it; this
    does not.
    """

    name = "flat-threshold"
    version = 2
    complexity = "O(N^2 D) distances, O(N^2) merging"
    memory = "8 N^2 bytes: the condensed distances and SciPy's copy"
    pair_bytes = 8
    source = "after SAGE, arXiv 2509.15865"

    similarity: float = Field(0.5, ge=-1, le=1, description="the least cosine similarity of two prompts of a group")

    def tree(self, features: NDArray[np.floating], *, seed: int = 0) -> Tree:
        return by_distinct_content(features, lambda rows, copies: self._groups(rows))

    def _groups(self, rows: NDArray[np.float64]) -> Tree:
        from scipy.cluster.hierarchy import fcluster, linkage

        height = 1 - self.similarity
        label = fcluster(linkage(cosine_distances(rows), "complete"), height, "distance")
        _, group, size = np.unique(label, return_inverse=True, return_counts=True)
        shared = size > 1
        node = np.where(shared, len(rows) + np.cumsum(shared) - 1, -1)
        parent = np.concatenate([node[group], np.full(np.count_nonzero(shared), -1)])
        met = height * (1 - BELOW)
        return Tree(parent, np.where(np.arange(len(parent)) < len(rows), 0.0, met), len(rows))
