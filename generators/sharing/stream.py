"""Prompts that arrive one after another, each starting from what an earlier one left in a bounded cache of latents."""

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from generators.sharing.plan import Planner, SharingPlan
from generators.sharing.schedule import Schedule

Eviction = Literal["lcbfu", "lru"]
Storing = Literal["misses", "all"]
Latent: TypeAlias = tuple[int, int]  # the prompt whose denoising left it, and the step that it stands before
BLOCK, KNOWN = 128, 32
# of the arrivals that have a latent, bool [n], the nearest to the one that arrives, and its similarity
Near: TypeAlias = Callable[[NDArray[np.bool_]], tuple[int, float] | None]
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


@dataclass(frozen=True)
class Arrived:
    """What an arrival does to a cache; latents are named by arrivals, counted from 0, and steps.

    Attributes:
        latent: that it starts from; None: from noise.
        similarity: to the nearest arrival that has a latent; None where none has.
        stored: the latents that it leaves there.
        gone: those that these took the place of.
    """

    latent: Latent | None
    similarity: float | None
    stored: tuple[Latent, ...] = ()
    gone: tuple[Latent, ...] = ()


class Arrivals(ABC):
    """The rules of one cache, arrival by arrival: plans of whole streams follow from it, and servers ask it.

    It knows of no rows and no latents: whoever asks says who is near, and keeps and drops latents as it is told.

    Args:
        reach: the table at some tau: steps to skip, rising, each with the distance below which.

    Attributes:
        there: bool [n], n at least the number of arrivals: which of them have a latent. One that has lost all never
            has one again.
    """

    def __init__(self, reach: Sequence[tuple[int, float]]) -> None:
        self.there = np.zeros(1024, dtype=np.bool_)
        self._reach, self._count = reach, 0

    def __len__(self) -> int:
        return self._count

    @property
    def begins(self) -> list[int]:
        """The steps before which an arrival may begin, beside the first."""
        return [step for step, _ in self._reach]

    def arrive(self, near: Near) -> Arrived:
        """Return what the next arrival starts from, and what it does to the cache, which is done then."""
        i = self._count
        if i == len(self.there):
            self.there = np.concatenate([self.there, np.zeros_like(self.there)])
        self._count += 1
        return self._arrive(i, near(self.there))

    @abstractmethod
    def _arrive(self, i: int, near: tuple[int, float] | None) -> Arrived:
        """Do so; `near` is the nearest arrival that is `there`, and its similarity."""


class StreamArrivals(Arrivals):
    """The rules of `Stream`.

    Args:
        reach: the table at some tau: steps to skip, rising, each with the distance below which.
        size: latents that the cache holds; None holds all.
        eviction: which one goes.
        storing: who leaves latents there.
    """

    def __init__(
        self, reach: Sequence[tuple[int, float]], size: int | None, eviction: Eviction, storing: Storing
    ) -> None:
        super().__init__(reach)
        self._storing = storing
        self._cache = LatentCache(size, eviction)
        self._names: dict[Latent, list[int]] = {}  # under which arrivals each latent is found
        self._kept: dict[int, dict[int, Latent]] = {}  # the latents that are found under each arrival, by step

    def _arrive(self, i: int, near: tuple[int, float] | None) -> Arrived:
        latent, path, similarity = None, dict[int, Latent](), near[1] if near else None
        if near:
            allowed = [step for step, distance in self._reach if 1 - near[1] < distance]
            path = {step: kept for step, kept in self._kept[near[0]].items() if allowed and step <= allowed[-1]}
            latent = path[max(path)] if path else None
        if latent:
            self._cache.use(latent)
            if self._storing == "misses":
                return Arrived(latent, similarity)
        for ours in path.values():
            self._names[ours].append(i)
        self._kept[i] = path
        stored: list[Latent] = []
        evicted: list[Latent] = []
        for step, _ in self._reach:
            if latent is None or step > latent[1]:
                own = i, step
                for gone in self._cache.put(own):
                    evicted.append(gone)
                    for name in self._names.pop(gone):
                        del self._kept[name][gone[1]]
                        self.there[name] = bool(self._kept[name])
                        if not self._kept[name] and name != i:
                            del self._kept[name]
                self._names[own] = [i]
                path[step] = own
                stored.append(own)
        self.there[i] = bool(path)
        return Arrived(latent, similarity, tuple(stored), tuple(evicted))


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
        rules, starts, prompts = self.opened(tau, steps), list[Start](), self._arrivals.tolist()
        for i, prompt in enumerate(prompts):
            latent = rules.arrive(partial(self._neighbours.nearest, i)).latent
            starts.append(Start(prompt, (prompts[latent[0]], latent[1]) if latent else None))
        return starts

    def opened(self, tau: float, steps: int) -> Arrivals:
        """Return the rules of its cache, nobody having arrived; arguments are those of `starts`."""
        return StreamArrivals(self._reach(tau, steps), self._size, self._eviction, self._storing)

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
