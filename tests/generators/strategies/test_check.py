"""The suite that any strategy must pass: ours do, and what breaks a promise is caught, by the check meant for it."""

from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import Field
from scipy.cluster.hierarchy import linkage

from generators.sharing.tree import Tree
from generators.strategies.base import Strategy, check_features, strategies
from generators.strategies.check import check_strategy
from generators.strategies.contents import by_content

Rows = NDArray[np.float64]


@pytest.mark.parametrize("name", sorted(strategies()))
def test_every_strategy_in_the_box_passes(name: str) -> None:
    kind = strategies()[name]
    findings = check_strategy(kind(), sizes=())
    assert len(findings) == (5 if kind.online else 7)
    assert not {finding.check: finding.reason for finding in findings if not finding.passed}


class Good(Strategy):
    """Average linkage, by content."""

    name: ClassVar[str] = "good"
    complexity: ClassVar[str] = "O(N^2)"
    memory: ClassVar[str] = "O(N^2)"
    source: ClassVar[str] = "these tests"

    def tree(self, features: Rows, *, seed: int = 0) -> Tree:
        return by_content(features, lambda rows: Tree.from_linkage(linkage(rows, "average")))


class Undocumented(Good):
    source: ClassVar[str] = ""
    width: int = 3


class TooManyLeaves(Good):
    """Loses count."""

    def tree(self, features: Rows, *, seed: int = 0) -> Tree:
        return super().tree(np.concatenate([features, 2 * features[:1]]), seed=seed)


class NoTree(Good):
    """Gives its parents away."""

    def tree(self, features: Rows, *, seed: int = 0) -> Any:
        return super().tree(features, seed=seed).parent


class Restless(Good):
    """Draws without the seed."""

    def tree(self, features: Rows, *, seed: int = 0) -> Tree:
        rows = check_features(features)
        return super().tree(rows + 1e-3 * np.random.default_rng().normal(size=rows.shape))


class Naive(Good):
    """SciPy as it comes: ties go by row."""

    def tree(self, features: Rows, *, seed: int = 0) -> Tree:
        rows = check_features(features)
        return Tree.from_linkage(linkage(rows, "average")) if len(rows) > 1 else Tree.singletons(1)


class Pairs(Good):
    """Two by two, in the order of content, whoever equals whom."""

    def tree(self, features: Rows, *, seed: int = 0) -> Tree:
        def two_by_two(rows: Rows) -> Tree:
            n = len(rows)
            parent = np.append(n + np.arange(n) // 2, np.repeat(-1, (n + 1) // 2))
            return Tree(parent, np.append(np.zeros(n), np.ones((n + 1) // 2)), n)

        return by_content(features, two_by_two)


class Meddling(Good):
    """Writes into what it is given."""

    def tree(self, features: Rows, *, seed: int = 0) -> Tree:
        features *= 2
        return super().tree(features)


class Unchecked(Good):
    """Takes anything."""

    def tree(self, features: Rows, *, seed: int = 0) -> Tree:
        return Tree.singletons(len(features))


class Crashing(Good):
    """Meets bad features with a traceback."""

    def tree(self, features: Rows, *, seed: int = 0) -> Tree:
        if not np.isfinite(features).all():
            raise ValueError("not finite")
        return super().tree(features)


@pytest.mark.parametrize(
    ("broken", "check", "reason"),
    [
        (Undocumented, "documented", "summary, source"),
        (TooManyLeaves, "tree is valid", "2 leaves for 1 prompts"),
        (NoTree, "tree is valid", "a ndarray, not a"),
        (Meddling, "tree is valid", "read-only"),
        (Restless, "same tree again", "gave another tree"),
        (Naive, "nor does it among equal distances", "by_content"),
        (Pairs, "equal prompts stay together", "by_distinct_content"),
        (Unchecked, "bad features are refused", "accepted: NaN, infinity, a zero row, a 1-D array"),
        (Crashing, "bad features are refused", "NaN: ValueError instead of a UserError"),
    ],
)
def test_broken_promises_are_caught_by_their_check(broken: type[Strategy], check: str, reason: str) -> None:
    findings = {finding.check: finding for finding in check_strategy(broken(), sizes=())}
    assert not findings[check].passed
    assert reason in findings[check].reason


def test_a_tree_by_position_is_caught() -> None:
    class Chained(Good):
        """Each prompt joins the ones before it in the list."""

        def tree(self, features: Rows, *, seed: int = 0) -> Tree:
            n = len(check_features(features))
            made = np.arange(n, 2 * n - 1)
            parent = np.concatenate([made[:1], made, made[1:], [-1]]) if n > 1 else [-1]
            return Tree(np.array(parent), np.append(np.zeros(n), np.arange(1.0, n)), n)

    failed = {finding.check for finding in check_strategy(Chained(), sizes=()) if not finding.passed}
    assert failed == {
        "prompt order does not matter",
        "nor does it among equal distances",
        "equal prompts stay together",
    }


def test_nothing_else_fails_in_a_good_strategy_whose_parameter_is_described() -> None:
    class Described(Good):
        """With a parameter."""

        width: int = Field(3, description="how wide")

    assert all(finding.passed for finding in check_strategy(Described(), sizes=()))
