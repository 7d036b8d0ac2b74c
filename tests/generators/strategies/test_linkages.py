"""Average, complete, single, centroid and Ward on Euclidean distances, against definitions computed apart."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from generators.sharing.tree import Tree
from generators.strategies.base import get_strategy
from generators.strategies.contents import unit

Rows = NDArray[np.float64]


def cosine(a: Rows, b: Rows) -> Rows:
    return 1 - unit(a) @ unit(b).T


def ward(a: Rows, b: Rows) -> float:
    """What the merge adds to the sum of squared distances from the means, doubled, under a root."""

    def inertia(rows: Rows) -> float:
        return float(((rows - rows.mean(0)) ** 2).sum())

    both = np.concatenate([unit(a), unit(b)])
    return float(np.sqrt(2 * (inertia(both) - inertia(unit(a)) - inertia(unit(b)))))


HEIGHTS: dict[str, Callable[[Rows, Rows], float]] = {
    "average": lambda a, b: float(cosine(a, b).mean()),
    "complete": lambda a, b: float(cosine(a, b).max()),
    "single": lambda a, b: float(cosine(a, b).min()),
    "ward-euclidean": ward,
}


def sides(tree: Tree, features: Rows, node: int) -> list[Rows]:
    return [features[tree.leaf_order[tree.lo[c] : tree.hi[c]]] for c in np.flatnonzero(tree.parent == node)]


@pytest.mark.parametrize("name", HEIGHTS)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 15))
def test_every_merge_has_its_height_by_definition(name: str, seed: int, n: int) -> None:
    features = np.random.default_rng(seed).normal(size=(n, 4))
    tree = get_strategy(name).tree(features)
    for node in range(n, len(tree.parent)):
        assert tree.score[node] == pytest.approx(HEIGHTS[name](*sides(tree, features, node)), abs=1e-9)


@pytest.mark.parametrize("name", HEIGHTS)
def test_the_first_merge_is_the_nearest_pair(name: str) -> None:
    features = np.random.default_rng(5).normal(size=(12, 4))
    tree = get_strategy(name).tree(features)
    away = cosine(features, features) + 9 * np.eye(12)
    first = set(np.flatnonzero(tree.parent == 12 + np.argmin(tree.score[12:])))
    assert first == set(np.unravel_index(away.argmin(), away.shape))


def test_centroid_heights_never_fall_and_are_distances_of_means_where_they_need_no_repair() -> None:
    repaired = 0
    for seed in range(20):
        features = np.random.default_rng(seed).normal(size=(15, 3))
        tree = get_strategy("centroid").tree(features)
        for node in range(15, len(tree.parent)):
            a, b = (unit(side).mean(0) for side in sides(tree, features, node))
            below = tree.score[np.flatnonzero(tree.parent == node)].max()
            assert tree.score[node] == pytest.approx(max(np.linalg.norm(a - b), below), abs=1e-9)
            repaired += np.linalg.norm(a - b) < below - 1e-9
    assert repaired, "no such tree fell: the repair was not tested"
