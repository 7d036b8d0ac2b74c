"""Prompts that arrive one after another, each starting from what an earlier one left in a bounded cache of latents."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from generators.sharing.plan import Planner, SharingPlan
from generators.sharing.schedule import Schedule

Eviction = Literal["lcbfu", "lru"]
Storing = Literal["misses", "all"]
Latent: TypeAlias = tuple[int, int]  # the prompt whose denoising left it, and the step that it stands before
BLOCK, KNOWN = 128, 32
# Similarities that agree so far are equal, and go to whoever came first: a batch of products rounds unlike single ones.
DIGITS = 9


@dataclass(frozen=True)
class Start:
    """The start of a prompt: from `latent`, at its step; None: from noise."""

    prompt: int
    latent: Latent | None


class Neighbours:
    """For each of some unit rows, in the order of arrival, the nearest of those before it that qualify.

    Similarities are exact inner products. The nearest few of each are found once, block by block; only where none of
    them qualifies, all earlier ones are compared again.

    Args:
        rows: float64 [N, D], of length 1.
    """

    def __init__(self, rows: NDArray[np.float64]) -> None:
        self._rows = rows
        n, known = len(rows), min(KNOWN, len(rows))
        self._nearest = np.full((n, known), -1)
        self._similarity = np.full((n, known), -np.inf)
        early = np.arange(n) * 10.0 ** -(DIGITS + 1) / max(n, 1)
        for start in range(0, n, BLOCK):
            stop = min(start + BLOCK, n)
            similar = np.round(rows[start:stop] @ rows[:stop].T, DIGITS)
            similar[np.arange(stop) >= np.arange(start, stop)[:, None]] = -np.inf
            taken = min(known, stop)
            best = np.argpartition(early[:stop] - similar, taken - 1, axis=1)[:, :taken]
            order = np.argsort(np.take_along_axis(early[:stop] - similar, best, axis=1), axis=1)
            self._nearest[start:stop, :taken] = np.take_along_axis(best, order, axis=1)
            self._similarity[start:stop, :taken] = np.take_along_axis(
                similar, self._nearest[start:stop, :taken], axis=1
            )

    def __len__(self) -> int:
        return len(self._rows)

    def nearest(self, i: int, qualifies: NDArray[np.bool_]) -> tuple[int, float] | None:
        """Return the nearest row before i that qualifies (bool [N]) and its similarity; None if there is none."""
        few, similarity = self._nearest[i], self._similarity[i]
        good = (similarity > -np.inf) & qualifies[few]
        if good.any():
            place = int(np.argmax(good))
            return int(few[place]), float(similarity[place])
        places = np.flatnonzero(qualifies[:i])
        if i <= len(few) or not places.size:
            return None
        similar = np.round(self._rows[places] @ self._rows[i], DIGITS)
        return int(places[np.argmax(similar)]), float(similar.max())


@dataclass
class LatentCache:
    """At most `size` latents (None: all); `eviction` says which one goes when another comes.

    ``lru``: the one whose last use, or making, is longest ago. ``fifo``: the oldest, used or not. ``lcbfu``, least
    computationally beneficial and frequently used: the least of uses x the steps it saves, where making it is no use;
    of equals, and so of those that nobody used yet, as ``lru``.
    """

    size: int | None
    eviction: Eviction | Literal["fifo"]
    _kept: dict[Latent, tuple[int, int]] = field(default_factory=dict)  # its uses, and when it was put or used last
    _queue: list[tuple[int, int, Latent]] = field(default_factory=list)  # by worth; entries that are no longer so stay
    _clock: int = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, latent: Latent) -> bool:
        return latent in self._kept

    def put(self, latent: Latent) -> list[Latent]:
        """Put a latent there that nobody used yet; return those that it took the place of."""
        gone: list[Latent] = []
        while self.size is not None and len(self._kept) >= self.size:
            _, clock, least = heapq.heappop(self._queue)
            if least in self._kept and self._kept[least][1] == clock:
                del self._kept[least]
                gone.append(least)
        self._count(latent, 0)
        return gone

    def use(self, latent: Latent) -> None:
        """Count a use of a latent that is there."""
        if self.eviction == "fifo":
            return
        self._count(latent, self._kept[latent][0] + 1)

    def _count(self, latent: Latent, uses: int) -> None:
        self._clock += 1
        self._kept[latent] = uses, self._clock
        if self.size is not None:
            worth = uses * latent[1] if self.eviction == "lcbfu" else 0
            heapq.heappush(self._queue, (worth, self._clock, latent))


class Stream(Planner):
    """A stream of prompts before a cache.

    A prompt is compared with the nearest earlier one that has a latent in the cache, and starts from the furthest of
    that one's latents that their similarity allows. One that starts from noise leaves there the latents that it makes;
    where all are stored, so does one that started from a latent, and this latent, and those before, are found under its
    name as well. Order and tau decide all: with tau every distance that the table allows grows, and at tau 0 nobody
    shares. Where all are stored and nothing is evicted, savings never fall with tau; else they may, here and there, as
    other latents are in the cache.

    Args:
        rows: float64 [N, D], of length 1, in prompt order.
        arrivals: int64 [N]; the prompts as they arrive.
        distances: of a table: below which cosine distance, at tau 1, a prompt skips the share of steps beside it.
        shares: rising, where distances fall; each above 0 and below 1.
        size: latents that the cache holds; None holds all.
        eviction: which one goes.
        storing: who leaves latents there: prompts that start from noise (``misses``), or ``all``.
    """

    def __init__(
        self,
        rows: NDArray[np.float64],
        arrivals: NDArray[np.int64],
        distances: Sequence[float],
        shares: Sequence[float],
        size: int | None,
        eviction: Eviction,
        storing: Storing,
    ) -> None:
        self.n_leaves, self._arrivals = len(rows), arrivals
        self._neighbours = Neighbours(rows[arrivals])
        self._distances, self._shares = np.array(distances), np.array(shares)
        self._size, self._eviction, self._storing = size, eviction, storing

    @property
    def arrivals(self) -> NDArray[np.int64]:
        return self._arrivals

    def node_steps(self, schedule: Schedule, tau: float, steps: int) -> int:
        skipped = sum(start.latent[1] for start in self.starts(schedule, tau, steps) if start.latent)
        return self.n_leaves * steps - skipped

    def plan(self, schedule: Schedule, tau: float, steps: int, combiner: str = "mean") -> SharingPlan:
        """Return a forest in the order of arrival: a prompt's nodes are its own, cut where others start from them."""
        starts = self.starts(schedule, tau, steps)
        cuts: dict[int, set[int]] = {}
        for start in starts:
            if start.latent:
                cuts.setdefault(start.latent[0], set()).add(start.latent[1])
        nodes: list[tuple[int, int, int, int]] = []
        ending: dict[Latent, int] = {}
        for start in starts:
            begin, before = (start.latent[1], ending[start.latent]) if start.latent else (0, -1)
            for end in (*sorted(cuts.get(start.prompt, ())), steps):
                ending[start.prompt, end] = len(nodes)
                nodes.append((begin, end, before, start.prompt))
                begin, before = end, len(nodes) - 1
        first, stop, source, own = np.array(nodes, dtype=np.int64).T
        prompts = np.arange(self.n_leaves)
        output = np.array([ending[prompt, steps] for prompt in range(self.n_leaves)])
        return SharingPlan(self.n_leaves, steps, first, stop, source, prompts, own, own + 1, output, combiner)

    def starts(self, schedule: Schedule, tau: float, steps: int) -> list[Start]:
        """Return the start of each prompt, in the order of arrival.

        Args:
            schedule: says nothing here, as the table does, but that tau and steps are in range.
            tau: how far the table's distances are stretched.
            steps: K.

        Raises:
            UserError: tau or steps is out of range.
        """
        schedule.thresholds(tau, steps)
        reach = self._reach(tau, steps)
        cache = LatentCache(self._size, self._eviction)
        names: dict[Latent, list[int]] = {}  # under which arrivals each latent is found
        kept: list[dict[int, Latent]] = []  # the latents that are found under each arrival, by step
        there = np.zeros(self.n_leaves, dtype=np.bool_)
        starts = []
        for i, prompt in enumerate(self._arrivals.tolist()):
            latent, path = None, {}
            near = self._neighbours.nearest(i, there)
            if near:
                allowed = [step for step, distance in reach if 1 - near[1] < distance]
                path = {step: start for step, start in kept[near[0]].items() if allowed and step <= allowed[-1]}
                latent = path[max(path)] if path else None
            starts.append(Start(prompt, latent))
            if latent:
                cache.use(latent)
                if self._storing == "misses":
                    kept.append({})
                    continue
            for ours in path.values():
                names[ours].append(i)
            kept.append(path)
            for step, _ in reach:
                if latent is None or step > latent[1]:
                    own = prompt, step
                    for gone in cache.put(own):
                        for name in names.pop(gone):
                            del kept[name][gone[1]]
                            there[name] = bool(kept[name])
                    names[own] = [i]
                    path[step] = own
            there[i] = bool(path)
        return starts

    def _reach(self, tau: float, steps: int) -> list[tuple[int, float]]:
        """Return the table at this tau: steps to skip, rising, each with the distance below which; no step twice."""
        rows = stepped(self._distances.tolist(), self._shares.tolist(), steps)
        return [(step, tau * distance) for step, distance in rows]


def stepped(distances: Sequence[float], shares: Sequence[float], steps: int) -> list[tuple[int, float]]:
    """Return a table of shares as one of steps out of `steps`, rising; of several that are one step, the first.

    Examples:
        >>> stepped((0.35, 0.25, 0.2), (0.1, 0.2, 0.24), 10)
        [(1, 0.35), (2, 0.25)]
    """
    table: dict[int, float] = {}
    for share, distance in zip(shares, distances, strict=True):
        step = int(share * steps + 1e-9)
        if step:
            table.setdefault(step, distance)
    return list(table.items())
