"""What strategies of prompts that arrive one after another have in common."""

from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generators.sharing.stream import Arrivals, Stream
from generators.strategies.base import Strategy, check_features
from generators.strategies.contents import unit


class Arriving(Strategy):
    """An online strategy, whose prompts are compared with those before them by exact inner products."""

    online = True
    complexity = "O(N^2 D) inner products"
    memory = "O(N D) and 500 bytes a prompt for its nearest neighbours"
    pair_bytes = 0
    value_bytes: ClassVar[float] = 48

    order: Literal["given", "drawn"] = Field(
        "given", description="the order in which prompts arrive: as they are given, or drawn by the seed"
    )

    def peak_bytes(self, n: int, d: int) -> float:
        return super().peak_bytes(n, d) + 8192 * n  # inner products with a block of rows, and the nearest

    @abstractmethod
    def stream(self, rows: NDArray[np.float64], arrivals: NDArray[np.int64]) -> Stream:
        """Return the stream of prompts whose unit rows, float64 [N, D], arrive in this order, int64 [N]."""

    def grouping(self, features: NDArray[np.floating], *, seed: int = 0) -> Stream:
        return self.stream(*self.arrived(features, seed))

    def opened(self, tau: float, steps: int) -> Arrivals:
        """Return the rules by which prompts are served that arrive one by one: those that a stream's plan follows from.

        Args:
            tau: as `Stream.starts`.
            steps: K.

        Examples:
            >>> from generators.strategies.cache import Cache
            >>> rules = Cache().opened(1.0, 10)
            >>> rules.arrive(lambda there: None).stored
            ((0, 1), (0, 2), (0, 3), (0, 4), (0, 5))
            >>> rules.arrive(lambda there: (0, 0.8)).latent
            (0, 2)
        """
        return self.stream(np.empty((0, 1)), np.empty(0, dtype=np.int64)).opened(tau, steps)

    def arrived(self, features: NDArray[np.floating], seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the features at length 1, float64 [N, D], and the prompts as they arrive, int64 [N].

        Raises:
            UserError: the features have no directions to compare.
        """
        rows = unit(check_features(features))
        arrivals = np.arange(len(rows))
        if self.order == "drawn":
            arrivals = np.random.Generator(np.random.Philox(seed)).permutation(arrivals)
        return rows, arrivals


def rising(similarity: tuple[float, ...], share: tuple[float, ...]) -> None:
    """Refuse a table whose similarities or shares do not rise, or are not as many.

    Raises:
        ValueError: that.

    Examples:
        >>> rising((0.5, 0.8), (0.2, 0.1))
        Traceback (most recent call last):
        ValueError: share [0.2, 0.1] does not rise, from above 0 to below 1
    """
    if len(similarity) != len(share):
        raise ValueError(f"{len(similarity)} similarities but {len(share)} shares")
    for name, low, numbers in (("similarity", -1, similarity), ("share", 0, share)):
        values = (low, *numbers, 1)
        if not (np.diff(values) > 0).all():
            raise ValueError(f"{name} {list(numbers)} does not rise, from above {low} to below 1")
