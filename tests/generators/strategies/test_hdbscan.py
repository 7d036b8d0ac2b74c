import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import squareform
from sklearn.cluster import HDBSCAN

from generators.sharing.tree import Tree
from generators.strategies.base import get_strategy
from generators.strategies.check import clusters, groups
from generators.strategies.distances import cosine_distances


def labels(tree: Tree, cut: float, fewest: int) -> np.ndarray:
    """Each prompt's largest cluster of a height up to `cut`, if of so many prompts; -1 for none."""
    found = np.full(tree.n_leaves, -1)
    for node in range(tree.n_leaves, len(tree.parent)):
        if tree.score[node] <= cut and tree.hi[node] - tree.lo[node] >= fewest:
            found[tree.leaf_order[tree.lo[node] : tree.hi[node]]] = node
    return found


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.floats(0.05, 1))
def test_cut_anywhere_it_is_scikit_learns_hdbscan(seed: int, min_samples: int, cut: float) -> None:
    features = groups(50, seed=seed)
    theirs = HDBSCAN(min_samples=min_samples, metric="precomputed", copy=True).fit(
        squareform(cosine_distances(features))
    )
    theirs = theirs.dbscan_clustering(cut, min_cluster_size=4)
    ours = labels(get_strategy("hdbscan", min_samples=min_samples, min_cluster_size=4).tree(features), cut, 4)
    assert ((ours < 0) == (theirs < 0)).all()
    inside = ours >= 0
    same = theirs[inside][:, None] == theirs[inside]
    assert ((ours[inside][:, None] == ours[inside]) == same).all()


def test_with_one_sample_and_no_small_clusters_it_is_single_linkage() -> None:
    features = groups(30)
    tree = get_strategy("hdbscan", min_samples=1, min_cluster_size=2).tree(features)
    assert clusters(tree, features) == clusters(get_strategy("single").tree(features), features)


def test_small_clusters_are_dissolved_but_not_equal_prompts() -> None:
    features = groups(40, copies=6)
    tree = get_strategy("hdbscan", min_cluster_size=8).tree(features)
    size = (tree.hi - tree.lo)[tree.n_leaves :]
    assert (size[tree.score[tree.n_leaves :] > 0] >= 8).all()
    assert (size[tree.score[tree.n_leaves :] == 0] >= 2).any()


@pytest.mark.parametrize("n", [2, 4])
def test_fewer_prompts_than_a_cluster_takes_share_nothing(n: int) -> None:
    assert (get_strategy("hdbscan").tree(groups(n)).parent == -1).all()
