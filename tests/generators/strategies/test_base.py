import tracemalloc
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import Field

from common.errors import UserError
from generators.sharing.plan import Planner, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.strategies.base import (
    Strategy,
    check_features,
    get_strategy,
    grouped,
    refuse_too_large,
    strategies,
)


class Pairs(Strategy):
    """Nobody shares, with parameters."""

    name: ClassVar[str] = "pairs"
    threshold: float = Field(0.5, ge=0)
    linkage: str = "single"

    def tree(self, features: NDArray[np.float64], *, seed: int = 0) -> Tree:
        return Tree.singletons(len(features))


def test_strategies_are_found_by_name() -> None:
    assert {"none", "ward-cosine"} <= set(strategies())
    for strategy in strategies().values():
        assert strategy.unavailable() is None
        assert strategy.summary()
        assert strategy.complexity.startswith("O(")
        assert strategy.memory
    with pytest.raises(UserError, match=r"unknown strategy 'ward-cosin' \(did you mean 'ward-cosine'"):
        get_strategy("ward-cosin")


@pytest.mark.parametrize("name", ["none", "ward-cosine"])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_any_strategy_gives_a_tree_of_its_prompts(name: str, n: int) -> None:
    tree = get_strategy(name).tree(np.random.default_rng(0).normal(size=(n, 3)), seed=1)
    assert tree.n_leaves == n
    assert sorted(tree.leaf_order) == list(range(n))


def test_parameters_are_listed_validated_and_hashed() -> None:
    assert list(Pairs.model_fields) == ["threshold", "linkage"]
    assert Pairs.configured(threshold=1).model_dump() == {"threshold": 1.0, "linkage": "single"}
    assert Pairs.configured() == Pairs()
    with pytest.raises(UserError, match=r"no parameter 'treshold' \(did you mean 'threshold'"):
        Pairs.configured(treshold=1)
    with pytest.raises(UserError, match="strategy 'pairs', parameter 'threshold': Input should be greater than"):
        Pairs.configured(threshold=-1)
    with pytest.raises(UserError, match="'ward-cosine' has no parameter 'linkage'"):
        get_strategy("ward-cosine", linkage="average")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([[1.0, 0.0], [np.nan, 0.0]], "row 2 of 2 holds NaN"),
        ([[np.inf, 0.0], [1.0, 0.0]], "row 1 of 2 holds infinity"),
        ([[1.0, 0.0], [1.0, 0.0], [0.0, -0.0]], "row 3 of 3 is zero"),
        ([[1e200, 1e200]], "row 1 of 1 is too large"),
        ([[1e-200, 1e-200]], "row 1 of 1 is zero"),
        ([1.0, 2.0], r"not \[prompts, dimensions\] of floats but \[2\]"),
        ([[[1.0]]], r"\[1, 1, 1\]"),
        (np.zeros((0, 3)), r"\[0, 3\]"),
        (np.zeros((3, 0)), r"\[3, 0\]"),
        ([[1, 2]], "int64"),
        ([["a"]], "<U1"),
    ],
)
def test_features_without_a_direction_are_refused(features: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_features(features)
    with pytest.raises(UserError, match=message):
        get_strategy("ward-cosine").tree(features)


def test_features_become_double_precision() -> None:
    checked = check_features(np.array([[60000.0, 60000.0]], dtype=np.float16))
    assert checked.dtype == np.float64
    assert checked.tolist() == [[60000.0, 60000.0]]


def test_a_strategy_that_cannot_run_here_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies()["none"], "unavailable", classmethod(lambda cls: "it needs a GPU"))
    with pytest.raises(UserError, match="'none' cannot run here: it needs a GPU"):
        get_strategy("none")


def peak(strategy: Strategy, features: NDArray[np.float64]) -> int:
    """The most bytes that Python and NumPy have allocated at once."""
    grouped(strategy, features[:8])
    tracemalloc.start()
    try:
        grouping = grouped(strategy, features)
        if isinstance(grouping, Planner):
            grouping.node_steps(get_schedule("eq7"), 1.0, 10)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", sorted(set(strategies()) - {"bisecting-kmeans"}))  # half a minute when it is traced
def test_a_strategy_declares_the_memory_that_it_takes(name: str) -> None:
    strategy = get_strategy(name)
    for n, d in ((700, 16), (300, 700)):
        taken, declared = peak(strategy, np.random.default_rng(0).normal(size=(n, d))), strategy.peak_bytes(n, d)
        assert taken / 1.2 - 2**19 < declared < 4 * taken + 2**19, f"{n} x {d}"


def test_partitioned_ward_declares_the_memory_of_parts() -> None:
    large = get_strategy("partitioned-ward", part=100)
    rows = np.random.default_rng(0).normal(size=(2000, 16))
    assert peak(large, rows) < large.peak_bytes(2000, 16)
    assert get_strategy("partitioned-ward").peak_bytes(1_000_000, 1280) < 8e9
    assert get_strategy("ward-cosine").peak_bytes(1_000_000, 1280) > 8e12


@pytest.mark.parametrize("name", ["ward-cosine", "hdbscan", "shuffled-ward"])
def test_what_memory_does_not_suffice_for_is_refused_at_once(name: str) -> None:
    strategy, rows = get_strategy(name), np.broadcast_to(np.float32(1), (2_000_000, 4))
    with pytest.raises(
        UserError, match=rf"'{name}' needs about .* TB of memory for 2,000,000 prompts, and .* are free"
    ) as refused:
        grouped(strategy, rows)
    assert "use --strategy partitioned-ward" in refused.value.hint
    with pytest.raises(UserError, match="for 2,000,000 prompts"):
        refuse_too_large(strategy, 2_000_000)


def test_memory_that_ends_all_the_same_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A strategy of another package may declare nothing, and memory that was free may be taken meanwhile."""

    def ends(self: Pairs, features: NDArray[np.float64], *, seed: int = 0) -> Tree:
        raise MemoryError("Unable to allocate 149. GiB")

    monkeypatch.setattr(Pairs, "tree", ends)
    with pytest.raises(UserError, match="'pairs' needs more memory than there is for 3 prompts"):
        grouped(Pairs(), np.ones((3, 2)))
    monkeypatch.setattr("generators.strategies.base.free_memory", lambda: 1)
    with pytest.raises(UserError, match="make its parts smaller"):
        refuse_too_large(get_strategy("partitioned-ward"), 1_000_000)


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=14),
    name=st.sampled_from(["ward-cosine", "average", "none", "random-balanced", "hdbscan", "bisecting-kmeans"]),
    seed=st.integers(0, 9),
)
@settings(max_examples=40)
def test_classes_share_among_themselves_as_if_they_were_alone(labels: list[int], name: str, seed: int) -> None:
    classes, strategy = np.array(labels), get_strategy(name)
    rows = np.random.default_rng(seed).normal(size=(len(labels), 5))
    forest = grouped(strategy, rows, seed=seed, classes=classes)
    assert isinstance(forest, Tree)
    schedule = get_schedule("eq7")
    for tau in (0.0, 0.7, 100.0):
        plan = build_plan(forest, schedule, tau, 6)
        assert all(len(set(classes[plan.members(node)])) == 1 for node in range(len(plan.first)))
        alone = 0
        for label in set(labels):
            part = rows[classes == label]
            tree = strategy.tree(part, seed=seed) if len(part) > 1 else Tree.singletons(1)
            alone += build_plan(tree, schedule, tau, 6).node_steps
        assert plan.node_steps == alone


def test_a_strategy_that_plans_by_itself_keeps_no_prompts_apart() -> None:
    rows, classes = np.eye(4), np.array([0, 0, 1, 1])
    with pytest.raises(UserError, match="'cache' plans by itself and cannot keep prompts of several seeds or negative"):
        grouped(get_strategy("cache"), rows, classes=classes)
    with pytest.raises(UserError, match="row 3 of 4 holds NaN"):
        grouped(get_strategy("ward-cosine"), np.where(np.arange(4)[:, None] == 2, np.nan, rows), classes=classes)
