"""Many plans as one: what several of them denoise alike is denoised once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from generators.sharing.plan import SharingPlan

Integers = NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Union:
    """A trie of several plans of the same prompts.

    Two paths are one as long as they serve the same members from the same start: the same conditioning, the same noise,
    so the same latents.

    Attributes:
        plan: the forest. In it no prompt has one output: `ends` has what each plan wants.
        ends: int64 [R]; the nodes whose latents are wanted, each once for every prompt that ends there.
        prompts: int64 [R]; whose they are.
        rows: of each plan, int64 [N]: where in `ends` each prompt's is, -1 where that plan wants none.
    """

    plan: SharingPlan
    ends: Integers
    prompts: Integers
    rows: tuple[Integers, ...]


def alike(things: Iterable[T], plan: Callable[[T], SharingPlan]) -> list[list[T]]:
    """Things parted by what plans of one union have in common; standard generation's combiner comes first."""

    def common(thing: T) -> tuple[bool, str]:
        combiner = plan(thing).combiner
        return combiner != "mean", combiner

    return [list(group) for _, group in groupby(sorted(things, key=common), key=common)]


def union(plans: Sequence[SharingPlan]) -> Union:
    """The union of plans of the same prompts, steps and combiner.

    Nodes that are alive at a step are one if they come from one node of the union and serve the same members; a node of
    the union ends where its paths part. O(B M log M) for M nodes over all plans that begin and end at B steps.

    Raises:
        ValueError: there are none, or they differ in prompts, steps or combiner.
    """
    if len({(each.n_prompts, each.steps, each.combiner) for each in plans}) != 1:
        raise ValueError("a union is of plans of the same prompts, steps and combiner")
    nodes, entries = _offsets([len(each.first) for each in plans]), _offsets([len(each.order) for each in plans])
    first, stop, order = (
        np.concatenate([getattr(each, name) for each in plans]) for name in ("first", "stop", "order")
    )
    lo, hi = (
        np.concatenate([getattr(p, name) + at for p, at in zip(plans, entries, strict=True)]) for name in ("lo", "hi")
    )
    source = _moved([each.source for each in plans], nodes)

    trie = _Trie(_who(order, lo, hi, plans[0].n_prompts), plans[0].steps)
    place = np.full(len(first) + 1, -1)  # the last stands for no node
    for k in np.unique(np.concatenate([first, stop[stop < plans[0].steps]])).tolist():
        alive = np.flatnonzero((first <= k) & (k < stop))
        origin = np.where(first[alive] == k, source[alive], alive)
        place[alive] = trie.grow(k, alive, np.where(origin < 0, -1, place[origin]))

    wanted = [place[np.where(p.output < 0, -1, p.output + at)] for p, at in zip(plans, nodes, strict=True)]
    codes = [np.where(node < 0, -1, node * plans[0].n_prompts + np.arange(len(node))) for node in wanted]
    results = np.unique(np.concatenate(codes))
    results = results[results >= 0]
    ends, prompts = np.divmod(results, plans[0].n_prompts)
    return Union(
        trie.plan(plans[0], order, lo, hi),
        ends,
        prompts,
        tuple(np.where(code < 0, -1, np.searchsorted(results, code)) for code in codes),
    )


def united_steps(plans: Sequence[SharingPlan]) -> tuple[int, int]:
    """Node-steps of several plans of the same prompts: one by one, and united.

    Args:
        plans: standard generation's first; a prompt whose path is standard's is denoised there alone.
    """
    needed = [plans[0], *(each.restricted(~each.solo) for each in plans[1:])]
    together = sum(union(group).plan.node_steps for group in alike(needed, lambda plan: plan))
    return sum(each.node_steps for each in needed), together


def side_by_side(unions: Sequence[Union]) -> Union:
    """Unions of different prompts as one forest, in which prompts are numbered one union after the other.

    Raises:
        ValueError: there are none, or they differ in steps or combiner.
    """
    plans = [each.plan for each in unions]
    if len({(each.steps, each.combiner) for each in plans}) != 1:
        raise ValueError("side by side are unions of the same steps and combiner")
    nodes, entries = _offsets([len(each.first) for each in plans]), _offsets([len(each.order) for each in plans])
    prompts, ends = _offsets([each.n_prompts for each in plans]), _offsets([len(each.ends) for each in unions])
    first, stop = (np.concatenate([getattr(each, name) for each in plans]) for name in ("first", "stop"))
    lo, hi = (
        np.concatenate([getattr(p, name) + at for p, at in zip(plans, entries, strict=True)]) for name in ("lo", "hi")
    )
    n_prompts = sum(each.n_prompts for each in plans)
    plan = SharingPlan(
        n_prompts,
        plans[0].steps,
        first,
        stop,
        _moved([each.source for each in plans], nodes),
        np.concatenate([each.order + at for each, at in zip(plans, prompts, strict=True)]),
        lo,
        hi,
        np.full(n_prompts, -1),
        plans[0].combiner,
    )
    return Union(
        plan,
        np.concatenate([each.ends + at for each, at in zip(unions, nodes, strict=True)]),
        np.concatenate([each.prompts + at for each, at in zip(unions, prompts, strict=True)]),
        tuple(_moved([rows], [at]) for each, at in zip(unions, ends, strict=True) for rows in each.rows),
    )


def _moved(numbers: Sequence[Integers], offsets: Sequence[int] | Integers) -> Integers:
    """One after the other, each moved by its offset; -1 stays what it is."""
    return np.concatenate([np.where(each < 0, -1, each + at) for each, at in zip(numbers, offsets, strict=True)])


class _Trie:
    """Nodes of the union, made as the steps go by.

    Args:
        who: [M]; a number for the members of each of the plans' nodes.
        steps: K.
    """

    def __init__(self, who: Integers, steps: int) -> None:
        self._who, self._steps = who, steps
        self._first, self._stop, self._source, self._sample = (np.empty(0, dtype=np.int64) for _ in range(4))
        self._growing = np.empty(0, dtype=np.int64)

    def grow(self, k: int, alive: Integers, origin: Integers) -> Integers:
        """The union's node of each of the plans' nodes that are alive at step k.

        Args:
            alive: [A]; the plans' nodes.
            origin: [A]; the node of the union that each was, or starts from; -1 starts from fresh noise.
        """
        pairs = np.stack([origin, self._who[alive]], axis=1)
        groups, sample, number = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
        start, members = groups.T
        together = np.bincount(start + 1, minlength=2)[start + 1] == 1
        goes_on = together & (start >= 0)
        goes_on[goes_on] = self._who[self._sample[start[goes_on]]] == members[goes_on]
        node = np.where(goes_on, start, -1)
        node[~goes_on] = len(self._first) + np.arange(np.count_nonzero(~goes_on))
        self._stop[np.setdiff1d(self._growing, node)] = k
        new = np.count_nonzero(~goes_on)
        self._first = np.append(self._first, np.full(new, k))
        self._stop = np.append(self._stop, np.full(new, self._steps))
        self._source = np.append(self._source, start[~goes_on])
        self._sample = np.append(self._sample, alive[sample[~goes_on]])
        self._growing = node
        found: Integers = node[number.reshape(-1)]
        return found

    def plan(self, like: SharingPlan, order: Integers, lo: Integers, hi: Integers) -> SharingPlan:
        """The nodes as a plan; each serves the members of one of the plans' nodes that it stands for."""
        nobody = np.full(like.n_prompts, -1)
        lo, hi = lo[self._sample], hi[self._sample]
        return SharingPlan(
            like.n_prompts, like.steps, self._first, self._stop, self._source, order, lo, hi, nobody,
            like.combiner,
        )  # fmt: skip


def _offsets(lengths: Sequence[int]) -> Integers:
    return np.cumsum([0, *lengths[:-1]])


def _who(order: Integers, lo: Integers, hi: Integers, n: int) -> Integers:
    """A number for the members of each node: the same for the same, whatever their order.

    Sets are told apart by the sum of their members' random 128-bit numbers (Zobrist hashing).
    """
    numbers = np.random.Generator(np.random.Philox(0)).integers(2**64, size=(n, 2), dtype=np.uint64)[order]
    sums = np.concatenate([np.zeros((1, 2), dtype=np.uint64), np.cumsum(numbers, axis=0, dtype=np.uint64)])
    sets = np.concatenate([sums[hi] - sums[lo], (hi - lo).astype(np.uint64)[:, None]], axis=1)
    number: Integers = np.unique(sets, axis=0, return_inverse=True)[1].reshape(-1)
    return number
