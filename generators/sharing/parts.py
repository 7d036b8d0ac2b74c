"""A plan cut into parts that are denoised apart, one after another or by workers: trunks, and what begins from them."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from generators.sharing.plan import SharingPlan

Integers = NDArray[np.int64]
PIECES = 4  # parts a worker at least, so that one that ends early finds another
LARGEST = 64  # full batches at most, however many pictures there are: what is lost when a worker dies


class PartPlan(SharingPlan):
    """Nodes of a plan by themselves: where `source` is -1 and `first` is not 0, a node begins from an initial state."""

    def _misplaced(self) -> NDArray[np.bool_]:
        starts = (self.source >= 0).astype(int) + (self.picture >= 0)
        misplaced: NDArray[np.bool_] = starts > (self.first > 0)
        return misplaced

    @property
    def from_states(self) -> Integers:
        """The nodes that begin from an initial state, which another part exports; int64, ascending."""
        return np.flatnonzero((self.source < 0) & (self.picture < 0) & (self.first > 0))


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

    def inherits(self, trunk: Integers) -> tuple[Integers, Integers, Integers]:
        """Return what it begins from: nodes of the part `trunk` by their numbers there, the steps, and its own nodes.

        int64 [g] each.
        """
        begins = self.plan.from_states
        return np.searchsorted(trunk, self.sources), self.plan.first[begins], begins

    @classmethod
    def of(cls, plan: SharingPlan, nodes: Integers) -> Self:
        """Return the part of these nodes of `plan`, int64 [n], ascending; O(n log n) in its nodes and members.

        Raises:
            ValueError: a node starts from a picture that another part makes.

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
        source, picture, output = (
            _numbered(nodes, of) for of in (plan.source[nodes], plan.picture[nodes], plan.output[prompts])
        )
        if ((picture < 0) & (plan.picture[nodes] >= 0)).any():
            raise ValueError("a plan in which nodes start from finished pictures is not cut")
        part = PartPlan(
            n_prompts=len(prompts),
            steps=plan.steps,
            first=plan.first[nodes],
            stop=plan.stop[nodes],
            source=source,
            picture=picture,
            order=order.reshape(-1),
            lo=lo + base[at],
            hi=hi + base[at],
            output=output,
            combiner=plan.combiner,
        )
        return cls(part, nodes, prompts, plan.source[nodes[part.from_states]])


@dataclass(frozen=True, eq=False)
class Parts:
    """A plan as parts; every node of it is in exactly one.

    Attributes:
        nodes: int64 of each part, ascending. A part comes after the one that it begins from, and all that begins from
            it comes before the next that begins from the same one: few latents wait at a time.
        waits: int64, of each part the one from whose latents it begins; -1 if it begins from noise.
    """

    nodes: tuple[Integers, ...]
    waits: Integers

    @property
    def heirs(self) -> list[list[int]]:
        """Of each part, those that begin from its latents; a part that ends with pictures has none."""
        heirs: list[list[int]] = [[] for _ in self.nodes]
        for part, trunk in enumerate(self.waits.tolist()):
            if trunk >= 0:
                heirs[trunk].append(part)
        return heirs


def parts(plan: SharingPlan, rows: int, *, whole_trees: bool = False) -> Parts:
    """Cut `plan` into parts in each of which at most `rows` nodes are active at any step.

    A node's branch is the node with all that starts from it, and its leaves are what nothing starts from. A part is
    of branches with at most `rows` leaves, whole; or of nodes whose branches have more than ``rows ** j`` leaves and at
    most ``rows ** (j + 1)``, for one j: of those that are active at a step no two share a leaf, so there are fewer than
    `rows`. Neighbours that begin from the same part are put together as far as that holds.

    A plan in which nodes start from finished pictures is one part, as those may come from anywhere in it.

    Args:
        plan: of any kind, a union too.
        rows: at least 1.
        whole_trees: cut between trees alone: a larger tree is a part by itself.

    Raises:
        ValueError: there are no rows.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.2, 2], [4, 5, 0.5, 4]])
        >>> cut = parts(build_plan(tree, get_schedule("eq7"), 1.0, 10), rows=2)
        >>> [nodes.tolist() for nodes in cut.nodes], cut.waits.tolist()
        ([[6], [0, 1, 4], [2, 3, 5]], [-1, 0, 0])
    """
    if rows < 1:
        raise ValueError(f"in a part of {rows} rows nothing is denoised")
    if plan.from_pictures:
        return Parts((np.arange(len(plan.first)),), np.array([-1]))
    leaves = branch_leaves(plan)
    most = np.array([leaves.sum()]) if whole_trees else _bounds(leaves, rows)
    level = np.searchsorted(most, leaves)
    own, begins = np.arange(len(leaves)), plan.source < 0
    starts = begins | (level[plan.source] != level)
    top = _settled(np.where(starts, own, plan.source))
    part, waits = np.full(len(leaves), -1), list[int]()  # by the node that its piece of the part begins with
    for at in np.unique(level)[::-1].tolist():
        here = np.flatnonzero(starts & (level == at))
        origin = np.where(begins[here], -1, part[top[plan.source[here]]])
        order = np.lexsort((here, plan.lo[here], origin))
        here, origin = here[order], origin[order]
        cuts = np.flatnonzero(np.diff(origin)) + 1
        for siblings, trunks in zip(np.split(here, cuts), np.split(origin, cuts), strict=True):
            for group in _filled(leaves[siblings], rows if whole_trees else int(most[at])):
                part[siblings[group]] = len(waits)
                waits.append(int(trunks[0]))
    followed = _depth_first(waits)
    place = np.empty(len(followed) + 1, dtype=np.int64)
    place[followed], place[-1] = np.arange(len(followed)), -1
    return Parts(_gathered(place[part[top]], len(followed)), place[np.array(waits, dtype=np.int64)[followed]])


def part_rows(pictures: int, workers: int, least: int = 1) -> int:
    """Return the rows of a part for so many workers: a quarter of a worker's share, from `least` to 64 times that.

    Args:
        pictures: that the plan makes.
        workers: how many parts are denoised at once.
        least: rows that fill a batch.

    Raises:
        ValueError: there are no workers.

    Examples:
        >>> part_rows(8000, workers=20), part_rows(8000, workers=1000, least=32)
        (64, 32)
    """
    if workers < 1:
        raise ValueError(f"{workers} workers denoise nothing")
    return max(least, min(-(-pictures // (PIECES * workers)), LARGEST * least))


def most_kept(plan: SharingPlan, cut: Parts) -> int:
    """Return of how many nodes the latents are kept at once where parts are denoised in their order.

    A part's are there until the last that begins from it is done.

    Examples:
        >>> from generators.sharing.plan import baseline_plan
        >>> most_kept(baseline_plan(8, 10), parts(baseline_plan(8, 10), rows=2))
        0
    """
    kept = most = 0
    exported, heirs = [len(nodes) for nodes in exported_nodes(plan, cut)], cut.heirs
    for part, trunk in enumerate(cut.waits.tolist()):
        kept += exported[part]
        most = max(most, kept)
        if trunk >= 0 and part == heirs[trunk][-1]:
            kept -= exported[trunk]
    return most


def exported_nodes(plan: SharingPlan, cut: Parts) -> tuple[Integers, ...]:
    """Return of each part its nodes from whose latents another begins, int64, ascending.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.2, 2], [4, 5, 0.5, 4]])
        >>> plan = build_plan(tree, get_schedule("eq7"), 1.0, 10)
        >>> [nodes.tolist() for nodes in exported_nodes(plan, parts(plan, rows=2))]
        [[6], [], []]
    """
    of = np.empty(len(plan.first), dtype=np.int64)
    for part, nodes in enumerate(cut.nodes):
        of[nodes] = part
    leaves = np.unique(plan.source[(plan.source >= 0) & (of[plan.source] != of)])
    exported = np.full(len(of), -1)
    exported[leaves] = of[leaves]
    return _gathered(exported, len(cut.nodes))


def branch_leaves(plan: SharingPlan) -> Integers:
    """Return int64 [n]: of each node's branch, the nodes that nothing starts from.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> branch_leaves(build_plan(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("eq7"), 1.1, 4)).tolist()
        [1, 1, 2]
    """
    leaves = np.ones(len(plan.first), dtype=np.int64)
    leaves[plan.source[plan.source >= 0]] = 0
    return _of_branches(plan, leaves)


def branch_node_steps(plan: SharingPlan) -> Integers:
    """Return int64 [n]: the node-steps of each node's branch.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> branch_node_steps(build_plan(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("eq7"), 1.1, 4)).tolist()
        [2, 2, 6]
    """
    return _of_branches(plan, plan.stop - plan.first)


def _of_branches(plan: SharingPlan, own: Integers) -> Integers:
    """Return of each node the sum over its branch of what is each node's own, which is written over."""
    for begins in np.unique(plan.first)[::-1]:
        here = np.flatnonzero((plan.first == begins) & (plan.source >= 0))
        np.add.at(own, plan.source[here], own[here])
    return own


def _bounds(leaves: Integers, rows: int) -> Integers:
    """Return the most leaves of a branch of each level; with one row, all nodes of a level are of one path."""
    if rows == 1:
        return np.unique(leaves)
    bounds = [rows]
    while bounds[-1] < leaves.max():
        bounds.append(bounds[-1] * rows)
    return np.array(bounds)


def _depth_first(waits: list[int]) -> list[int]:
    """Return the parts in an order in which each is followed by all that begins from it."""
    heirs: dict[int, list[int]] = {}
    for part, trunk in enumerate(waits):
        heirs.setdefault(trunk, []).append(part)
    order, left = [], heirs.get(-1, [])[::-1]
    while left:
        order.append(left.pop())
        left += heirs.get(order[-1], [])[::-1]
    return order


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


def _numbered(nodes: Integers, of: Integers) -> Integers:
    """Return the places in `nodes`, ascending, of each of these, -1 of one that is not there."""
    place = np.minimum(np.searchsorted(nodes, of), len(nodes) - 1)
    return np.where(nodes[place] == of, place, -1)


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
