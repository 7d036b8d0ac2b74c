"""The union of plans is their trie, and nothing of any of them is lost."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.sharing.union import side_by_side, union
from generators.strategies.ward_cosine import WardCosine

Forests = Callable[..., st.SearchStrategy[Tree]]
Path = tuple[frozenset[int], ...]


@st.composite
def several_plans(
    draw: st.DrawFn, forests: Forests, taus: st.SearchStrategy[float], steps: int | None = None
) -> list[SharingPlan]:
    """Plans of one or two trees at many taus under both schedules, some of them for some of their prompts."""
    n, steps = draw(st.integers(1, 8)), steps or draw(st.integers(1, 6))
    tree = draw(forests(max_leaves=n))
    trees = [tree, draw(forests(max_leaves=n).filter(lambda other: other.n_leaves == tree.n_leaves))]
    plans = []
    for _ in range(draw(st.integers(1, 4))):
        schedule = get_schedule(draw(st.sampled_from(["eq7", "official"])))
        plan = build_plan(draw(st.sampled_from(trees)), schedule, draw(taus), steps)
        wanted = draw(st.lists(st.booleans(), min_size=tree.n_leaves, max_size=tree.n_leaves))
        plans.append(plan.restricted(np.array(wanted)) if draw(st.booleans()) else plan)
    return plans


def path(plan: SharingPlan, node: int) -> Path:
    """Who the latent that ends in `node` was denoised with, step by step."""
    steps: list[frozenset[int]] = []
    while node >= 0:
        who = frozenset(plan.members(node).tolist())
        steps = [who] * int(plan.stop[node] - plan.first[node]) + steps
        node = int(plan.source[node])
    return tuple(steps)


def prefixes(plans: list[SharingPlan]) -> set[Path]:
    """Every path of every plan up to every step: what a trie holds."""
    whole = [path(plan, int(node)) for plan in plans for node in plan.output[plan.output >= 0]]
    return {one[: k + 1] for one in whole for k in range(len(one))}


@given(st.data())
def test_every_path_of_every_plan_is_there(
    forests: Forests, taus: st.SearchStrategy[float], data: st.DataObject
) -> None:
    plans = data.draw(several_plans(forests, taus))
    made = union(plans)
    for plan, rows in zip(plans, made.rows, strict=True):
        assert (rows >= 0).tolist() == (plan.output >= 0).tolist()
        for prompt in np.flatnonzero(rows >= 0):
            assert path(made.plan, int(made.ends[rows[prompt]])) == path(plan, int(plan.output[prompt]))
            assert made.prompts[rows[prompt]] == prompt


@given(st.data())
def test_side_by_side_every_path_is_there_among_its_own_prompts(
    forests: Forests, taus: st.SearchStrategy[float], data: st.DataObject
) -> None:
    first = data.draw(several_plans(forests, taus))
    sets = [first, data.draw(several_plans(forests, taus, first[0].steps))]
    unions = [union(plans) for plans in sets]
    whole = side_by_side(unions)
    assert whole.plan.node_steps == sum(each.plan.node_steps for each in unions)
    rows = iter(whole.rows)
    for plans, offset in zip(sets, (0, first[0].n_prompts), strict=True):
        for plan in plans:
            mine = next(rows)
            assert (mine >= 0).tolist() == (plan.output >= 0).tolist()
            for prompt in np.flatnonzero(mine >= 0):
                found = path(whole.plan, int(whole.ends[mine[prompt]]))
                own = path(plan, int(plan.output[prompt]))
                assert found == tuple(frozenset(who + offset for who in step) for step in own)
                assert whole.prompts[mine[prompt]] == prompt + offset


def test_side_by_side_are_unions_of_one_kind() -> None:
    plan = baseline_plan(3, 5)
    for other in (baseline_plan(3, 6), replace(plan, combiner="medoid")):
        with pytest.raises(ValueError, match="same steps and combiner"):
            side_by_side([union([plan]), union([other])])


@given(st.data())
def test_it_costs_as_much_as_the_trie_of_all_paths(
    forests: Forests, taus: st.SearchStrategy[float], data: st.DataObject
) -> None:
    plans = data.draw(several_plans(forests, taus))
    assert union(plans).plan.node_steps == len(prefixes(plans))


def test_a_plan_with_itself_and_with_standard_generation() -> None:
    tree = WardCosine().tree(np.random.default_rng(0).normal(size=(20, 4)))
    plan = build_plan(tree, get_schedule("eq7"), 0.2, 10)
    assert union([plan, plan]).plan.node_steps == plan.node_steps
    solo = int(plan.solo.sum())
    both = union([baseline_plan(20, 10), plan])
    assert 0 < solo < 20
    assert both.plan.node_steps < 200 + plan.node_steps
    assert len(both.ends) == 40 - solo, "a prompt whose path is standard's is denoised and wanted once"
    assert (both.rows[0] == both.rows[1]).tolist() == plan.solo.tolist()


def test_by_hand() -> None:
    # Two prompts that part after 2 and after 3 of 4 steps, and alone: 3 shared; 1 + 1 and 2 + 2 alone; 4 + 4.
    pair = Tree.from_linkage([[0, 1, 0.5, 2]])
    eq7 = get_schedule("eq7")
    plans = [build_plan(pair, eq7, tau, 4) for tau in (1.1, 2.1, 0.0)]
    assert [plan.node_steps for plan in plans] == [6, 5, 8]
    made = union(plans)
    assert made.plan.node_steps == 3 + 4 + 2 + 8
    assert len(made.ends) == 6


def test_what_does_not_belong_together_is_refused() -> None:
    plan = baseline_plan(3, 5)
    for other in (baseline_plan(4, 5), baseline_plan(3, 6), replace(plan, combiner="medoid")):
        with pytest.raises(ValueError, match="same prompts, steps and combiner"):
            union([plan, other])
    with pytest.raises(ValueError, match="same prompts"):
        union([])
