from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage, maxdists

from common.errors import UserError
from generators.sharing.tree import Tree

Forests = Callable[..., st.SearchStrategy[Tree]]


def members(tree: Tree, node: int) -> frozenset[int]:
    return frozenset(tree.leaf_order[tree.lo[node] : tree.hi[node]].tolist())


def clusters(tree: Tree) -> list[tuple[list[int], float]]:
    return sorted((sorted(members(tree, node)), float(tree.score[node])) for node in range(len(tree.parent)))


@given(st.data())
def test_spans_hold_the_leaves_below(forests: Forests, data: st.DataObject) -> None:
    tree = data.draw(forests())
    below: list[set[int]] = [set() for _ in tree.parent]
    for leaf in range(tree.n_leaves):
        node = leaf
        while node >= 0:
            below[node].add(leaf)
            node = int(tree.parent[node])
    assert [members(tree, node) for node in range(len(tree.parent))] == below
    assert (tree.hi - tree.lo).tolist() == [len(leaves) for leaves in below]


@given(st.data())
def test_inner_nodes_may_be_numbered_in_any_way(forests: Forests, data: st.DataObject) -> None:
    tree = data.draw(forests())
    inner = data.draw(st.permutations(range(tree.n_leaves, len(tree.parent))))
    new = np.array([*range(tree.n_leaves), *inner, -1])
    parent, score = np.empty_like(tree.parent), np.empty_like(tree.score)
    parent[new[:-1]] = new[tree.parent]
    score[new[:-1]] = tree.score
    assert clusters(Tree.from_parents(parent, score, tree.n_leaves)) == clusters(tree)


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.sampled_from(["ward", "average", "complete", "single"]))
def test_a_linkage_comes_back(seed: int, n: int, method: Any) -> None:
    Z = linkage(np.random.default_rng(seed).normal(size=(n, 3)), method)
    assert (Tree.from_linkage(Z).to_linkage() == Z).all()


# Three points of an almost equilateral triangle: the third is nearer to the first two's centroid than they are apart.
INVERTED = linkage([[0.0, 0.0], [1.0, 0.0], [0.5, 0.9]], "centroid")


def test_falling_heights_are_refused() -> None:
    assert INVERTED[1, 2] < INVERTED[0, 2]
    with pytest.raises(UserError, match=r"node 3 has 1, its parent 4 has 0\.9") as error:
        Tree.from_linkage(INVERTED)
    assert "monotone" in str(error.value.hint)


def test_falling_heights_are_repaired_by_name_as_scipy_reads_them() -> None:
    assert Tree.from_linkage(INVERTED, repair="monotone").score.tolist() == [0, 0, 0, 1, 1]
    rng = np.random.default_rng(0)
    for _ in range(20):
        Z = linkage(rng.normal(size=(20, 2)), "centroid")
        assert (Tree.from_linkage(Z, repair="monotone").score[20:] == maxdists(Z)).all()
    with pytest.raises(UserError, match="unknown repair 'median'"):
        Tree.from_linkage(INVERTED, repair="median")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "Z",
    [
        [[0, 1, 0.5, 2], [0, 2, 0.7, 3]],  # 0 merges twice
        [[0, 4, 0.5, 2], [1, 2, 0.7, 3]],  # 4 is not made yet
        [[0, 1.5, 0.5, 2]],
        [[0, 1, np.nan, 2]],
        [[0, 1, np.inf, 2]],
        [[0, 1, -0.5, 2]],
        [[0, 1, 0.5]],
        [0, 1, 0.5, 2],
    ],
)
def test_what_is_no_linkage_is_refused(Z: Any) -> None:
    with pytest.raises(UserError):
        Tree.from_linkage(Z)


@pytest.mark.parametrize(
    ("parent", "score", "n_leaves", "message"),
    [
        ([3, 3, 4, 4, 3], [0, 0, 0, 1, 1], 3, "cycle"),
        ([1, -1], [0, 0], 2, "neither -1 nor an inner node"),
        ([7, -1], [0, 0], 2, "neither -1 nor an inner node"),
        ([-1, -1, -1], [0, 0, 1], 2, "no children"),
        ([2, 2, -1], [0.1, 0, 1], 2, "leaf's score must be 0"),
        ([2, 2, -1], [0, 0, np.nan], 2, "finite"),
        ([2, 2, -1], [0, 0], 2, "2 scores"),
        ([], [], 0, "0 leaves"),
        ([-1], [0], 2, "2 leaves"),
        ([2.5, 2, -1], [0, 0, 1], 2, "1-D int64"),
    ],
)
def test_what_is_no_tree_is_refused(parent: Any, score: Any, n_leaves: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tree.from_parents(np.array(parent, dtype=None if parent else int), np.array(score, dtype=float), n_leaves)


def test_children_must_come_first_in_the_arrays_themselves() -> None:
    parent, score = np.array([4, 4, 3, -1, 3]), np.array([0, 0, 0, 2.0, 1.0])
    with pytest.raises(UserError, match="node 4 comes after its parent 3"):
        Tree(parent, score, 3)
    assert clusters(Tree.from_parents(parent, score, 3))[1] == ([0, 1], 1.0)


def test_one_prompt_and_nobody_sharing() -> None:
    assert len(Tree.from_linkage(np.empty((0, 4))).parent) == 1
    assert Tree.singletons(1).to_linkage().shape == (0, 4)
    assert Tree.singletons(3).parent.tolist() == [-1, -1, -1]
    with pytest.raises(UserError):
        Tree.singletons(0)


def test_only_a_binary_tree_has_a_linkage() -> None:
    for tree in (Tree.singletons(2), Tree.from_parents([3, 3, 3, -1], [0, 0, 0, 1.0], 3)):
        with pytest.raises(UserError, match="binary tree with one root"):
            tree.to_linkage()


def test_a_chain_is_no_deeper_than_python() -> None:
    n = 20_000
    made = np.arange(n, 2 * n - 1)
    parent = np.concatenate([made[:1], made, made[1:], [-1]])
    score = np.concatenate([np.zeros(n), np.linspace(0, 1, n - 1)])
    tree = Tree.from_parents(parent, score, n)
    assert members(tree, n + 5) == set(range(7))
    shuffled = np.concatenate([np.arange(n), np.random.default_rng(0).permutation(made), [-1]])
    back = np.empty(2 * n - 1, dtype=int)
    back[shuffled[:-1]] = shuffled[parent]
    scores = np.empty(2 * n - 1)
    scores[shuffled[:-1]] = score
    assert (Tree.from_parents(back, scores, n).score == score).all()


@settings(max_examples=25)
@given(data=st.data())
def test_a_saved_tree_comes_back(forests: Forests, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    tree = data.draw(forests())
    path = tmp_path_factory.mktemp("tree") / "tree.npz"
    tree.save(path)
    loaded = Tree.load(path)
    assert loaded.n_leaves == tree.n_leaves
    assert (loaded.parent == tree.parent).all()
    assert (loaded.score == tree.score).all()


def test_a_saved_tree_is_checked_again(tmp_path: Path) -> None:
    from generators.sharing.arrays import write_npz
    from generators.sharing.tree import KIND

    path = tmp_path / "tree.npz"
    write_npz(path, KIND, {"parent": np.array([2, 2, -1]), "score": np.array([0.0, 0, -1]), "n_leaves": 2})
    with pytest.raises(UserError, match=r"tree\.npz holds no whole tree: scores must be"):
        Tree.load(path)
    write_npz(path, KIND, {"parent": np.array([2, 2, -1])})
    with pytest.raises(UserError, match="no whole tree"):
        Tree.load(path)


@given(st.data(), st.integers(1, 4), st.floats(0, 3))
def test_copies_stand_where_their_prompt_stood_and_part_at_one_height(
    forests: Forests, data: st.DataObject, n: int, height: float
) -> None:
    tree = data.draw(forests())
    whole = tree.with_copies(n, height)
    assert whole.n_leaves == n * tree.n_leaves
    own = [frozenset(range(n * i, n * i + n)) for i in range(tree.n_leaves)]
    expected = [
        (sorted(leaf for prompt in members(tree, node) for leaf in own[prompt]), max(height, float(tree.score[node])))
        for node in range(tree.n_leaves if n > 1 else 0, len(tree.parent))
    ]
    copies = [([leaf], 0.0) for leaf in range(whole.n_leaves)] + [(sorted(group), height) for group in own]
    assert clusters(whole) == (sorted([*expected, *copies]) if n > 1 else clusters(tree))
    for group in own if n > 1 else []:  # whatever prompts stand beside them
        (parent,) = {int(whole.parent[leaf]) for leaf in group}
        assert whole.score[parent] == height
