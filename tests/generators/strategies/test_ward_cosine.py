import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from generators.strategies.ward_cosine import WardCosine, cosine_distances

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(2, 30), st.integers(2, 6))
def test_it_is_scipys_ward_on_cosine_distances(seed: int, n: int, d: int) -> None:
    features = np.random.default_rng(seed).normal(size=(n, d))
    assert (WardCosine().tree(features).to_linkage() == linkage(pdist(features, "cosine"), "ward")).all()


@given(SEEDS, st.integers(1, 8), st.integers(1, 4), st.integers(1, 50))
def test_equal_rows_are_exactly_0_apart_and_others_are_not(seed: int, n: int, copies: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    kind = np.sort(rng.integers(0, n, n * copies))
    distances = cosine_distances(rng.normal(size=(n, d + 1))[kind])
    i, j = np.triu_indices(len(kind), 1)
    assert ((distances == 0) == (kind[i] == kind[j])).all()


def test_no_distance_is_negative() -> None:
    row = np.random.default_rng(0).normal(size=7)
    assert (cosine_distances(np.outer(np.arange(1.0, 40), row)) >= 0).all()


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
