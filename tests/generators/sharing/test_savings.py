from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from generators.sharing.plan import build_plan
from generators.sharing.savings import node_steps, tau_for_savings, tau_near_savings
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.strategies.ward_cosine import WardCosine

Forests = Callable[..., st.SearchStrategy[Tree]]
SCHEDULES = st.sampled_from(["eq7", "official"])
STEPS = st.integers(1, 12)


@given(SCHEDULES, STEPS, st.data())
def test_node_steps_are_the_plans(
    forests: Forests, taus: st.SearchStrategy[float], name: str, steps: int, data: st.DataObject
) -> None:
    tree, tau = data.draw(forests()), data.draw(taus)
    assert (
        node_steps(tree, get_schedule(name), tau, steps) == build_plan(tree, get_schedule(name), tau, steps).node_steps
    )


@given(SCHEDULES, STEPS, st.data())
def test_savings_never_fall_with_tau(
    forests: Forests, taus: st.SearchStrategy[float], name: str, steps: int, data: st.DataObject
) -> None:
    tree = data.draw(forests())
    low, high = sorted([data.draw(taus), data.draw(taus)])
    assert node_steps(tree, get_schedule(name), high, steps) <= node_steps(tree, get_schedule(name), low, steps)


def below(tau: float) -> float:
    """The next smaller decimal of four significant digits."""
    exact = Decimal(str(tau))
    unit = Decimal(1).scaleb(exact.adjusted() - 3)
    return float(exact - (unit if exact.scaleb(-exact.adjusted()) > 1 else unit / 10))


@given(SCHEDULES, STEPS, st.floats(0, 1), st.data())
def test_the_smallest_tau_that_reaches_the_target(
    forests: Forests, name: str, steps: int, target: float, data: st.DataObject
) -> None:
    tree, schedule = data.draw(forests()), get_schedule(name)

    def savings(tau: float) -> float:
        return build_plan(tree, schedule, tau, steps).savings

    answer = tau_for_savings(tree, schedule, steps, target)
    goal = min(target, answer.most)
    assert answer.reached == (answer.most >= target)
    assert answer.savings == savings(answer.tau) >= goal
    assert answer.most == savings(1e9) >= answer.savings
    assert answer.tau == 0 or answer.tau == 1e-12 or savings(below(answer.tau)) < goal


def test_half_of_a_random_set() -> None:
    tree = WardCosine().tree(np.random.default_rng(0).normal(size=(200, 8)))
    for name in ("eq7", "official"):
        answer = tau_for_savings(tree, get_schedule(name), 40, 0.5)
        assert answer.reached
        assert 0.5 <= answer.savings < 0.505
        assert Decimal(str(answer.tau)) == Decimal(f"{answer.tau:.4g}")


@pytest.mark.parametrize(("target", "shared"), [(0.1, 1), (0.3, 3), (0.7, 7)])
def test_a_target_that_is_exactly_met_is_reached(target: float, shared: int) -> None:
    tree = Tree.from_parents([10] * 10 + [-1], [0] * 10 + [1.0], 10)
    answer = tau_for_savings(tree, get_schedule("eq7"), 9, target)  # a shared step saves 9 of 90 node-steps
    assert (answer.savings, answer.reached) == (target, True)
    assert node_steps(tree, get_schedule("eq7"), answer.tau, 9) == 90 - 9 * shared


def test_what_cannot_be_reached_gives_the_most() -> None:
    tree = Tree.from_linkage([[0, 1, 0.5, 2]])
    answer = tau_for_savings(tree, get_schedule("eq7"), 4, 0.9)
    assert (answer.reached, answer.savings, answer.most) == (False, 0.375, 0.375)
    assert answer.tau == 2.001  # a quarter of it is above 0.5, where the tie would part them


@pytest.mark.parametrize("tree", [Tree.singletons(1), Tree.singletons(5)])
def test_nothing_to_share(tree: Tree) -> None:
    answer = tau_for_savings(tree, get_schedule("official"), 40, 0.5)
    assert (answer.tau, answer.savings, answer.reached, answer.most) == (0.0, 0.0, False, 0.0)


def test_no_savings_take_no_tau() -> None:
    assert tau_for_savings(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("eq7"), 4, 0).tau == 0


@pytest.mark.parametrize("target", [-0.1, 1.5, 50, float("nan")])
def test_a_target_that_is_no_fraction_is_refused(target: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        tau_for_savings(Tree.singletons(2), get_schedule("eq7"), 4, target)


@given(SCHEDULES, STEPS, st.floats(0, 1), st.data())
def test_no_tau_saves_nearer_to_a_target_than_the_nearest(
    forests: Forests, name: str, steps: int, target: float, data: st.DataObject
) -> None:
    tree, schedule = data.draw(forests()), get_schedule(name)
    found = tau_near_savings(tree, schedule, steps, target)
    standard = tree.n_leaves * steps
    assert found.savings == (standard - node_steps(tree, schedule, found.tau, steps)) / standard
    assert found.reached == (found.savings >= target)
    others = [tau_for_savings(tree, schedule, steps, saved / standard).savings for saved in range(standard + 1)]
    assert abs(found.savings - target) == pytest.approx(min(abs(each - target) for each in others), abs=1e-12)


def test_the_nearest_may_be_below_and_is_the_smallest_tau_of_its_savings() -> None:
    tree = Tree.from_parents([10] * 10 + [-1], [0] * 10 + [1.0], 10)  # a shared step saves a tenth
    below, above = (tau_near_savings(tree, get_schedule("eq7"), 9, target) for target in (0.34, 0.36))
    assert (below.savings, below.reached) == (0.3, False)
    assert (above.savings, above.reached) == (0.4, True)
    assert below.tau == tau_for_savings(tree, get_schedule("eq7"), 9, 0.3).tau
