"""Plans cut in parts: nothing is lost, nothing is done twice, no part is too wide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from generators.sharing.parts import (
    Part,
    PartPlan,
    branch_leaves,
    branch_node_steps,
    exported_nodes,
    most_kept,
    part_rows,
    parts,
)
from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.union import union

K = 6


@pytest.fixture(scope="session")
def plans(forests, taus):
    """Plans of random forests, and unions of two, in which paths are shared further."""

    @st.composite
    def _plans(draw) -> SharingPlan:
        tree, schedule = draw(forests(max_leaves=12)), get_schedule(draw(st.sampled_from(["eq7", "official"])))
        made = [build_plan(tree, schedule, draw(taus), K) for _ in range(draw(st.integers(1, 2)))]
        return made[0] if len(made) == 1 else union(made).plan

    return _plans()


def node_steps(plan: SharingPlan, nodes) -> int:
    return int((plan.stop - plan.first)[nodes].sum())


@given(data=st.data(), rows=st.integers(1, 14), whole_trees=st.booleans())
def test_every_node_is_in_one_part_and_no_part_is_too_wide(plans, data, rows, whole_trees):
    plan = data.draw(plans)
    cut = parts(plan, rows, whole_trees=whole_trees)
    assert sorted(np.concatenate(cut.nodes).tolist()) == list(range(len(plan.first)))
    assert sum(node_steps(plan, nodes) for nodes in cut.nodes) == plan.node_steps
    place = {node: i for i, nodes in enumerate(cut.nodes) for node in nodes.tolist()}
    largest = branch_leaves(plan)[plan.source < 0].max()
    for i, (nodes, waits) in enumerate(zip(cut.nodes, cut.waits.tolist(), strict=True)):
        part = Part.of(plan, nodes)
        assert part.plan.widest <= max(rows, largest if whole_trees else 0)
        assert waits < i, "what a part begins from was exported by one before it"
        assert {place[node] for node in part.sources.tolist()} == ({waits} if waits >= 0 else set())
        if cut.heirs[i]:
            assert (part.plan.output < 0).all(), "a trunk ends with no picture"
            between = set(range(i + 1, cut.heirs[i][-1]))
            assert all(cut.waits[j] >= i for j in between), "all of a trunk's come before another's"
    if plan.leaves <= rows:
        assert len(cut.nodes) == 1
    if whole_trees:
        assert (cut.waits < 0).all()


@given(data=st.data(), rows=st.integers(1, 5))
def test_no_more_latents_are_kept_than_it_says(plans, data, rows):
    plan = data.draw(plans)
    cut = parts(plan, rows)
    place = {node: i for i, nodes in enumerate(cut.nodes) for node in nodes.tolist()}
    waiting = {s for node, s in enumerate(plan.source.tolist()) if s >= 0 and place[s] != place[node]}
    last = [max([i, *heirs]) for i, heirs in enumerate(cut.heirs)]
    alive = [sum(place[node] <= i <= last[place[node]] for node in waiting) for i in range(len(cut.nodes))]
    assert most_kept(plan, cut) == max(alive)
    assert sorted(waiting) == sorted(np.concatenate(exported_nodes(plan, cut)).tolist())


@given(data=st.data(), rows=st.integers(1, 5))
def test_a_part_says_of_its_nodes_what_the_plan_says(plans, data, rows):
    plan = data.draw(plans)
    for nodes in parts(plan, rows).nodes:
        part = Part.of(plan, nodes)
        assert part.nodes.tolist() == nodes.tolist() == sorted(nodes.tolist())
        assert part.plan.node_steps == node_steps(plan, nodes)
        begins = iter(part.sources.tolist())
        for own, node in enumerate(nodes.tolist()):
            assert part.prompts[part.plan.members(own)].tolist() == plan.members(node).tolist(), "in their order"
            source = part.plan.source[own]
            if own in part.plan.from_states:
                assert plan.source[node] == next(begins)
            else:
                assert (part.nodes[source] if source >= 0 else -1) == plan.source[node]
        wanted = {p: n for p, n in enumerate(plan.output.tolist()) if n in set(nodes.tolist())}
        ends, prompts = part.plan.ends
        assert dict(zip(part.prompts[prompts].tolist(), part.nodes[ends].tolist(), strict=True)) == wanted


def test_a_branch_costs_what_it_and_all_below_it_cost(forests):
    plan = SharingPlan(
        3, 4, *map(np.array, ([0, 2, 2, 3, 3], [2, 4, 3, 4, 4], [-1, 0, 0, 2, 2], [0, 1, 2], [0, 0, 1, 1, 2])),
        np.array([3, 1, 3, 2, 3]), np.array([1, 3, 4]), "mean",
    )  # fmt: skip
    assert branch_node_steps(plan).tolist() == [7, 2, 3, 1, 1]
    assert branch_leaves(plan).tolist() == [3, 1, 2, 1, 1]


def test_many_small_trees_need_no_trunk():
    cut = parts(baseline_plan(1000, K), 25)
    assert [len(nodes) for nodes in cut.nodes] == [25] * 40
    assert (cut.waits == -1).all()


def test_for_workers_a_part_is_a_quarter_of_a_share_within_bounds():
    assert part_rows(8000, workers=20, least=2) == 100
    assert part_rows(8000, workers=1000, least=32) == 32, "batches stay full"
    assert part_rows(10**9, workers=20, least=32) == 64 * 32, "nor is much lost with a worker"


def test_only_parts_begin_from_nothing():
    lost = {**vars(baseline_plan(2, 4)), "first": np.array([0, 2])}
    assert PartPlan(**lost).from_states.tolist() == [1]
    with pytest.raises(UserError, match="no source"):
        SharingPlan(**lost)
    with pytest.raises(ValueError, match="rows"):
        parts(baseline_plan(2, 4), 0)
    with pytest.raises(ValueError, match="workers"):
        part_rows(2, 0)
