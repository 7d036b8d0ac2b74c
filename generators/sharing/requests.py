"""Streams before a cache of whole requests: of every step's latent, or of the finished picture."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from generators.sharing.plan import SharingPlan
from generators.sharing.schedule import Schedule
from generators.sharing.stream import Arrivals, Arrived, LatentCache, Neighbours, Storing, Stream

# of K steps: how many to skip, rising, each with the cosine distance below which
Table: TypeAlias = Callable[[int], Sequence[tuple[int, float]]]
Evicted = Literal["lru", "fifo"]


class RequestArrivals(Arrivals):
    """The rules of `Requests`: what is stored and evicted is a request, with its latents at all steps of the table.

    Args:
        reach: the table at some tau: steps to skip, rising, each with the distance below which.
        size: requests that the cache holds; None holds all.
        eviction: which one goes.
        storing: who is stored.
    """

    def __init__(
        self, reach: Sequence[tuple[int, float]], size: int | None, eviction: Evicted, storing: Storing
    ) -> None:
        super().__init__(reach)
        self._storing = storing
        self._cache = LatentCache(size, eviction)

    def _arrive(self, i: int, near: tuple[int, float] | None) -> Arrived:
        allowed = [step for step, distance in self._reach if 1 - near[1] < distance] if near else []
        latent = (near[0], allowed[-1]) if near and allowed else None
        similarity = near[1] if near else None
        if latent:
            self._cache.use((latent[0], 0))
            if self._storing == "misses":
                return Arrived(latent, similarity)
        evicted = [gone for gone, _ in self._cache.put((i, 0))]
        self.there[evicted] = False
        self.there[i] = True
        gone = [(one, step) for one in evicted for step in self.begins]
        return Arrived(latent, similarity, tuple((i, step) for step in self.begins), tuple(gone))


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

    def opened(self, tau: float, steps: int) -> Arrivals:
        return RequestArrivals(self._reach(tau, steps), self._size, self._evicted, self._storing)

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
