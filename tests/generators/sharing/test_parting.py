"""The steps that prompts share, and the tree that a plan's paths form."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage

from common.errors import UserError
from generators.sharing.parting import drawn, is_parting, parting_tree, shared_steps, shared_with_next
from generators.sharing.plan import baseline_plan, build_plan, treed
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.strategies.cache import Cache

Forests = Callable[..., st.SearchStrategy[Tree]]
ROWS = np.random.default_rng(3).normal(size=(12, 3))


@given(st.data())
def test_prompts_share_the_steps_at_which_one_node_serves_both(
    forests: Forests, taus: st.SearchStrategy[float], data: st.DataObject
) -> None:
    schedule = get_schedule(data.draw(st.sampled_from(["eq7", "official"])))
    plan = build_plan(data.draw(forests()), schedule, data.draw(taus), data.draw(st.integers(1, 8)))
    shared = shared_steps(plan)
    for one in range(plan.n_prompts):
        for other in range(plan.n_prompts):
            together = [
                k for k in range(plan.steps) for i in plan.active(k) if {one, other} <= set(plan.members(i).tolist())
            ]
            assert shared[one, other] == len(together)
            assert together == list(range(len(together))), "the first steps, and none after they parted"


def test_in_standard_generation_nobody_shares() -> None:
    assert np.array_equal(shared_steps(baseline_plan(4, 7)), 7 * np.eye(4))


def test_a_prompt_without_an_output_shares_nothing() -> None:
    plan = baseline_plan(3, 5).restricted(np.array([True, False, True]))
    assert np.array_equal(shared_steps(plan), np.diag([5, 0, 5]))


@given(st.data())
def test_neighbours_in_the_trees_order_tell_how_long_every_cluster_is_together(
    forests: Forests, taus: st.SearchStrategy[float], data: st.DataObject
) -> None:
    tree, steps = data.draw(forests()), data.draw(st.integers(1, 8))
    schedule = get_schedule(data.draw(st.sampled_from(["eq7", "official"])))
    plan = build_plan(tree, schedule, data.draw(taus), steps)
    shared, order = shared_steps(plan), tree.leaf_order
    beside = shared_with_next(plan, order)
    assert beside.tolist() == [shared[one, other] for one, other in pairwise(order)]
    for lo, hi in zip(tree.lo, tree.hi, strict=True):
        members = order[lo:hi]
        assert shared[np.ix_(members, members)].min() == min([steps, *beside[lo : hi - 1]])


def test_the_tree_of_a_plan_says_how_long_any_two_prompts_are_one() -> None:
    for grouping in (Tree.from_linkage(linkage(ROWS, "ward")), Cache().grouping(ROWS)):
        plan = build_plan(grouping, get_schedule("eq7"), 3.0, 10)
        tree, together = parting_tree(plan), shared_steps(plan)
        assert plan.savings > 0.1
        for one in range(12):
            for other in range(one):
                common = [
                    node
                    for node in range(12, len(tree.parent))
                    if {one, other} <= set(tree.leaf_order[tree.lo[node] : tree.hi[node]].tolist())
                ]
                shared = 10 * (1 - min((tree.score[node] for node in common), default=1.0))
                assert shared == pytest.approx(together[one, other])


def test_nobody_shares_nothing_merges() -> None:
    assert (parting_tree(baseline_plan(4, 5)).parent == -1).all()


def test_a_tree_is_shown_as_it_is_and_a_planner_as_its_plan() -> None:
    tree, cache = Tree.from_linkage(linkage(ROWS, "ward")), Cache().grouping(ROWS)
    plan = build_plan(cache, get_schedule("eq7"), 3.0, 10)
    assert drawn(tree, plan) is tree
    assert np.array_equal(drawn(cache, plan).parent, parting_tree(plan).parent)
    assert is_parting(drawn(cache, plan), plan) and not is_parting(tree, build_plan(tree, get_schedule("eq7"), 3.0, 10))
    assert treed(tree, "ward") is tree
    with pytest.raises(UserError, match="'cache' makes no tree"):
        treed(cache, "cache")
