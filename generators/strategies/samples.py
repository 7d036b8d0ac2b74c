"""Features to check strategies with."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

ORDERS = 3


def groups(n: int, copies: int = 0, seed: int = 0, dimensions: int = 16) -> NDArray[np.float64]:
    """Return float64 [n + copies, dimensions]: loose groups of about five, then copies of some rows."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(n // 5, 1), dimensions))
    rows = centres[rng.integers(len(centres), size=n)] + 0.5 * rng.normal(size=(n, dimensions))
    return np.concatenate([rows, rows[rng.integers(n, size=copies)]])


def shuffles(n: int) -> Iterator[NDArray[np.int64]]:
    """Return some orders of n prompts."""
    rng = np.random.default_rng(0)
    return (rng.permutation(n) for _ in range(ORDERS))
