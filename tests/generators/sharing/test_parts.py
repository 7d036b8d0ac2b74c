"""Plans cut for workers: nothing is lost, nothing is done twice, no part is too large."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from generators.sharing.parts import Part, PartPlan, branch_node_steps, part_size, parts
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


@given(data=st.data(), workers=st.integers(1, 5), least=st.integers(1, 40))
def test_every_node_is_in_one_part_and_no_part_is_too_large(plans, data, workers, least):
    plan = data.draw(plans)
    cut = parts(plan, workers, least)
    every = np.concatenate([*cut.trunks, *cut.subtrees])
    assert sorted(every.tolist()) == list(range(len(plan.first)))
    size = part_size(plan.node_steps, K, workers, least)
    sizes = [node_steps(plan, nodes) for nodes in cut.subtrees]
    assert all(0 < each <= size for each in sizes)
    assert len(sizes) + len(cut.trunks) <= 4 * plan.node_steps / size + 3
    trunk = set(np.concatenate([*cut.trunks, []]).astype(int).tolist())
    assert trunk == set(np.flatnonzero(branch_node_steps(plan) > size).tolist())
    if plan.node_steps <= size:
        assert len(cut.trunks) == 0
        assert len(cut.subtrees) == 1
    place = {node: ("trunk", i) for i, nodes in enumerate(cut.trunks) for node in nodes.tolist()}
    place |= {node: ("subtree", i) for i, nodes in enumerate(cut.subtrees) for node in nodes.tolist()}
    for node, source in enumerate(plan.source.tolist()):
        kind, i = place[node]
        if source >= 0 and place[source] != place[node]:
            assert kind == "subtree"
            assert place[source] == ("trunk", cut.waits[i]), "a part waits for one trunk alone"
    for nodes, waits in zip(cut.subtrees, cut.waits.tolist(), strict=True):
        assert (waits >= 0) == bool(len(Part.of(plan, nodes).sources))


@given(data=st.data(), workers=st.integers(1, 5))
def test_a_part_says_of_its_nodes_what_the_plan_says(plans, data, workers):
    plan = data.draw(plans)
    for nodes in (cut := parts(plan, workers)).subtrees + cut.trunks:
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


def test_many_small_trees_need_no_trunk():
    cut = parts(baseline_plan(1000, K), 10)
    assert len(cut.trunks) == 0
    assert [len(nodes) for nodes in cut.subtrees] == [25] * 40


def test_a_part_is_a_quarter_of_a_share_within_bounds():
    assert part_size(8000, 10, workers=20) == 100
    assert part_size(8000, 10, workers=1000) == 10, "a prompt alone is not cut"
    assert part_size(8000, 10, workers=20, least=320) == 320, "batches stay full"
    assert part_size(10**9, 10, workers=20, least=320) == 64 * 320, "nor is much lost with a worker"


def test_only_parts_begin_from_nothing():
    lost = {**vars(baseline_plan(2, 4)), "first": np.array([0, 2])}
    assert PartPlan(**lost).from_states.tolist() == [1]
    with pytest.raises(UserError, match="no source"):
        SharingPlan(**lost)
    with pytest.raises(ValueError, match="workers"):
        parts(baseline_plan(2, 4), 0)
