from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from generators.sharing.arrays import read_npz, write_npz
from generators.sharing.plan import KIND, SharingPlan, baseline_plan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.strategies.ward_cosine import WardCosine

Forests = Callable[..., st.SearchStrategy[Tree]]
Taus = st.SearchStrategy[float]
SCHEDULES = ("eq7", "official")
ARRAYS = ("first", "stop", "source", "order", "lo", "hi", "output")


def draw_plan(data: st.DataObject, forests: Forests, taus: Taus) -> SharingPlan:
    schedule = get_schedule(data.draw(st.sampled_from(SCHEDULES)))
    return build_plan(data.draw(forests()), schedule, data.draw(taus), data.draw(st.integers(1, 8)))


def path(plan: SharingPlan, prompt: int) -> list[int]:
    """The nodes that make a prompt's latent, from the root to its output."""
    nodes = [int(plan.output[prompt])]
    while plan.source[nodes[0]] >= 0:
        nodes.insert(0, int(plan.source[nodes[0]]))
    return nodes


def groups(plan: SharingPlan, k: int) -> set[frozenset[int]]:
    return {frozenset(plan.members(i).tolist()) for i in plan.active(k)}


def same(one: SharingPlan, other: SharingPlan) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ARRAYS)


@given(st.data())
def test_every_path_covers_every_step_once(forests: Forests, taus: Taus, data: st.DataObject) -> None:
    plan = draw_plan(data, forests, taus)
    for prompt in range(plan.n_prompts):
        nodes = path(plan, prompt)
        assert [k for i in nodes for k in range(plan.first[i], plan.stop[i])] == list(range(plan.steps))
        assert all(prompt in plan.members(i) for i in nodes)
        assert all(set(plan.members(i)) >= set(plan.members(j)) for i, j in pairwise(nodes))
    for k in range(plan.steps):
        served = np.concatenate([plan.members(i) for i in plan.active(k)])
        assert sorted(served) == list(range(plan.n_prompts))
        assert (np.diff(plan.active(k)) > 0).all()


@given(st.data())
def test_a_plan_costs_what_its_active_nodes_do(forests: Forests, taus: Taus, data: st.DataObject) -> None:
    plan = draw_plan(data, forests, taus)
    assert plan.node_steps == sum(len(plan.active(k)) for k in range(plan.steps))
    assert plan.baseline_node_steps == plan.n_prompts * plan.steps
    assert plan.savings == pytest.approx(1 - plan.node_steps / plan.baseline_node_steps)


@given(st.data())
def test_nobody_shares_at_tau_0(forests: Forests, data: st.DataObject) -> None:
    tree, steps = data.draw(forests()), data.draw(st.integers(1, 8))
    for name in SCHEDULES:
        plan = build_plan(tree, get_schedule(name), 0, steps)
        assert plan.node_steps == plan.baseline_node_steps
        assert plan.solo.all()
        assert [groups(plan, k) for k in range(steps)] == [{frozenset({p}) for p in range(tree.n_leaves)}] * steps


def test_standard_is_the_plan_of_the_tree_in_which_nobody_shares() -> None:
    for name in SCHEDULES:
        assert same(build_plan(Tree.singletons(5), get_schedule(name), 1.5, 7), baseline_plan(5, 7))
    assert baseline_plan(5, 7).savings == 0
    assert baseline_plan(5, 7).solo.all()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("tau", [1e-300, 1e-6, 1.0, 50.0])
def test_equal_prompts_part_at_the_last_step(name: str, tau: float) -> None:
    tree = WardCosine().tree(np.array([[1.0, 0.1], [1.0, 0.1], [1.0, 0.1]]))
    plan = build_plan(tree, get_schedule(name), tau, 6)
    assert [len(plan.active(k)) for k in range(6)] == [1, 1, 1, 1, 1, 3]


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_step_is_never_shared(name: str) -> None:
    tree = WardCosine().tree(np.random.default_rng(0).normal(size=(6, 3)))
    plan = build_plan(tree, get_schedule(name), 2.0, 1)
    assert (plan.solo.all(), plan.node_steps, plan.savings) == (True, 6, 0.0)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_prompts(name: str, n: int) -> None:
    tree = WardCosine().tree(np.array([[1.0, 0.0], [1.0, 1.0]])[:n])
    plan = build_plan(tree, get_schedule(name), 1.0, 4)
    height = 1 - np.sqrt(0.5)  # between the third threshold and the second, under either schedule
    expected = {1: [1, 1, 1, 1], 2: [1, 1, 2, 2] if name == "eq7" else [1, 1, 1, 2]}[n]
    assert height == pytest.approx(0.293, abs=1e-3)
    assert [len(plan.active(k)) for k in range(4)] == expected


def test_a_root_is_shared_while_the_threshold_is_above_it() -> None:
    tree = Tree.from_linkage([[0, 1, 0.1, 2], [2, 3, 0.2, 3]])
    plan = build_plan(tree, get_schedule("eq7"), 1000.0, 10)
    assert [len(plan.active(k)) for k in range(10)] == [1] * 9 + [3]
    assert plan.savings == pytest.approx(18 / 30)


def test_a_tie_goes_to_the_smaller_cluster_under_eq7_and_to_the_larger_under_official() -> None:
    tree = Tree.from_linkage([[0, 1, 0.5, 2]])
    assert get_schedule("eq7").thresholds(1.0, 4)[1] == get_schedule("official").thresholds(1.0, 3)[1] == 0.5
    assert [len(build_plan(tree, get_schedule("eq7"), 1.0, 4).active(k)) for k in range(4)] == [1, 2, 2, 2]
    assert [len(build_plan(tree, get_schedule("official"), 1.0, 3).active(k)) for k in range(3)] == [1, 1, 2]


def test_a_forest_of_any_arity_by_hand() -> None:
    # Roots: 5 = {0, 1, 2} at 0.6, and prompt 3 with 4 as 6 = {3, 4} at 0.2 under 7 = {3, 4} at 0.2 (equal heights).
    tree = Tree.from_parents([5, 5, 5, 6, 6, -1, 7, -1], [0, 0, 0, 0, 0, 0.6, 0.2, 0.2], 5)
    plan = build_plan(tree, get_schedule("eq7"), 1.0, 4)  # 0.75 0.5 0.25 0
    trio, pair, alone = {frozenset({0, 1, 2})}, {frozenset({3, 4})}, [frozenset({p}) for p in range(5)]
    assert [groups(plan, k) for k in range(4)] == [trio | pair, pair | {*alone[:3]}, pair | {*alone[:3]}, {*alone}]
    assert plan.node_steps == 2 + 4 + 4 + 5
    assert plan.source.tolist() == [5, 5, 5, 6, 6, -1, -1]
    assert plan.first.tolist() == [1, 1, 1, 3, 3, 0, 0]


# Who is where


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.sampled_from(SCHEDULES), st.floats(0.05, 2))
def test_the_order_of_the_prompts_does_not_matter(seed: int, n: int, name: str, tau: float) -> None:
    rng = np.random.default_rng(seed)
    features, order = rng.normal(size=(n, 4)), rng.permutation(n)
    plan = build_plan(WardCosine().tree(features), get_schedule(name), tau, 9)
    shuffled = build_plan(WardCosine().tree(features[order]), get_schedule(name), tau, 9)
    for k in range(9):
        assert groups(plan, k) == {frozenset(order[[*group]].tolist()) for group in groups(shuffled, k)}


@given(st.data())
def test_solo_prompts_take_standards_path(forests: Forests, taus: Taus, data: st.DataObject) -> None:
    plan = draw_plan(data, forests, taus)
    expected = [all(plan.members(i).tolist() == [p] for i in path(plan, p)) for p in range(plan.n_prompts)]
    assert plan.solo.tolist() == expected


@given(st.data())
def test_a_restricted_plan_keeps_the_paths_that_are_needed(forests: Forests, taus: Taus, data: st.DataObject) -> None:
    plan = draw_plan(data, forests, taus)
    wanted = np.array(data.draw(st.lists(st.booleans(), min_size=plan.n_prompts, max_size=plan.n_prompts)), dtype=bool)
    part = plan.restricted(wanted)
    needed = {i for p in np.flatnonzero(wanted) for i in path(plan, p)}
    assert part.node_steps == sum(int(plan.stop[i] - plan.first[i]) for i in needed)
    assert part.baseline_node_steps == wanted.sum() * plan.steps
    assert (part.output >= 0).tolist() == wanted.tolist()
    for p in np.flatnonzero(wanted):
        for i, j in zip(path(plan, p), path(part, p), strict=True):
            assert plan.members(i).tolist() == part.members(j).tolist()
            assert (plan.first[i], plan.stop[i]) == (part.first[j], part.stop[j])
    assert same(plan.restricted(np.ones(plan.n_prompts, dtype=bool)), plan)
    assert (part.solo == (plan.solo & wanted)).all()


def test_a_plan_restricted_to_nobody_is_empty() -> None:
    nothing = baseline_plan(3, 5).restricted(np.zeros(3, dtype=bool))
    assert (nothing.node_steps, nothing.baseline_node_steps, nothing.savings) == (0, 0, 0.0)
    assert nothing.active(0).size == 0
    assert not nothing.solo.any()
    with pytest.raises(UserError, match="mask of its 3 prompts"):
        baseline_plan(3, 5).restricted(np.array([True]))


def test_plans_of_two_taus_fit_into_one() -> None:
    """Each prompt twice, once alone: what a union of plans will need of the representation."""
    union = SharingPlan(
        n_prompts=2,
        steps=4,
        first=np.array([0, 2, 2, 0, 0]),
        stop=np.array([2, 4, 4, 4, 4]),
        source=np.array([-1, 0, 0, -1, -1]),
        order=np.array([0, 1]),
        lo=np.array([0, 0, 1, 0, 1]),
        hi=np.array([2, 1, 2, 1, 2]),
        output=np.array([1, 4]),
        combiner="mean",
    )
    assert union.node_steps == 14
    assert union.solo.tolist() == [False, True]


def test_a_latent_borrowed_from_another_prompt_is_not_standards() -> None:
    """As a cache does: prompt 1 starts at step 2 from what prompt 0 alone had come to."""
    cache = SharingPlan(
        n_prompts=2,
        steps=4,
        first=np.array([0, 2, 2]),
        stop=np.array([2, 4, 4]),
        source=np.array([-1, 0, 0]),
        order=np.array([0, 1]),
        lo=np.array([0, 0, 1]),
        hi=np.array([1, 1, 2]),
        output=np.array([1, 2]),
        combiner="mean",
    )
    assert cache.solo.tolist() == [True, False]
    assert cache.savings == 0.25


# Files and faults


@settings(max_examples=25)
@given(data=st.data())
def test_a_saved_plan_comes_back(
    forests: Forests, taus: Taus, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    plan, file = draw_plan(data, forests, taus), tmp_path_factory.mktemp("plan") / "plan.npz"
    for made in (plan, replace(plan, combiner="slerp")):
        made.save(file)
        loaded = SharingPlan.load(file)
        assert same(loaded, made)
        assert (loaded.n_prompts, loaded.steps, loaded.combiner) == (made.n_prompts, made.steps, made.combiner)


def test_a_file_from_before_plans_lost_their_weights_is_read_unless_it_has_any(tmp_path: Path) -> None:
    alone = {"first": [0, 0], "stop": [3, 3], "source": [-1, -1], "order": [0, 1], "lo": [0, 1], "hi": [1, 2]}
    stored = {"n_prompts": 2, "steps": 3, **alone, "output": [0, 1], "combiner": "mean"}
    write_npz(tmp_path / "plan.npz", "reusebench plan 1", stored)
    assert same(SharingPlan.load(tmp_path / "plan.npz"), baseline_plan(2, 3))
    write_npz(tmp_path / "plan.npz", "reusebench plan 1", {**stored, "weight": [1.0, 3.0]})
    with pytest.raises(UserError, match="holds no whole plan"):
        SharingPlan.load(tmp_path / "plan.npz")


def test_a_file_that_is_no_plan_is_refused(tmp_path: Path) -> None:
    Tree.singletons(3).save(tmp_path / "tree.npz")
    with pytest.raises(UserError, match=r"tree\.npz is a 'reusebench tree 1' file"):
        SharingPlan.load(tmp_path / "tree.npz")
    with pytest.raises(UserError, match="cannot read"):
        SharingPlan.load(tmp_path / "gone.npz")
    baseline_plan(3, 5).save(tmp_path / "plan.npz")
    stored = read_npz(tmp_path / "plan.npz", KIND)
    for change in (
        {"stop": np.array([5, 5, 9])},
        {"first": np.array([0.0, 0.5, 0.0])},
        {"output": np.array([[0, 1, 2]])},
        {"n_prompts": np.array([3, 3])},
        {"extra": np.array(1)},
    ):
        write_npz(tmp_path / "plan.npz", KIND, {**stored, **change})
        with pytest.raises(UserError, match=r"plan\.npz holds no whole plan"):
            SharingPlan.load(tmp_path / "plan.npz")
    write_npz(tmp_path / "plan.npz", KIND, {name: stored[name] for name in stored if name != "source"})
    with pytest.raises(UserError, match="no whole plan"):
        SharingPlan.load(tmp_path / "plan.npz")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"n_prompts": 3}, "no plan: 3 prompts"),
        ({"steps": 0}, "0 steps"),
        ({"combiner": ""}, "combiner ''"),
        ({"lo": [0]}, "differ in length"),
        ({"first": [2, 2, -1]}, "over no steps"),
        ({"stop": [4, 4, 0]}, "over no steps"),
        ({"stop": [4, 5, 2]}, "over no steps, or over others than 0 to 3"),
        ({"source": [2, 7, -1]}, "no source"),
        ({"source": [2, -1, -1]}, "no source"),
        ({"source": [2, 2, 0]}, "no source, or starts at step 0"),
        ({"first": [2, 3, 0]}, "starts at another step than its source ends"),
        ({"hi": [1, 3, 2]}, "serves no prompt"),
        ({"lo": [1, 1, 0]}, "serves no prompt"),
        ({"order": [0, 2]}, "a prompt that is not there"),
        ({"output": [0, 2]}, "denoised to the end"),
        ({"output": [0, 3]}, "denoised to the end"),
    ],
)
def test_arrays_that_are_no_plan_are_refused(fault: dict[str, Any], message: str) -> None:
    pair = build_plan(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("official"), 0.8, 4)
    assert (pair.first.tolist(), pair.stop.tolist(), pair.source.tolist()) == ([2, 2, 0], [4, 4, 2], [2, 2, -1])
    with pytest.raises(UserError, match=message):
        replace(pair, **{name: np.array(value) if isinstance(value, list) else value for name, value in fault.items()})


def test_a_bad_tau_is_refused() -> None:
    with pytest.raises(UserError, match="tau must be"):
        build_plan(Tree.singletons(2), get_schedule("eq7"), -1.0, 4)


def test_a_chain_of_20000_prompts_is_planned() -> None:
    n = 20_000
    made = np.arange(n, 2 * n - 1)
    parent = np.concatenate([made[:1], made, made[1:], [-1]])
    tree = Tree(parent, np.concatenate([np.zeros(n), np.linspace(0.001, 1, n - 1)]), n)
    plan = build_plan(tree, get_schedule("official"), 1.0, 10)
    for prompt in (0, 1, n // 2, n - 1):
        assert sum(int(plan.stop[i] - plan.first[i]) for i in path(plan, prompt)) == 10
    assert [len(plan.active(k)) for k in (0, 9)] == [1, n]
