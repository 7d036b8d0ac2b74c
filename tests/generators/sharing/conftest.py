"""Random forests with many ties, for property tests of trees, plans and savings."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import strategies as st

from generators.sharing.tree import Tree

RISES = st.one_of(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]), st.floats(0, 2))


@st.composite
def _forests(draw: st.DrawFn, max_leaves: int = 10) -> Tree:
    """Trees of any arity and number of roots, whose heights are often equal, 0, or a threshold."""
    n_leaves = draw(st.integers(1, max_leaves))
    parent, score, roots = [-1] * n_leaves, [0.0] * n_leaves, list(range(n_leaves))
    for _ in range(draw(st.integers(0, n_leaves))):
        children = draw(st.lists(st.sampled_from(roots), min_size=1, max_size=4, unique=True))
        for child in children:
            parent[child] = len(parent)
        roots = [root for root in roots if root not in children] + [len(parent)]
        parent.append(-1)
        score.append(max(score[child] for child in children) + draw(RISES))
    return Tree(np.array(parent), np.array(score), n_leaves)


@pytest.fixture(scope="session")
def forests() -> Callable[..., st.SearchStrategy[Tree]]:
    return _forests


@pytest.fixture(scope="session")
def taus() -> st.SearchStrategy[float]:
    """Among them many that make a threshold equal to a height."""
    return st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 4.0]), st.floats(0, 8))
