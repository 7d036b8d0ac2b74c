"""A planted fault: some hits begin from the latent of a request that was not chosen, and say nothing of it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from generators.node_states import NodeState
from generators.sharing.stream import Latent
from serving.shelf import Shelf


class FaultyShelf(Shelf):
    """A shelf whose hits, a seeded share of them, get a wrong neighbour's latent of the same step.

    Attributes:
        wrong: how many did so far; where no other latent of that step was kept, a hit gets the right one.
        hits: of how many.
    """

    def __init__(self, rules: Any, share: float, seed: int) -> None:
        super().__init__(rules)
        self._share, self._draw = share, np.random.default_rng(seed)
        self.wrong = self.hits = 0

    def source(self, latent: Latent, making: Mapping[int, int]) -> NodeState | int:
        self.hits += 1
        others = [one for one in self.states if one[0] != latent[0] and one[1] == latent[1]]
        errs, which = self._draw.random() < self._share, self._draw.random()  # both drawn, so that draws stay in step
        if errs and others:
            self.wrong += 1
            latent = others[int(which * len(others))]
        return super().source(latent, making)


def faulty(share: float = 0.05, seed: int = 0) -> Callable[[Any], FaultyShelf]:
    """Return what makes such shelves, as an `Engine` takes it; those that it has made are its `shelves`."""
    made: list[FaultyShelf] = []

    def make(rules: Any) -> FaultyShelf:
        made.append(FaultyShelf(rules, share, seed + len(made)))
        return made[-1]

    make.shelves = made  # type: ignore[attr-defined]
    return make
