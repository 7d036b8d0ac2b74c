"""What plans have the denoiser evaluate, counted again node by node."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.sharing.evaluations import Evaluations, evaluations
from generators.sharing.plan import build_plan
from generators.sharing.savings import evaluated
from generators.sharing.schedule import get_schedule
from generators.sharing.stream import Stream
from generators.sharing.tree import Tree


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Forests of some prompts: the features are drawn, and the linkage is SciPy's."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist

    n = draw(st.integers(1, 9))
    rows = np.array(draw(st.lists(st.tuples(*[st.integers(-9, 9)] * 3), min_size=n, max_size=n)), dtype=float)
    return Tree.from_linkage(linkage(pdist(rows), "average") * [1, 1, 0.05, 1]) if n > 1 else Tree.singletons(1)


masks = st.integers(1, 8).flatmap(lambda steps: st.lists(st.booleans(), min_size=steps, max_size=steps))


@given(trees(), masks, st.floats(0, 3))
def test_it_is_what_one_counts_node_by_node_and_step_by_step(tree: Tree, mask: list[bool], tau: float):
    plan, guided = build_plan(tree, get_schedule("eq7"), tau, len(mask)), np.array(mask)
    on = off = reused = 0
    for k in range(plan.steps):
        nodes = plan.active(k)
        on, off = on + guided[k] * len(nodes), off + (1 - guided[k]) * len(nodes)
        begun = [int(plan.source[node]) for node in nodes.tolist() if plan.first[node] == k and k]
        reused += guided[k] * (len(begun) - len(set(begun)))
    assert evaluations(plan, guided, reuse=True) == Evaluations(on, off, reused)
    assert evaluations(plan, guided) == Evaluations(on, off)
    assert evaluations(plan).node_steps == plan.node_steps
    assert evaluations(plan, guided, reuse=True).rows(2) == 2 * on + off - reused


@given(trees(), masks, st.floats(0, 3), st.booleans())
def test_a_tree_alone_tells_the_same_as_its_plan(tree: Tree, mask: list[bool], tau: float, reuse: bool):
    guided, schedule = np.array(mask), get_schedule("eq7")
    plan = build_plan(tree, schedule, tau, len(mask))
    assert evaluated(tree, schedule, tau, len(mask), guided, reuse=reuse) == evaluations(plan, guided, reuse=reuse)


@given(trees(), masks)
def test_nothing_is_reused_where_nobody_shares(tree: Tree, mask: list[bool]):
    alone = evaluated(tree, get_schedule("eq7"), 0, len(mask), np.array(mask), reuse=True)
    assert alone == Evaluations(tree.n_leaves * sum(mask), tree.n_leaves * (len(mask) - sum(mask)))


def test_a_planner_tells_it_by_its_plan():
    rows = np.eye(3)[[0, 0, 1]]
    stream = Stream(rows, np.arange(3), [0.5], (0.5,), None, "lru", "all")
    guided = np.array([False, True, True, True])
    # the second prompt skips two of four steps, one of them without guidance
    made = evaluated(stream, get_schedule("eq7"), 1.0, 4, guided)
    assert made == Evaluations(guided=8, unguided=2)


def test_nodes_with_fresh_noise_have_nothing_in_common():
    pair = build_plan(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("eq7"), 1.1, 4)
    assert evaluations(pair, reuse=True).reused == 1
    assert evaluations(pair, reuse=True, renoised=np.array([True, True, False])).reused == 0


def test_rows_of_other_models():
    made = Evaluations(guided=10, unguided=4, reused=3)
    assert (made.rows(2), made.rows(1), made.node_steps) == (21, 11, 14)
    assert sum([made, made], Evaluations()) == Evaluations(20, 8, 6)


@pytest.mark.parametrize("steps", [1, 7])
def test_the_whole_interval_is_all_guided(steps: int):
    tree = Tree.from_linkage([[0, 1, 0.5, 2]])
    made = evaluated(tree, get_schedule("eq7"), 1.0, steps, np.ones(steps, dtype=bool))
    assert made == Evaluations(build_plan(tree, get_schedule("eq7"), 1.0, steps).node_steps)
