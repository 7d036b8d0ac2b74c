import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.strategies.check import clusters
from generators.strategies.contents import content_order
from generators.strategies.ward_cosine import WardCosine

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(2, 30), st.integers(2, 6))
def test_it_is_scipys_ward_on_cosine_distances(seed: int, n: int, d: int) -> None:
    """To the last bit in the order of content, and the same clusters in the order the prompts came."""
    features = np.random.default_rng(seed).normal(size=(n, d))
    tree = WardCosine().tree(features)
    in_order = linkage(pdist(features[content_order(features)], "cosine"), "ward")
    assert (tree.score[n:] == in_order[:, 2]).all()
    assert clusters(tree, features) == clusters(Tree.from_linkage(linkage(pdist(features, "cosine"), "ward")), features)


@given(SEEDS, st.integers(2, 30))
def test_it_splits_as_the_released_code_does(seed: int, n: int) -> None:
    features = np.random.default_rng(seed).normal(size=(n, 5))
    released = Tree.from_linkage(linkage(pdist(features, "cosine"), "ward"))
    splits = [
        get_schedule("official").split_steps(tree.score, 1.0, 40) for tree in (WardCosine().tree(features), released)
    ]
    assert sorted(splits[0]) == sorted(splits[1])


def test_one_two_and_all_equal_prompts() -> None:
    assert WardCosine().tree(np.array([[1.0, 2.0]])).n_leaves == 1
    assert WardCosine().tree(np.array([[1.0, 0.0], [0.0, 1.0]])).score.tolist() == [0, 0, 1]
    same = WardCosine().tree(np.full((5, 9), 1 / 3))
    assert same.score.tolist() == [0] * 9
    assert np.count_nonzero(same.parent < 0) == 1


def test_equal_rows_merge_before_all_others() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(6, 300))
    tree = WardCosine().tree(features[[0, 1, 2, 3, 4, 5, 2, 0]])
    merged = {tuple(sorted(tree.leaf_order[tree.lo[i] : tree.hi[i]])) for i in np.flatnonzero(tree.score == 0)[8:]}
    assert merged == {(2, 6), (0, 7)}
