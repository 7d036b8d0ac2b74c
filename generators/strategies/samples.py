"""Features to check strategies with."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from generators.sharing.planner import Grouping
from generators.strategies.base import Prompts, Strategy

ORDERS = 3


class StandIn:
    """A probe without a denoiser: two clusters are as far apart as the means of their features, at any step."""

    log_snr = np.linspace(-6.0, 3.0, 20)

    def __init__(self, features: NDArray[np.float64]) -> None:
        self._features, self._known, self.rows = features, set[bytes](), 0

    def disagreement(self, pairs: Sequence[tuple[Prompts, Prompts]], k: int) -> NDArray[np.float64]:
        asked = {np.sort(np.concatenate(pair)).tobytes() for pair in pairs}
        self.rows += 2 * len(pairs) + len(asked - self._known)
        self._known |= asked
        means = [[self._features[np.sort(part)].mean(axis=0) for part in pair] for pair in pairs]
        return np.array([np.sqrt(np.mean((one - two) ** 2)) for one, two in means])


def grouped(strategy: Strategy, features: NDArray[np.float64], seed: int = 0) -> Grouping:
    """What a strategy makes of features; one that wants the denoiser's opinion has that of a stand-in."""
    if strategy.wants_probe:
        return strategy.probed(features, StandIn(features), seed=seed)
    return strategy.grouping(features, seed=seed)


def groups(n: int, copies: int = 0, seed: int = 0, dimensions: int = 16) -> NDArray[np.float64]:
    """float64 [n + copies, dimensions]: loose groups of about five, then copies of some rows."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(n // 5, 1), dimensions))
    rows = centres[rng.integers(len(centres), size=n)] + 0.5 * rng.normal(size=(n, dimensions))
    return np.concatenate([rows, rows[rng.integers(n, size=copies)]])


def shuffles(n: int) -> Iterator[NDArray[np.int64]]:
    """Some orders of n prompts."""
    rng = np.random.default_rng(0)
    return (rng.permutation(n) for _ in range(ORDERS))
