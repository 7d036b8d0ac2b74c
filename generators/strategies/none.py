"""No sharing."""

import numpy as np
from numpy.typing import NDArray

from generators.sharing.tree import Tree
from generators.strategies.base import Strategy, check_features


class NoSharing(Strategy):
    """Every prompt alone at every tau: the baseline, as a strategy."""

    name = "none"
    complexity = "O(N)"
    memory = "O(N D)"
    pair_bytes = 0
    value_bytes = 24
    source = "the baseline"

    def tree(self, features: NDArray[np.floating], *, seed: int = 0) -> Tree:
        return Tree.singletons(len(check_features(features)))
