"""Plans in which paths begin from finished pictures: what they cover, cost, keep and refuse."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from generators.sharing.arrays import read_npz, write_npz
from generators.sharing.plan import KIND, SharingPlan, baseline_plan
from generators.sharing.union import union, united_steps


@st.composite
def plans(draw: Any, steps: int = 6) -> SharingPlan:
    """Prompts that begin from noise, from another's latent or from another's picture, in any order of numbers.

    A prompt's node is cut where others start from it; a node serves its prompt alone.
    """
    n = draw(st.integers(1, 7))
    starts: list[tuple[int, int, bool]] = [(-1, 0, False)]  # whose, at which step, and whether of the picture
    for prompt in range(1, n):
        whose = draw(st.integers(-1, prompt - 1))
        if whose < 0:
            starts.append((-1, 0, False))
        elif draw(st.booleans()):
            starts.append((whose, draw(st.integers(1, steps - 1)), True))
        else:
            own = starts[whose][1]
            starts.append((whose, draw(st.integers(own + 1, steps - 1)), False) if own + 1 < steps else (-1, 0, False))
    cuts = [sorted({k for who, k, picture in starts if who == prompt and not picture}) for prompt in range(n)]
    rows: list[tuple[int, int, int, int, int]] = []
    ending: dict[tuple[int, int], int] = {}
    for prompt, (who, first, picture) in enumerate(starts):
        source = ending[who, first] if who >= 0 and not picture else -1
        pictured = ending[who, steps] if picture else -1
        for stop in (*[k for k in cuts[prompt] if k > first], steps):
            ending[prompt, stop] = len(rows)
            rows.append((first, stop, source, pictured, prompt))
            first, source, pictured = stop, len(rows) - 1, -1
    shuffled = np.array(draw(st.permutations(range(len(rows)))))
    number = np.append(np.argsort(shuffled), -1)
    first, stop, source, pictured, own = np.array(rows, dtype=np.int64)[shuffled].T
    places = np.arange(len(rows))
    output = number[[ending[prompt, steps] for prompt in range(n)]]
    return SharingPlan(n, steps, first, stop, number[source], own, places, places + 1, output, "mean", number[pictured])


def path(plan: SharingPlan, prompt: int) -> list[int]:
    nodes = [int(plan.output[prompt])]
    while plan.source[nodes[0]] >= 0:
        nodes.insert(0, int(plan.source[nodes[0]]))
    return nodes


@given(plans())
def test_a_path_covers_the_steps_from_its_beginning_on_and_savings_count_the_rest(plan: SharingPlan) -> None:
    for prompt in range(plan.n_prompts):
        nodes = path(plan, prompt)
        begins = int(plan.first[nodes[0]])
        assert [k for i in nodes for k in range(plan.first[i], plan.stop[i])] == list(range(begins, plan.steps))
        assert (begins > 0) == (plan.picture[nodes[0]] >= 0)
        assert plan.solo[prompt] == (begins == 0 and all(plan.members(i).tolist() == [prompt] for i in nodes))
    denoised = sum(int(plan.stop[i] - plan.first[i]) for i in range(len(plan.first)))
    assert plan.node_steps == denoised
    assert plan.savings == pytest.approx(1 - denoised / (plan.n_prompts * plan.steps))
    assert plan.roots == np.count_nonzero(plan.first == 0)


@given(plans())
def test_a_stage_needs_only_what_stages_before_have_finished(plan: SharingPlan) -> None:
    finished: set[int] = set()
    for nodes in plan.stages:
        here = set(nodes.tolist())
        assert not here & finished
        for node in here:
            assert plan.picture[node] < 0 or int(plan.picture[node]) in finished
            assert plan.source[node] < 0 or int(plan.source[node]) in here
        assert len({int(plan.first[path_root(plan, node)]) for node in here}) == 1
        finished |= here
    assert finished == set(range(len(plan.first)))
    at_once = [np.count_nonzero((plan.first[s] <= k) & (k < plan.stop[s])) for s in plan.stages for k in range(6)]
    assert plan.widest == max(at_once)


def path_root(plan: SharingPlan, node: int) -> int:
    while plan.source[node] >= 0:
        node = int(plan.source[node])
    return node


@given(plans(), st.data())
def test_restricted_keeps_the_pictures_that_paths_come_from(plan: SharingPlan, data: st.DataObject) -> None:
    wanted = np.array(data.draw(st.lists(st.booleans(), min_size=plan.n_prompts, max_size=plan.n_prompts)))
    part = plan.restricted(wanted)

    def history(plan: SharingPlan, node: int) -> list[tuple[int, ...]]:
        """All that a node comes from, back to noise."""
        said = (int(plan.first[node]), int(plan.stop[node]), *plan.members(node).tolist())
        before = [int(one[node]) for one in (plan.source, plan.picture) if one[node] >= 0]
        return [said, *(line for one in before for line in history(plan, one))]

    assert ((part.output >= 0) == wanted).all()
    for prompt in np.flatnonzero(wanted).tolist():
        assert history(part, int(part.output[prompt])) == history(plan, int(plan.output[prompt]))
    needed = {line for prompt in np.flatnonzero(wanted) for line in history(plan, int(plan.output[prompt]))}
    assert part.node_steps == sum(line[1] - line[0] for line in needed)


@given(plans())
def test_it_is_read_as_it_was_written(tmp_path_factory: Any, plan: SharingPlan) -> None:
    file = tmp_path_factory.mktemp("plans") / "plan.npz"
    plan.save(file)
    again = SharingPlan.load(file)
    assert again.digest == plan.digest and np.array_equal(again.picture, plan.picture)


def test_plans_without_pictures_are_what_they_were(tmp_path: Path) -> None:
    """Files of earlier releases say nothing of pictures, and neither do hashes that name executions."""
    plan = baseline_plan(7, 10)
    assert plan.digest == "4930c59e8a06f44fe63c26b221d92f63c48e08622ac6b235d5d6c3d8e8b56c95"
    plan.save(tmp_path / "plan.npz")
    stored = read_npz(tmp_path / "plan.npz", KIND)
    assert "picture" not in stored
    assert SharingPlan.load(tmp_path / "plan.npz").picture.tolist() == [-1] * 7
    with_pictures = replace(plan, first=[0] * 6 + [4], picture=[-1] * 6 + [0])
    assert with_pictures.digest != plan.digest
    with_pictures.save(tmp_path / "other.npz")
    stored = read_npz(tmp_path / "other.npz", KIND)
    write_npz(tmp_path / "bad.npz", KIND, {**stored, "picture": np.array([9] * 7)})
    with pytest.raises(UserError, match="no whole plan"):
        SharingPlan.load(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"picture": [-1, 0]}, "starts at step 0 and has one"),
        ({"first": [0, 4]}, "has no source"),
        ({"first": [0, 4], "picture": [-1, 2]}, "has no source"),
        ({"first": [0, 4], "picture": [-1, -2]}, "has no source"),
        ({"first": [0, 4], "picture": [-1]}, "differ in length"),
        ({"first": [4, 4], "picture": [1, 0]}, "comes of its own"),
        ({"first": [0, 4], "picture": [-1, 1]}, "comes of its own"),
        ({"first": [0, 4], "stop": [4, 10], "source": [-1, 0], "picture": [-1, 0], "output": [-1, 1]}, "has one"),
        ({"first": [0, 4], "stop": [4, 10], "picture": [-1, 0], "output": [-1, 1]}, "not denoised to the end"),
    ],
)
def test_what_is_no_such_plan_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        replace(baseline_plan(2, 10), **changed)


def test_it_is_united_with_none_and_counted_by_itself() -> None:
    alone, plan = baseline_plan(2, 10), replace(baseline_plan(2, 10), first=[0, 6], picture=[-1, 0])
    with pytest.raises(ValueError, match="by itself"):
        union([alone, plan])
    assert united_steps([alone, plan]) == (20 + 14, 20 + 14)


def test_a_path_from_anothers_picture_came_of_that_ones_noise() -> None:
    plan = replace(baseline_plan(4, 10), first=[0, 6, 0, 0], picture=[-1, 0, -1, -1], output=[0, 1, 2, -1])
    assert plan.beginnings.tolist() == [0, 0, 2, -1]
