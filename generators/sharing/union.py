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
        rows: of each plan, int64 [N]: the place of each prompt's node in `ends`, -1 where that plan wants none.
    """

    plan: SharingPlan
    ends: Integers
    prompts: Integers
    rows: tuple[Integers, ...]


def grouped_by_combiner(items: Iterable[T], plan: Callable[[T], SharingPlan]) -> list[list[T]]:
    """Return the items in groups whose plans can be one union, as they have one combiner; the baseline's comes first.

    Args:
        items: of any kind.
        plan: returns an item's plan.

    Examples:
        >>> from dataclasses import replace
        >>> from generators.sharing.plan import baseline_plan
        >>> mean, medoid = baseline_plan(2, 4), replace(baseline_plan(2, 4), combiner="medoid")
        >>> [[plan.combiner for plan in group] for group in grouped_by_combiner([medoid, mean, medoid], lambda p: p)]
        [['mean'], ['medoid', 'medoid']]
    """

    def key(item: T) -> tuple[bool, str]:
        combiner = plan(item).combiner
        return combiner != "mean", combiner

    return [list(group) for _, group in groupby(sorted(items, key=key), key=key)]


def union(plans: Sequence[SharingPlan]) -> Union:
    """Return the union of plans of the same prompts, steps and combiner.

    Nodes that are alive at a step are one if they come from one node of the union and serve the same members; a node of
    the union ends where its paths part. O(B M log M) for M nodes over all plans that begin and end at B steps.

    Raises:
        ValueError: there are none, they differ in prompts, steps or combiner, or nodes start from finished pictures.

    Examples:
        >>> from generators.sharing.plan import build_plan, baseline_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> pair = build_plan(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("eq7"), 1.1, 4)
        >>> union([pair, pair]).plan.node_steps == pair.node_steps
        True
        >>> both = union([baseline_plan(2, 4), pair])
        >>> both.plan.node_steps, len(both.ends), [rows.tolist() for rows in both.rows]
        (14, 4, [[0, 1], [2, 3]])
    """
    if len({(plan.n_prompts, plan.steps, plan.combiner) for plan in plans}) != 1:
        raise ValueError("a union is of plans of the same prompts, steps and combiner")
    if any(plan.from_pictures for plan in plans):
        raise ValueError("a plan in which nodes start from finished pictures is denoised by itself")
    nodes, entries = _offsets([len(plan.first) for plan in plans]), _offsets([len(plan.order) for plan in plans])
    first, stop, order = (
        np.concatenate([getattr(plan, name) for plan in plans]) for name in ("first", "stop", "order")
    )
    lo, hi = (
        np.concatenate([getattr(p, name) + at for p, at in zip(plans, entries, strict=True)]) for name in ("lo", "hi")
    )
    source = _moved([plan.source for plan in plans], nodes)

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
    """Return the node-steps of several plans of the same prompts: one by one, and united as far as they can be.

    Args:
        plans: the baseline's first; a prompt whose path is the baseline's is denoised there alone.

    Examples:
        >>> from generators.sharing.plan import build_plan, baseline_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> pair = Tree.from_linkage([[0, 1, 0.5, 2]])
        >>> plans = [build_plan(pair, get_schedule("eq7"), tau, 4) for tau in (1.1, 2.1)]
        >>> [plan.node_steps for plan in plans]
        [6, 5]
        >>> united_steps([baseline_plan(2, 4), *plans])
        (19, 17)
    """
    needed = [plans[0], *(plan.restricted(~plan.solo) for plan in plans[1:])]
    alone = sum(plan.node_steps for plan in needed if plan.from_pictures)
    united = grouped_by_combiner([plan for plan in needed if not plan.from_pictures], lambda plan: plan)
    together = alone + sum(union(group).plan.node_steps for group in united)
    return sum(plan.node_steps for plan in needed), together


def side_by_side(unions: Sequence[Union]) -> Union:
    """Return unions of different prompts as one forest, its prompts numbered one union after the other.

    Raises:
        ValueError: there are none, or they differ in steps or combiner.

    Examples:
        >>> from generators.sharing.plan import baseline_plan
        >>> whole = side_by_side([union([baseline_plan(2, 4)]), union([baseline_plan(3, 4)])])
        >>> whole.plan.n_prompts, whole.plan.node_steps, whole.prompts.tolist()
        (5, 20, [0, 1, 2, 3, 4])
    """
    plans = [part.plan for part in unions]
    if len({(plan.steps, plan.combiner) for plan in plans}) != 1:
        raise ValueError("side by side are unions of the same steps and combiner")
    nodes, entries = _offsets([len(plan.first) for plan in plans]), _offsets([len(plan.order) for plan in plans])
    prompts, ends = _offsets([plan.n_prompts for plan in plans]), _offsets([len(part.ends) for part in unions])
    first, stop = (np.concatenate([getattr(plan, name) for plan in plans]) for name in ("first", "stop"))
    lo, hi = (
        np.concatenate([getattr(p, name) + at for p, at in zip(plans, entries, strict=True)]) for name in ("lo", "hi")
    )
    n_prompts = sum(plan.n_prompts for plan in plans)
    plan = SharingPlan(
        n_prompts,
        plans[0].steps,
        first,
        stop,
        _moved([plan.source for plan in plans], nodes),
        np.concatenate([plan.order + at for plan, at in zip(plans, prompts, strict=True)]),
        lo,
        hi,
        np.full(n_prompts, -1),
        plans[0].combiner,
    )
    return Union(
        plan,
        np.concatenate([part.ends + at for part, at in zip(unions, nodes, strict=True)]),
        np.concatenate([part.prompts + at for part, at in zip(unions, prompts, strict=True)]),
        tuple(_moved([rows], [at]) for part, at in zip(unions, ends, strict=True) for rows in part.rows),
    )


def _moved(numbers: Sequence[Integers], offsets: Sequence[int] | Integers) -> Integers:
    """Return the numbers one after the other, each array's moved by its offset; -1 stays what it is."""
    return np.concatenate([np.where(array < 0, -1, array + at) for array, at in zip(numbers, offsets, strict=True)])


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
        """Return the union's node of each of the plans' nodes that are alive at step k.

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
        nodes: Integers = node[number.reshape(-1)]
        return nodes

    def plan(self, like: SharingPlan, order: Integers, lo: Integers, hi: Integers) -> SharingPlan:
        """Return the nodes as a plan; each serves the members of one of the plans' nodes that it stands for."""
        nobody = np.full(like.n_prompts, -1)
        lo, hi = lo[self._sample], hi[self._sample]
        return SharingPlan(
            like.n_prompts, like.steps, self._first, self._stop, self._source, order, lo, hi, nobody,
            like.combiner,
        )  # fmt: skip


def _offsets(lengths: Sequence[int]) -> Integers:
    return np.cumsum([0, *lengths[:-1]])


def _who(order: Integers, lo: Integers, hi: Integers, n: int) -> Integers:
    """Return int64 [M]: a number for the members of each node, the same for the same members in any order.

    Sets are told apart by the sum of their members' random 128-bit numbers (Zobrist hashing).
    """
    numbers = np.random.Generator(np.random.Philox(0)).integers(2**64, size=(n, 2), dtype=np.uint64)[order]
    sums = np.concatenate([np.zeros((1, 2), dtype=np.uint64), np.cumsum(numbers, axis=0, dtype=np.uint64)])
    sets = np.concatenate([sums[hi] - sums[lo], (hi - lo).astype(np.uint64)[:, None]], axis=1)
    number: Integers = np.unique(sets, axis=0, return_inverse=True)[1].reshape(-1)
    return number
