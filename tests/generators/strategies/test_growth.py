"""What grows how is told from words and from measurements; how fast a machine is, is not a test's business."""

from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from common.errors import UserError
from generators.sharing.tree import Tree
from generators.strategies.base import Strategy, strategies
from generators.strategies.growth import check_memory, check_time, declared_power, power

SIZES = (200, 400, 800)


class Square(Strategy):
    """Takes N^2 bytes, and as many steps, of a clock that counts them."""

    name: ClassVar[str] = "square"
    complexity: ClassVar[str] = "O(N)"
    memory: ClassVar[str] = "O(N)"

    def tree(self, features: NDArray[np.float64], *, seed: int = 0) -> Tree:
        np.ones(10 * len(features) ** 2, dtype=np.int8)
        CLOCK[0] += len(features) ** 2 / 1e6
        return Tree.singletons(len(features))


CLOCK = [0.0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is what strategies say that they took."""
    monkeypatch.setattr("generators.strategies.growth.process_time", lambda: CLOCK[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("O(N^2 D) distances, O(N^2) merging", 2),
        ("8 N^2 bytes: the condensed distances and SciPy's copy (1.6 GB for 14,000 prompts)", 2),
        ("O(N log N)", 1),
        ("O(log N)", 0),
        ("O(1)", 0),
        ("O(N D log N) where halves are even, O(N^2 D) at worst", 2),
        ("O(N**1.5)", 1.5),
        ("quick", None),
        ("", None),
    ],
)
def test_the_highest_power_of_n_is_read_from_words(words: str, said: float | None) -> None:
    assert declared_power(words) == said


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0])
def test_a_power_is_found_again(exponent: float) -> None:
    assert power([(n, 3e-6 * n**exponent) for n in (250, 500, 1000, 2000)]) == pytest.approx(exponent)


def test_every_strategy_in_the_box_declares_powers_of_n() -> None:
    for kind in strategies().values():
        assert declared_power(kind.complexity) is not None
        assert declared_power(kind.memory) is not None


def test_growth_beyond_what_is_declared_is_told(clock: None) -> None:
    with pytest.raises(UserError, match=r"grows as N\^2\.0, 0\.64 s for 800 prompts; declared: O\(N\)"):
        check_time(Square(), SIZES)
    with pytest.raises(UserError, match=r"grows as N\^2\.0, 6\.1 MiB for 800 prompts"):
        check_memory(Square(), SIZES)


def test_growth_as_declared_passes(clock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Square, "complexity", "O(N^2)")
    monkeypatch.setattr(Square, "memory", "10 N^2 bytes")
    assert "as N^2.0" in check_time(Square(), SIZES)
    assert "as N^2.0" in check_memory(Square(), SIZES)


def test_sizes_that_take_too_long_are_left_out(clock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generators.strategies.growth.ENOUGH", 0.1)
    with pytest.raises(UserError, match="400 prompts took too long to measure three sizes"):
        check_time(Square(), SIZES)


def test_what_declares_nothing_is_told(clock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Square, "complexity", "fast")
    with pytest.raises(UserError, match="'fast' says no power of N"):
        check_time(Square(), SIZES)


@pytest.mark.parametrize("name", ["ward-cosine", "hdbscan", "random-balanced"])
def test_memory_of_ours_grows_as_declared(name: str) -> None:
    check_memory(strategies()[name](), (250, 500, 1000))
