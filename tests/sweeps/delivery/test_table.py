"""What a plan shares, picture by picture: shares add up, siblings are the nearest, and their list has an end."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage

from generators.sharing.plan import baseline_plan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from sweeps.delivery.table import NEAREST, sharing


def common_steps(plan, a: int, b: int) -> int:
    """The steps that two prompts' paths have in common, node by node."""
    return sum(int(plan.stop[i] - plan.first[i]) for i in set(path(plan, a)) & set(path(plan, b)))


def path(plan, prompt: int) -> list[int]:
    nodes, node = [], int(plan.output[prompt])
    while node >= 0:
        nodes.append(node)
        node = int(plan.source[node])
    return nodes


@given(st.integers(2, 24), st.floats(0, 3), st.integers(1, 12), st.integers(0, 10))
def test_shares_add_up_and_siblings_are_the_nearest(n, tau, steps, seed):
    rows = np.random.default_rng(seed).normal(size=(n, 2))
    plan = build_plan(Tree.from_linkage(linkage(rows, "average")), get_schedule("eq7"), tau, steps)
    shared = sharing(plan)
    assert np.isclose(shared.steps.sum(), plan.node_steps)
    for prompt in range(n):
        others = {other: common_steps(plan, prompt, other) for other in range(n) if other != prompt}
        counts = sorted((count for count in others.values() if count), reverse=True)
        named = shared.siblings[prompt]
        assert [count for _, count in named] == counts[:NEAREST]
        assert all(others[other] == count for other, count in named)
        assert len(named) + shared.others[prompt] == len(counts)


def test_alone_nothing_is_shared():
    shared = sharing(baseline_plan(3, 7))
    assert shared.steps.tolist() == [7, 7, 7]
    assert shared.siblings == [[], [], []]
    assert shared.others.tolist() == [0, 0, 0]


def test_however_many_share_a_step_the_lists_stay_short():
    n = 2_000
    one = Tree(np.append(np.full(n, n), -1), np.append(np.zeros(n), 0.5), n)
    shared = sharing(build_plan(one, get_schedule("eq7"), 1.0, 10))
    assert {len(near) for near in shared.siblings} == {NEAREST}
    assert set(shared.others.tolist()) == {n - 1 - NEAREST}
