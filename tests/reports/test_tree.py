import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import leaves_list, linkage

from common.errors import UserError
from reports.tree import MergeTree, load_tree


def from_linkage(Z) -> MergeTree:
    n = len(Z) + 1
    parent = np.full(2 * n - 1, -1)
    for i, pair in enumerate(Z[:, :2].astype(int)):
        parent[pair] = n + i
    return MergeTree(parent, np.concatenate([np.zeros(n), Z[:, 2]]))


def leaves_below(tree: MergeTree, node: int) -> list[int]:
    below = tree.children[node]
    return [leaf for child in below for leaf in leaves_below(tree, child)] if below else [node]


@given(st.integers(2, 40), st.integers(0, 10_000))
def test_every_cluster_is_contiguous_and_its_merge_is_above_it(n: int, seed: int) -> None:
    tree = from_linkage(linkage(np.random.default_rng(seed).normal(size=(n, 3)), "ward"))
    rank = np.argsort(tree.leaf_order)
    assert sorted(tree.leaf_order) == list(range(n))
    for node in range(n, 2 * n - 1):
        places = sorted(int(rank[leaf]) for leaf in leaves_below(tree, node))
        assert places == list(range(places[0], places[0] + len(places)))
        assert places[0] <= tree.place[node] <= places[-1]


def test_the_two_prompts_that_merge_first_are_neighbours_as_in_scipy() -> None:
    Z = linkage(np.array([[0.0], [10.0], [0.1], [11.0], [5.0]]), "ward")
    order = from_linkage(Z).leaf_order
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(list(leaves_list(Z)).index(0) - list(leaves_list(Z)).index(2)) == 1


def test_forests_and_merges_of_many() -> None:
    tree = MergeTree(np.array([5, 5, 5, -1, 6, 6, -1]), np.array([0, 0, 0, 0, 0, 0.2, 0.9]))
    assert sorted(tree.leaf_order) == [0, 1, 2, 3, 4]
    assert {0, 1, 2} == {leaf for leaf in tree.leaf_order if tree.parent[leaf] == 5}
    assert tree.children[5] == [0, 1, 2]


def test_trees_are_read_without_unpickling(tmp_path) -> None:
    np.savez(tmp_path / "tree.npz", parent=np.array([2, 2, -1]), score=np.array([0.0, 0.0, 0.5]))
    assert load_tree(tmp_path / "tree.npz").leaf_order == [0, 1]
    np.savez(tmp_path / "evil.npz", parent=np.array([{}], dtype=object), score=np.zeros(1))
    with pytest.raises(UserError, match=r"evil\.npz"):
        load_tree(tmp_path / "evil.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_a_damaged_tree_is_named(tmp_path, content: bytes) -> None:
    (tmp_path / "tree.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"tree\.npz"):
        load_tree(tmp_path / "tree.npz")


def test_arrays_that_are_no_tree_are_refused(tmp_path) -> None:
    np.savez(tmp_path / "tree.npz", parent=np.array([1, 0]), score=np.zeros(2))
    with pytest.raises(UserError, match="not a tree"):
        load_tree(tmp_path / "tree.npz")
