"""Our order of clusters is SciPy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from generators.sharing.labels import fcluster_order
from generators.sharing.tree import Tree


@given(
    n=st.integers(2, 40),
    seed=st.integers(0, 2**32 - 1),
    method=st.sampled_from(["ward", "average", "single", "complete"]),
    ties=st.booleans(),
)
def test_at_every_cut_clusters_stand_in_the_order_of_their_labels(n: int, seed: int, method: str, ties: bool):
    points = np.random.default_rng(seed).normal(size=(n, 2))
    Z = linkage(points.round() if ties else points, method)
    order = fcluster_order(Tree.from_linkage(Z))
    assert sorted(order) == list(range(n))
    for height in [0.0, *Z[:, 2]]:
        labels = fcluster(Z, height, criterion="distance")
        assert (np.diff(labels[order]) >= 0).all()


def test_inner_clusters_come_before_prompts_beside_them():
    Z = np.array([[2, 3, 1.0, 2], [0, 4, 2.0, 3], [1, 5, 3.0, 4]])
    assert fcluster_order(Tree.from_linkage(Z)).tolist() == [2, 3, 0, 1]
    assert fcluster(Z, 0.5, criterion="distance").tolist() == [3, 4, 1, 2]


@pytest.mark.parametrize("n", [1, 5])
def test_where_nobody_shares_prompts_stand_as_they_are(n: int):
    assert fcluster_order(Tree.singletons(n)).tolist() == list(range(n))


def test_clusters_of_many_children_and_several_roots_stay_together():
    tree = Tree.from_parents([5, 6, 5, 6, -1, 7, 7, -1], [0, 0, 0, 0, 0, 1, 1, 2], 5)
    assert fcluster_order(tree).tolist() == [0, 2, 1, 3, 4]
