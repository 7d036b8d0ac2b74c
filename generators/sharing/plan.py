"""Plans: the steps over which each cluster is denoised, and the latent from which it starts."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from generators.sharing.arrays import read_npz, read_only, write_npz
from generators.sharing.schedule import Schedule
from generators.sharing.tree import Tree

KIND = "reusebench plan 1"
INTEGERS = ("first", "stop", "source", "order", "lo", "hi", "output", "picture")


@dataclass(frozen=True, eq=False)
class SharingPlan:
    """A forest of n nodes; the path from a root to a prompt's output covers steps 0..K-1 once each.

    A path may also begin later, from a finished picture: then it covers the steps from there on.

    Attributes:
        n_prompts: N.
        steps: K, the number of denoiser evaluations of a prompt.
        first, stop: int64 [n]; node i is denoised at steps ``first[i] .. stop[i] - 1``, 0-based.
        source: int64 [n]; the node from whose latent it starts; -1: from fresh noise at step 0, or a picture.
        order: int64 [L]; prompts, in runs.
        lo, hi: int64 [n]; node i serves, and is conditioned on, ``order[lo[i]:hi[i]]``.
        output: int64 [N]; the node that ends with each prompt's latent; -1 where none is wanted.
        combiner: how a node's prompts become its conditioning.
        picture: int64 [n]; the node, denoised to the end, whose finished latent gets the noise of step ``first[i] > 0``
            for node i to start from (SDEdit, Meng et al. 2022); -1, and all of them where none are given, for none.

    Raises:
        UserError: the arrays are no such plan.

    Examples:
        >>> from generators.sharing.schedule import get_schedule
        >>> pair = build_plan(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("eq7"), 1.1, 4)
        >>> pair.first.tolist(), pair.stop.tolist(), pair.source.tolist()
        ([2, 2, 0], [4, 4, 2], [2, 2, -1])
        >>> pair.node_steps, pair.baseline_node_steps, pair.savings
        (6, 8, 0.25)
        >>> again = replace(baseline_plan(2, 10), first=[0, 6], picture=[-1, 0])
        >>> again.node_steps, again.rounds.tolist(), again.solo.tolist()
        (14, [0, 1], [True, False])
    """

    n_prompts: int
    steps: int
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    source: NDArray[np.int64]
    order: NDArray[np.int64]
    lo: NDArray[np.int64]
    hi: NDArray[np.int64]
    output: NDArray[np.int64]
    combiner: str
    picture: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if not len(self.picture):
            object.__setattr__(self, "picture", np.full(len(self.first), -1))
        for name in INTEGERS:
            object.__setattr__(self, name, read_only(getattr(self, name), np.int64, f"a plan's {name}"))
        self._check()

    def _check(self) -> None:
        nodes = len(self.first)
        if self.n_prompts < 1 or self.steps < 1 or len(self.output) != self.n_prompts or not self.combiner:
            raise UserError(f"no plan: {self.n_prompts} prompts, {self.steps} steps, combiner {self.combiner!r}")
        if not all(len(array) == nodes for array in (self.stop, self.source, self.lo, self.hi, self.picture)):
            raise UserError("a plan's first, stop, source, lo, hi and picture differ in length")
        if ((self.first < 0) | (self.first >= self.stop) | (self.stop > self.steps)).any():
            raise UserError(f"a plan's node is denoised over no steps, or over others than 0 to {self.steps - 1}")
        before = np.stack([self.source, self.picture])
        if ((before < -1) | (before >= nodes) | self._misplaced()).any():
            raise UserError("a plan's node has no source, or starts at step 0 and has one")
        if (self.stop[self.picture[self.picture >= 0]] != self.steps).any():
            raise UserError("a plan's node starts from the picture of one that is not denoised to the end")
        started = self.source >= 0
        if (self.stop[self.source[started]] != self.first[started]).any():
            raise UserError("a plan's node starts at another step than its source ends")
        if ((self.lo < 0) | (self.lo >= self.hi) | (self.hi > len(self.order))).any():
            raise UserError("a plan's node serves no prompt")
        if ((self.order < 0) | (self.order >= self.n_prompts)).any():
            raise UserError("a plan's node serves a prompt that is not there")
        ends = self.output[self.output >= 0]
        if (self.output < -1).any() or (ends >= nodes).any() or (self.stop[ends] != self.steps).any():
            raise UserError("a prompt's output is no node that is denoised to the end")
        if (self.rounds < 0).any():
            raise UserError("a plan's node starts from a picture that comes of its own")

    def _misplaced(self) -> NDArray[np.bool_]:
        """Return bool [n]: nodes that cannot begin where they do."""
        starts = (self.source >= 0).astype(int) + (self.picture >= 0)
        misplaced: NDArray[np.bool_] = starts != (self.first > 0)
        return misplaced

    @property
    def from_pictures(self) -> bool:
        """Whether a node starts from a picture, so that the plan is denoised in `rounds`, and by itself.

        Examples:
            >>> baseline_plan(3, 10).from_pictures
            False
        """
        return bool((self.picture >= 0).any())

    @property
    def rounds(self) -> NDArray[np.int64]:
        """int64 [n]; how many finished pictures stand, one from the other, before each node; -1: it waits for itself.

        Examples:
            >>> baseline_plan(3, 10).rounds.tolist()
            [0, 0, 0]
        """
        if not self.from_pictures:
            return np.zeros(len(self.first), dtype=np.int64)
        return self._of_roots()[0]

    @property
    def stages(self) -> list[NDArray[np.int64]]:
        """The nodes that can be denoised together, int64, ascending, in an order in which that can be done.

        They are of one round, and their paths begin at one step: a scheduler remembers as much of each. Where no node
        starts from a picture, all are together.

        Examples:
            >>> restarted = replace(baseline_plan(3, 10), first=[0, 6, 4], picture=[-1, 0, 0])
            >>> [nodes.tolist() for nodes in restarted.stages]
            [[0], [2], [1]]
        """
        if not self.from_pictures:
            return [np.arange(len(self.first))]
        rounds, begins = self._of_roots()
        code = rounds * self.steps + begins
        return [np.flatnonzero(code == value) for value in np.unique(code).tolist()]

    def _of_roots(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return int64 [n] both: each node's round, and the step at which its path begins."""
        root = _nearest(self.source, self.source < 0, own=True)
        rounds = np.where(self.picture[root] < 0, 0, -1)
        waiting = np.flatnonzero(rounds < 0)
        while waiting.size:
            before = rounds[self.picture[root[waiting]]]
            ready = before >= 0
            if not ready.any():
                break
            rounds[waiting[ready]] = before[ready] + 1
            waiting = waiting[~ready]
        return rounds, self.first[root]

    @property
    def node_steps(self) -> int:
        """Denoiser evaluations, counted in rows."""
        return int(np.sum(self.stop - self.first))

    @property
    def roots(self) -> int:
        """The number of nodes that start from noise at step 0.

        Examples:
            >>> baseline_plan(3, 10).roots
            3
        """
        return int(np.count_nonzero(self.first == 0))

    @property
    def beginnings(self) -> NDArray[np.int64]:
        """int64 [N]: of each prompt the node from noise that its picture came of, by way of others' pictures too.

        -1 for prompts that are not wanted.

        Examples:
            >>> baseline_plan(3, 10).beginnings.tolist()
            [0, 1, 2]
        """
        node = self.output.copy()
        while True:
            before = np.where(self.source[node] >= 0, self.source[node], self.picture[node])
            before[node < 0] = -1
            if (before < 0).all():
                return node
            node = np.where(before >= 0, before, node)

    @property
    def baseline_node_steps(self) -> int:
        """Denoiser evaluations of the same prompts, those with an output, with nobody sharing."""
        return self.steps * int(np.count_nonzero(self.output >= 0))

    @property
    def savings(self) -> float:
        """The fraction of the baseline's node-steps that is saved (the paper's "compute saved")."""
        baseline = self.baseline_node_steps
        return (baseline - self.node_steps) / baseline if baseline else 0.0

    @property
    def ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """int64 [R] both: the nodes that end with a wanted prompt's latent, and the prompts, ascending."""
        prompts = np.flatnonzero(self.output >= 0)
        return self.output[prompts], prompts

    @property
    def solo(self) -> NDArray[np.bool_]:
        """bool [N]: prompts whose whole path is nodes of their own, as the baseline's is."""
        owner = np.where(self.hi - self.lo == 1, self.order[self.lo], -1)
        node, solo = self.output, self.output >= 0
        while (node >= 0).any():
            own = (owner[node] == np.arange(self.n_prompts)) & (self.picture[node] < 0)
            solo = solo & ((node < 0) | own)
            node = np.where(node < 0, -1, self.source[node])
        return solo

    @property
    def leaves(self) -> int:
        """The number of nodes that nothing starts from.

        Examples:
            >>> baseline_plan(3, 10).leaves
            3
        """
        return len(self.first) - len(np.unique(self.source[self.source >= 0]))

    @property
    def widest(self) -> int:
        """The most nodes that are active at one step; of `stages`, in one of them.

        Examples:
            >>> baseline_plan(3, 10).widest
            3
        """
        most = 0
        for nodes in self.stages:
            first, stop = self.first[nodes], self.stop[nodes]
            begun, ended = (np.bincount(steps, minlength=self.steps + 1) for steps in (first, stop))
            most = max(most, int(np.cumsum(begun - ended).max(initial=0)))
        return most

    def active(self, k: int) -> NDArray[np.int64]:
        """Return the nodes denoised at step `k` (0-based), int64, ascending.

        Examples:
            >>> baseline_plan(3, 10).active(0).tolist()
            [0, 1, 2]
        """
        return np.flatnonzero((self.first <= k) & (k < self.stop))

    def members(self, i: int) -> NDArray[np.int64]:
        """Return the prompts that node `i` serves and is conditioned on, int64.

        Examples:
            >>> baseline_plan(3, 10).members(1).tolist()
            [1]
        """
        return self.order[self.lo[i] : self.hi[i]]

    def restricted(self, prompts: NDArray[np.bool_]) -> Self:
        """Return the part of the plan that these prompts need: whole nodes, with their members.

        Args:
            prompts: bool [N].

        Raises:
            UserError: it is no such mask.

        Examples:
            >>> baseline_plan(3, 10).restricted(np.array([True, False, True])).node_steps
            20
        """
        if prompts.shape != (self.n_prompts,) or prompts.dtype != np.bool_:
            raise UserError(f"a plan is restricted to a mask of its {self.n_prompts} prompts")
        wanted = np.where(prompts, self.output, -1)
        needed = np.zeros(len(self.first), dtype=np.bool_)
        nodes = np.unique(wanted[wanted >= 0])
        while nodes.size:
            needed[nodes] = True
            sources = np.concatenate([self.source[nodes], self.picture[nodes]])
            nodes = np.unique(sources[sources >= 0])
        number = np.append(np.cumsum(needed) - 1, -1)
        kept = {name: getattr(self, name)[needed] for name in ("first", "stop", "lo", "hi")}
        starts = {name: number[getattr(self, name)[needed]] for name in ("source", "picture")}
        return replace(self, **kept, **starts, output=number[wanted])

    @property
    def digest(self) -> str:
        """A hash of all that the plan says."""
        digest = hashlib.sha256()
        for name, value in self._said.items():
            digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
            digest.update(f"{name} {np.shape(value)}".encode())
        return digest.hexdigest()

    @property
    def _said(self) -> dict[str, Any]:
        """What the plan says, by name; nothing of pictures where none are started from, as before there were any."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        return said if self.from_pictures else {name: said[name] for name in said if name != "picture"}

    def save(self, path: Path) -> None:
        """Write the plan to an .npz file."""
        arrays: dict[str, ArrayLike] = self._said
        write_npz(path, KIND, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            UserError: the file is missing, damaged or no plan.
        """
        stored: dict[str, Any] = read_npz(path, KIND)
        try:
            stored |= {name: stored[name].item() for name in ("n_prompts", "steps", "combiner")}
            return cls(**stored)
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise UserError(
                f"{path} holds no whole plan: {error}", "remove it and run again to make it anew"
            ) from error


class Planner(ABC):
    """Prompts made ready to share, by a strategy whose plans follow from no tree: it gives them itself.

    Where a tree is taken for planning (`build_plan`, `node_steps`, `tau_for_savings`), a planner is too.

    Attributes:
        n_leaves: N, the number of prompts.
    """

    n_leaves: int

    @abstractmethod
    def plan(self, schedule: Schedule, tau: float, steps: int, combiner: str = "mean") -> SharingPlan:
        """Return the plan at this tau, the baseline's at tau 0; arguments and errors are those of `build_plan`."""

    def node_steps(self, schedule: Schedule, tau: float, steps: int) -> int:
        """Return that plan's cost in denoiser evaluations; to be overridden where it is known without the plan."""
        return self.plan(schedule, tau, steps).node_steps

    @property
    def arrivals(self) -> NDArray[np.int64] | None:
        """int64 [N]: the order in which an online strategy's prompts arrive; None if no order is meant."""
        return None


Grouping: TypeAlias = Tree | Planner


def treed(grouping: Grouping, strategy: str) -> Tree:
    """Return the grouping that a strategy of this name made, where only a tree will do.

    Raises:
        UserError: it is none.

    Examples:
        >>> treed(Tree.singletons(3), "none").n_leaves
        3
    """
    if isinstance(grouping, Tree):
        return grouping
    raise UserError(f"the strategy {strategy!r} makes no tree: it plans by itself", "choose another strategy")


def with_copies(grouping: Grouping, n: int, height: float, strategy: str) -> Grouping:
    """Return a strategy's grouping of prompts as one of `n` copies of each (`Tree.with_copies`).

    Raises:
        UserError: it is no tree, so that nothing says where copies part.

    Examples:
        >>> with_copies(Tree.singletons(3), 2, 0.5, "none").n_leaves
        6
    """
    return grouping if n == 1 else treed(grouping, strategy).with_copies(n, height)


def build_plan(tree: Grouping, schedule: Schedule, tau: float, steps: int, combiner: str = "mean") -> SharingPlan:
    """Return the plan of `tree` under `schedule` (Algorithm 1); a planner gives its own.

    A cluster is denoised from the step at which its parent splits to the one at which it does, so its interval takes
    two binary searches on phi: O(M log K), vectorised. Clusters with no steps are left out; node i < N is prompt
    i alone, with which every path ends.

    Args:
        tree: of N prompts, or a planner.
        schedule: the thresholds over the steps.
        tau: how much is shared, >= 0; 0 is the baseline.
        steps: K, the number of denoiser evaluations (``len(scheduler.timesteps)``).
        combiner: how a cluster's prompts become its conditioning.

    Raises:
        UserError: tau or steps is out of range.

    Examples:
        >>> from generators.sharing.schedule import get_schedule
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.5, 3]])
        >>> [build_plan(tree, get_schedule("eq7"), tau, 10).node_steps for tau in (0.0, 0.5, 1.0)]
        [30, 25, 19]
        >>> round(build_plan(tree, get_schedule("eq7"), 1.0, 10).savings, 3)
        0.367
    """
    if isinstance(tree, Planner):
        return tree.plan(schedule, tau, steps, combiner)
    split = schedule.split_steps(tree.score, tau, steps)
    split[: tree.n_leaves] = steps
    first = np.where(tree.parent < 0, 0, split[tree.parent])
    kept = first < split
    ancestor = _nearest(tree.parent, kept)
    number = np.append(np.cumsum(kept) - 1, -1)
    return SharingPlan(
        n_prompts=tree.n_leaves,
        steps=steps,
        first=first[kept],
        stop=split[kept],
        source=np.where(first > 0, number[ancestor], -1)[kept],
        order=tree.leaf_order,
        lo=tree.lo[kept],
        hi=tree.hi[kept],
        output=np.arange(tree.n_leaves),
        combiner=combiner,
    )


def baseline_plan(n: int, steps: int) -> SharingPlan:
    """Return the baseline's plan: every one of `n` prompts alone for all K = `steps` steps.

    Examples:
        >>> baseline = baseline_plan(3, 10)
        >>> baseline.node_steps, baseline.savings, baseline.solo.tolist()
        (30, 0.0, [True, True, True])
    """
    prompts = np.arange(n)
    nobody, whole = np.full(n, -1), np.full(n, steps)
    return SharingPlan(n, steps, 0 * prompts, whole, nobody, prompts, prompts, prompts + 1, prompts, "mean")


def _nearest(parent: NDArray[np.int64], kept: NDArray[np.bool_], *, own: bool = False) -> NDArray[np.int64]:
    """Return each node's nearest kept ancestor, -1 for none, by pointer jumping: O(M log M) however deep the tree.

    With `own`, a kept node is its own.
    """
    up, good = np.append(np.where(own & kept, np.arange(len(parent)), parent), -1), np.append(kept, True)
    while not good[up].all():
        up = np.where(good[up], up, up[up])
    return up[:-1]
