"""A plan cut into parts that workers denoise apart: trunks, and subtrees that begin from their latents."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from generators.sharing.plan import SharingPlan

Integers = NDArray[np.int64]
PIECES = 4  # subtrees a worker at least, so that one that ends early finds another
LARGEST = 64  # times the smallest, however many there are: what is lost when a worker dies


class PartPlan(SharingPlan):
    """Nodes of a plan by themselves: where `source` is -1 and `first` is not 0, a node begins from an initial state."""

    def _misplaced(self) -> NDArray[np.bool_]:
        misplaced: NDArray[np.bool_] = (self.source >= 0) & (self.first == 0)
        return misplaced

    @property
    def from_states(self) -> Integers:
        """The nodes that begin from an initial state, which another part exports; int64, ascending."""
        return np.flatnonzero((self.source < 0) & (self.first > 0))


@dataclass(frozen=True, eq=False)
class Part:
    """Some nodes of a plan, as a plan of the prompts that they serve: it holds nothing of the rest.

    Attributes:
        plan: these nodes and prompts, numbered anew in their order.
        nodes: int64 [n]; the whole plan's number of each node, ascending.
        prompts: int64 [m]; the whole plan's number of each prompt, ascending.
        sources: int64 [g]; the whole plan's node whose last latent each of ``plan.from_states`` begins from.
    """

    plan: PartPlan
    nodes: Integers
    prompts: Integers
    sources: Integers

    @classmethod
    def of(cls, plan: SharingPlan, nodes: Integers) -> Self:
        """Return the part of these nodes of `plan`, int64 [n], ascending; O(n log n) in its nodes and members.

        Examples:
            >>> from generators.sharing.plan import baseline_plan
            >>> part = Part.of(baseline_plan(4, 10), np.array([1, 3]))
            >>> part.plan.n_prompts, part.prompts.tolist(), part.plan.node_steps
            (2, [1, 3], 20)
        """
        lo, hi = plan.lo[nodes], plan.hi[nodes]
        starts, stops, at = _merged(lo, hi)
        entries = np.concatenate([np.arange(a, b) for a, b in zip(starts, stops, strict=True)])
        lengths = stops - starts
        base = np.cumsum(lengths) - lengths - starts
        prompts, order = np.unique(plan.order[entries], return_inverse=True)
        source = np.searchsorted(nodes, plan.source[nodes])
        inside = (source < len(nodes)) & (nodes[np.minimum(source, len(nodes) - 1)] == plan.source[nodes])
        output = np.searchsorted(nodes, plan.output[prompts])
        ends = (output < len(nodes)) & (nodes[np.minimum(output, len(nodes) - 1)] == plan.output[prompts])
        part = PartPlan(
            n_prompts=len(prompts),
            steps=plan.steps,
            first=plan.first[nodes],
            stop=plan.stop[nodes],
            source=np.where(inside, source, -1),
            order=order.reshape(-1),
            lo=lo + base[at],
            hi=hi + base[at],
            output=np.where(ends, output, -1),
            combiner=plan.combiner,
        )
        return cls(part, nodes, prompts, plan.source[nodes[part.from_states]])


@dataclass(frozen=True, eq=False)
class Parts:
    """A plan as parts; every node of it is in exactly one.

    Attributes:
        trunks: nodes whose own and whose descendants' node-steps are too many for a part; closed towards the roots. Of
            several trees, apart.
        subtrees: nodes of each other part, whole branches; those first that begin from noise.
        waits: int64, of each subtree the trunk that it begins from, -1 if it begins from noise.
    """

    trunks: tuple[Integers, ...]
    subtrees: tuple[Integers, ...]
    waits: Integers


def parts(plan: SharingPlan, workers: int, least: int = 1) -> Parts:
    """Cut `plan` for so many workers: into parts of at most `part_size` node-steps, and the trunks above them.

    A subtree is a node with all that starts from it. Neighbours in the plan's order are put together up to that size,
    and so are trees' trunks; one tree's trunk is not cut, and may be larger.

    Args:
        plan: of any kind, a union too.
        workers: how many parts are denoised at once.
        least: node-steps that a part may have however many workers there are, so that its batches are full; K if less.

    Raises:
        ValueError: there are no workers.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.2, 2], [4, 5, 0.5, 4]])
        >>> cut = parts(build_plan(tree, get_schedule("eq7"), 1.0, 10), workers=2)
        >>> [nodes.tolist() for nodes in cut.trunks], [nodes.tolist() for nodes in cut.subtrees], cut.waits.tolist()
        ([[6]], [[0, 1, 4], [2, 3, 5]], [0, 0])
    """
    size = part_size(plan.node_steps, plan.steps, workers, least)
    work = branch_node_steps(plan)
    high = work > size
    above = np.append(high, False)[plan.source]  # for the source -1 too
    roots = ~high & ((plan.source < 0) | above)
    tree = _settled(np.where(plan.source < 0, np.arange(len(work)), plan.source))
    trunk_of = np.full(len(work), -1)  # by tree
    tall, own = np.unique(tree[high], return_inverse=True)
    steps = np.bincount(own.reshape(-1), weights=(plan.stop - plan.first)[high], minlength=len(tall)).astype(np.int64)
    for number, group in enumerate(_filled(steps, size)):
        trunk_of[tall[group]] = number
    trunk_of = trunk_of[tree]

    bins, waits = np.full(len(work), -1), list[int]()
    starts = np.flatnonzero(roots)
    origin = np.where(above[starts], trunk_of[starts], -1)
    by_origin = np.argsort(origin, kind="stable")
    starts, origin = starts[by_origin], origin[by_origin]
    for here in np.split(starts, np.flatnonzero(np.diff(origin)) + 1):
        for group in _filled(work[here], size):
            bins[here[group]] = len(waits)
            waits.append(int(trunk_of[here[0]]) if above[here[0]] else -1)
    bins = bins[_settled(np.where(high | roots, np.arange(len(work)), plan.source))]
    trunks = _gathered(np.where(high, trunk_of, -1), int(trunk_of.max(initial=-1)) + 1)
    return Parts(trunks, _gathered(bins, len(waits)), np.array(waits, dtype=np.int64))


def part_size(node_steps: int, steps: int, workers: int, least: int = 1) -> int:
    """Return the most node-steps of a part: a quarter of a worker's share, but from `least` (or K) to 64 times that.

    Raises:
        ValueError: there are no workers.

    Examples:
        >>> part_size(8000, 10, workers=20), part_size(8000, 10, workers=1000)
        (100, 10)
    """
    if workers < 1:
        raise ValueError(f"{workers} workers denoise nothing")
    smallest = max(least, steps)
    return max(smallest, min(-(-node_steps // (PIECES * workers)), LARGEST * smallest))


def branch_node_steps(plan: SharingPlan) -> Integers:
    """Return int64 [n]: the node-steps of each node and of all that starts from it.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> branch_node_steps(build_plan(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("eq7"), 1.1, 4)).tolist()
        [2, 2, 6]
    """
    work = plan.stop - plan.first
    for begins in np.unique(plan.first)[::-1].tolist():
        if begins:
            here = np.flatnonzero(plan.first == begins)
            np.add.at(work, plan.source[here], work[here])
    return work


def whole(plan: SharingPlan) -> Part:
    """Return the plan as one part.

    Examples:
        >>> from generators.sharing.plan import baseline_plan
        >>> whole(baseline_plan(3, 10)).plan.node_steps
        30
    """
    return Part.of(plan, np.arange(len(plan.first)))


def _filled(work: Integers, size: int) -> list[slice]:
    """Return consecutive runs of at most `size` in sum, or of one item that is larger."""
    ends, runs, start = np.cumsum(work), [], 0
    while start < len(work):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + size, side="right")))
        runs.append(slice(start, stop))
        start = stop
    return runs


def _settled(up: Integers) -> Integers:
    """Return where pointers that end at themselves lead, by jumping."""
    while (up[up] != up).any():
        up = up[up]
    return up


def _gathered(groups: Integers, count: int) -> tuple[Integers, ...]:
    """Return the places of each group 0..count-1, ascending."""
    by_group = np.argsort(groups, kind="stable")
    cuts = np.searchsorted(groups[by_group], np.arange(count + 1))
    return tuple(by_group[cuts[i] : cuts[i + 1]] for i in range(count))


def _merged(lo: Integers, hi: Integers) -> tuple[Integers, Integers, Integers]:
    """Return disjoint ranges that cover these, ascending, and the number of the range that each lies in."""
    by_start = np.argsort(lo, kind="stable")
    reach = np.maximum.accumulate(hi[by_start])
    new = np.append(True, lo[by_start][1:] > reach[:-1])
    group = np.cumsum(new) - 1
    at = np.empty_like(group)
    at[by_start] = group
    last = np.append(np.flatnonzero(new)[1:] - 1, len(lo) - 1)
    return lo[by_start][new], reach[last], at
