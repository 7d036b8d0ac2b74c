from collections.abc import Callable
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from generators.sharing.parting import shared_steps, shared_with_next
from generators.sharing.plan import build_plan, standard_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree

Forests = Callable[..., st.SearchStrategy[Tree]]


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
    assert np.array_equal(shared_steps(standard_plan(4, 7)), 7 * np.eye(4))


def test_a_prompt_without_an_output_shares_nothing() -> None:
    plan = standard_plan(3, 5).restricted(np.array([True, False, True]))
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
