"""A plan as a tree, and groupings that are none."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage

from common.errors import UserError
from generators.sharing.parting import drawn, is_parting, parting_tree, shared_steps
from generators.sharing.plan import build_plan, standard_plan, treed
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.strategies.cache import Cache

ROWS = np.random.default_rng(3).normal(size=(12, 3))


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
    assert (parting_tree(standard_plan(4, 5)).parent == -1).all()


def test_a_tree_is_shown_as_it_is_and_a_planner_as_its_plan() -> None:
    tree, cache = Tree.from_linkage(linkage(ROWS, "ward")), Cache().grouping(ROWS)
    plan = build_plan(cache, get_schedule("eq7"), 3.0, 10)
    assert drawn(tree, plan) is tree
    assert np.array_equal(drawn(cache, plan).parent, parting_tree(plan).parent)
    assert is_parting(drawn(cache, plan), plan) and not is_parting(tree, build_plan(tree, get_schedule("eq7"), 3.0, 10))
    assert treed(tree, "ward") is tree
    with pytest.raises(UserError, match="'cache' makes no tree"):
        treed(cache, "cache")
