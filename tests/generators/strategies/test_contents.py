"""Trees by content, on random trees: nothing depends on how rows are numbered."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from generators.sharing.savings import node_steps
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.strategies.base import get_strategy
from generators.strategies.contents import (
    by_content,
    by_distinct_content,
    content_order,
    contracted,
    first_of_equals,
    renamed,
    with_copies,
)
from generators.strategies.random_balanced import RandomBalanced

KINDS = st.lists(st.integers(0, 5), min_size=1, max_size=12)
ROWS = np.random.default_rng(0).normal(size=(6, 3))


def members(tree: Tree, node: int) -> set[int]:
    return set(tree.leaf_order[tree.lo[node] : tree.hi[node]].tolist())


@given(KINDS, st.randoms())
def test_rows_are_ordered_by_what_they_are(kind: list[int], random) -> None:
    rows = ROWS[kind]
    shuffled = ROWS[random.sample(kind, len(kind))]
    one, two = rows[content_order(rows)], shuffled[content_order(shuffled)]
    assert (one == two).all()
    assert np.count_nonzero(first_of_equals(one)) == len(set(kind)), "equal rows stand beside one another"


def test_negative_zero_is_zero() -> None:
    seen = []
    by_content(np.array([[0.0, 1.0], [-0.0, 1.0]]), lambda rows: seen.append(rows) or Tree.singletons(2))
    assert first_of_equals(seen[0]).tolist() == [True, False]
    assert not np.signbit(seen[0]).any()


def test_leaves_are_renamed_and_nothing_else() -> None:
    tree = Tree(np.array([3, 3, 4, 4, -1]), np.array([0, 0, 0, 1.0, 2.0]), 3)
    assert renamed(tree, np.array([2, 0, 1])).parent.tolist() == [3, 4, 3, 4, -1]


@given(KINDS)
def test_copies_join_at_height_0_where_their_content_was(kind: list[int]) -> None:
    _, kinds = np.unique(kind, return_inverse=True)
    n = kinds.max() + 1
    tree = RandomBalanced().tree(ROWS[:n])
    grown = with_copies(tree, kinds)
    assert grown.n_leaves == len(kind)
    wanted = [{i for i, k in enumerate(kinds) if k in members(tree, node)} for node in range(n, len(tree.parent))]
    found = [members(grown, node) for node in range(len(kind), len(grown.parent)) if grown.score[node] > 0]
    assert sorted(map(sorted, wanted)) == sorted(map(sorted, found))
    for node in np.flatnonzero(grown.score[len(kind) :] == 0) + len(kind):
        assert len({kinds[leaf] for leaf in members(grown, node)}) == 1


def test_distinct_content_is_seen_once_with_its_copies() -> None:
    seen = []

    def cluster(rows, copies):
        seen.append((rows.tolist(), copies.tolist()))
        return Tree.singletons(len(rows))

    tree = by_distinct_content(ROWS[[1, 0, 1, 1]], cluster)
    ((rows, copies),) = seen
    assert sorted(zip(rows, copies, strict=True)) == sorted([(ROWS[0].tolist(), 1), (ROWS[1].tolist(), 3)])
    assert tree.parent.tolist() == [4, -1, 4, 4, -1]
    assert by_distinct_content(ROWS[[1, 1]], cluster).parent.tolist() == [2, 2, -1]
    assert len(seen) == 1, "one content needs no clustering"


@given(st.data(), st.integers(1, 12))
def test_contracted_clusters_are_those_that_were_kept(data: st.DataObject, n: int) -> None:
    tree = get_strategy("average").tree(np.random.default_rng(n).normal(size=(n, 3)))
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(tree.parent), max_size=len(tree.parent))))
    kept[:n] = True
    small = contracted(tree, kept)
    nodes = np.flatnonzero(kept)
    assert [members(small, i) for i in range(len(nodes))] == [members(tree, node) for node in nodes]
    assert (small.score == tree.score[kept]).all()
    eq7 = get_schedule("eq7")
    assert node_steps(small, eq7, 1.0, 10) >= node_steps(tree, eq7, 1.0, 10), "who is no cluster shares nothing"
