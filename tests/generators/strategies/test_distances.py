import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from generators.strategies.distances import cosine_distances, equal_pairs

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(1, 8), st.integers(1, 4), st.integers(1, 50))
def test_equal_rows_are_exactly_0_apart_and_others_are_not(seed: int, n: int, copies: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, n, n * copies)
    distances = cosine_distances(rng.normal(size=(n, d + 1))[kind])
    i, j = np.triu_indices(len(kind), 1)
    assert ((distances == 0) == (kind[i] == kind[j])).all()


@given(st.lists(st.integers(0, 4), min_size=2, max_size=12))
def test_pairs_of_equal_rows_are_found_where_scipy_puts_them(kind: list[int]) -> None:
    rows = np.eye(5)[kind]
    condensed = np.zeros(len(kind) * (len(kind) - 1) // 2)
    condensed[equal_pairs(rows)] = 1
    equal = (np.array(kind)[:, None] == np.array(kind)) & ~np.eye(len(kind), dtype=bool)
    assert (squareform(condensed) == equal).all()


def test_no_distance_is_negative() -> None:
    row = np.random.default_rng(0).normal(size=7)
    assert (cosine_distances(np.outer(np.arange(1.0, 40), row)) >= 0).all()


def test_distances_are_scipys() -> None:
    rows = np.random.default_rng(0).normal(size=(9, 4))
    assert (cosine_distances(rows) == pdist(rows, "cosine")).all()
