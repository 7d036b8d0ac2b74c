"""Plans: the steps over which each cluster is denoised, and the latent from which it starts."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from generators.sharing.arrays import read_npz, read_only, write_npz
from generators.sharing.schedule import Schedule
from generators.sharing.tree import Tree

KIND = "reusebench plan 1"
INTEGERS = ("first", "stop", "source", "order", "lo", "hi", "output")


@dataclass(frozen=True, eq=False)
class SharingPlan:
    """A forest of n nodes; the path from a root to a prompt's output covers steps 0..K-1 once each.

    Attributes:
        n_prompts: N.
        steps: K, the number of denoiser evaluations of a prompt.
        first, stop: int64 [n]; node i is denoised at steps ``first[i] .. stop[i] - 1``, 0-based.
        source: int64 [n]; the node from whose latent it starts; -1 starts from fresh noise at step 0.
        order: int64 [L]; prompts, in runs.
        lo, hi: int64 [n]; node i serves, and is conditioned on, ``order[lo[i]:hi[i]]``.
        output: int64 [N]; the node that ends with each prompt's latent; -1 where none is wanted.
        combiner: how a node's prompts become its conditioning.

    Raises:
        UserError: the arrays are no such plan.

    Examples:
        >>> from generators.sharing.schedule import get_schedule
        >>> pair = build_plan(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("eq7"), 1.1, 4)
        >>> pair.first.tolist(), pair.stop.tolist(), pair.source.tolist()
        ([2, 2, 0], [4, 4, 2], [2, 2, -1])
        >>> pair.node_steps, pair.baseline_node_steps, pair.savings
        (6, 8, 0.25)
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

    def __post_init__(self) -> None:
        for name in INTEGERS:
            object.__setattr__(self, name, read_only(getattr(self, name), np.int64, f"a plan's {name}"))
        self._check()

    def _check(self) -> None:
        nodes = len(self.first)
        if self.n_prompts < 1 or self.steps < 1 or len(self.output) != self.n_prompts or not self.combiner:
            raise UserError(f"no plan: {self.n_prompts} prompts, {self.steps} steps, combiner {self.combiner!r}")
        if not all(len(array) == nodes for array in (self.stop, self.source, self.lo, self.hi)):
            raise UserError("a plan's first, stop, source, lo and hi differ in length")
        if ((self.first < 0) | (self.first >= self.stop) | (self.stop > self.steps)).any():
            raise UserError(f"a plan's node is denoised over no steps, or over others than 0 to {self.steps - 1}")
        if ((self.source < -1) | (self.source >= nodes) | self._misplaced()).any():
            raise UserError("a plan's node has no source, or starts at step 0 and has one")
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

    def _misplaced(self) -> NDArray[np.bool_]:
        """Return bool [n]: nodes that cannot begin where they do."""
        misplaced: NDArray[np.bool_] = (self.source < 0) != (self.first == 0)
        return misplaced

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
        return int(np.count_nonzero(self.source < 0))

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
            solo = solo & ((node < 0) | (owner[node] == np.arange(self.n_prompts)))
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
        """The most nodes that are active at one step.

        Examples:
            >>> baseline_plan(3, 10).widest
            3
        """
        begun, ended = (np.bincount(steps, minlength=self.steps + 1) for steps in (self.first, self.stop))
        return int(np.cumsum(begun - ended).max(initial=0))

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
            sources = self.source[nodes]
            nodes = np.unique(sources[sources >= 0])
        number = np.append(np.cumsum(needed) - 1, -1)
        kept = {name: getattr(self, name)[needed] for name in ("first", "stop", "lo", "hi")}
        return replace(self, **kept, source=number[self.source[needed]], output=number[wanted])

    @property
    def digest(self) -> str:
        """A hash of all that the plan says."""
        digest = hashlib.sha256()
        for field in fields(self):
            value = getattr(self, field.name)
            digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
            digest.update(f"{field.name} {np.shape(value)}".encode())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write the plan to an .npz file."""
        arrays: dict[str, ArrayLike] = {field.name: getattr(self, field.name) for field in fields(self)}
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


def _nearest(parent: NDArray[np.int64], kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return each node's nearest kept ancestor, -1 for none, by pointer jumping: O(M log M) however deep the tree."""
    up, good = np.append(parent, -1), np.append(kept, True)
    while not good[up].all():
        up = np.where(good[up], up, up[up])
    return up[:-1]
