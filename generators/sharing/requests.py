"""Streams before a cache of whole requests: of every step's latent, or of the finished picture."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from generators.sharing.plan import SharingPlan
from generators.sharing.schedule import Schedule
from generators.sharing.stream import LatentCache, Neighbours, Start, Storing, Stream

# of K steps: how many to skip, rising, each with the cosine distance below which
Table: TypeAlias = Callable[[int], Sequence[tuple[int, float]]]
Evicted = Literal["lru", "fifo"]


class Requests(Stream):
    """A stream before a cache of requests, each with its latents at every step.

    A prompt is compared with the nearest earlier one in the cache and starts from that one's latent, at the step that
    the table gives their similarity. Only one that starts from noise has all latents, so only such are stored.

    Args:
        rows: float64 [N, D], of length 1, in prompt order.
        arrivals: int64 [N]; the prompts as they arrive.
        table: what similarity allows at tau 1; tau stretches its distances.
        size: requests that the cache holds; None holds all.
        eviction: which one goes when another comes: that whose last use is longest ago (``lru``), or the oldest.
    """

    _storing: Storing = "misses"

    def __init__(
        self,
        rows: NDArray[np.float64],
        arrivals: NDArray[np.int64],
        table: Table,
        size: int | None,
        eviction: Evicted,
    ) -> None:
        self.n_leaves, self._arrivals = len(rows), arrivals
        self._neighbours = Neighbours(rows[arrivals])
        self._table, self._size, self._evicted = table, size, eviction

    def starts(self, schedule: Schedule, tau: float, steps: int) -> list[Start]:
        schedule.thresholds(tau, steps)
        reach = self._reach(tau, steps)
        cache = LatentCache(self._size, self._evicted)
        there = np.zeros(self.n_leaves, dtype=np.bool_)
        place = np.argsort(self._arrivals)
        starts = []
        for i, prompt in enumerate(self._arrivals.tolist()):
            near = self._neighbours.nearest(i, there)
            allowed = [step for step, distance in reach if 1 - near[1] < distance] if near else []
            starts.append(Start(prompt, (int(self._arrivals[near[0]]), allowed[-1]) if near and allowed else None))
            if (latent := starts[-1].latent) is not None:
                cache.use((latent[0], 0))
                if self._storing == "misses":
                    continue
            for gone, _ in cache.put((prompt, 0)):
                there[place[gone]] = False
            there[i] = True
        return starts

    def _reach(self, tau: float, steps: int) -> list[tuple[int, float]]:
        return [(step, tau * distance) for step, distance in self._table(steps) if 0 < step < steps]


class Pictures(Requests):
    """A stream before a cache of finished pictures.

    As `Requests`, but a prompt starts from the nearest one's *picture*, with fresh noise as there is before the step
    that the table gives. A picture is a picture however it was made, so those of prompts that hit can be stored too.

    Args:
        rows: float64 [N, D], of length 1, in prompt order.
        arrivals: int64 [N]; the prompts as they arrive.
        table: as in `Requests`.
        size: pictures that the cache holds; None holds all.
        eviction: as in `Requests`.
        storing: whose pictures are stored: of prompts that start from noise (``misses``), or of ``all``.
    """

    def __init__(
        self,
        rows: NDArray[np.float64],
        arrivals: NDArray[np.int64],
        table: Table,
        size: int | None,
        eviction: Evicted,
        storing: Storing,
    ) -> None:
        super().__init__(rows, arrivals, table, size, eviction)
        self._storing = storing

    def plan(self, schedule: Schedule, tau: float, steps: int, combiner: str = "mean") -> SharingPlan:
        """Return a plan of one node a prompt, node i prompt i's."""
        first, picture = np.zeros(self.n_leaves, dtype=np.int64), np.full(self.n_leaves, -1)
        for start in self.starts(schedule, tau, steps):
            if start.latent:
                picture[start.prompt], first[start.prompt] = start.latent
        prompts = np.arange(self.n_leaves)
        stop, nobody = np.full(self.n_leaves, steps), np.full(self.n_leaves, -1)
        served = prompts, prompts, prompts + 1, prompts
        return SharingPlan(self.n_leaves, steps, first, stop, nobody, *served, combiner, picture)
