"""Ways to share that no tree says: a strategy may give plans itself."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from generators.sharing.tree import Tree

if TYPE_CHECKING:
    from generators.sharing.plan import SharingPlan
    from generators.sharing.schedule import Schedule


class Planner(ABC):
    """Prompts made ready to share, by a strategy whose plans follow from no tree.

    Where a tree is taken for planning (`build_plan`, `node_steps`, `tau_for_savings`), a planner is too.

    Attributes:
        n_leaves: N, the number of prompts.
    """

    n_leaves: int

    @abstractmethod
    def plan(self, schedule: "Schedule", tau: float, steps: int, combiner: str = "mean") -> "SharingPlan":
        """The plan at this tau; at tau 0 it is standard generation. Arguments and errors are those of `build_plan`."""

    def node_steps(self, schedule: "Schedule", tau: float, steps: int) -> int:
        """What that plan costs, in denoiser evaluations; cheaper where the planner knows a way."""
        return self.plan(schedule, tau, steps).node_steps

    @property
    def arrivals(self) -> NDArray[np.int64] | None:
        """int64 [N]: the order in which an online strategy's prompts arrive; None if no order is meant."""
        return None


Grouping: TypeAlias = Tree | Planner


def treed(grouping: Grouping, strategy: str) -> Tree:
    """The grouping that a strategy of this name made, where only a tree will do.

    Raises:
        UserError: it is none.
    """
    if isinstance(grouping, Tree):
        return grouping
    raise UserError(f"the strategy {strategy!r} makes no tree: it plans by itself", "choose another strategy")


def drawn(grouping: Grouping, plan: "SharingPlan") -> Tree:
    """The tree to show beside a plan: the one that it was built from or, where there was none, the one that it is."""
    return grouping if isinstance(grouping, Tree) else parting_tree(plan)


def is_parting(tree: Tree, plan: "SharingPlan") -> bool:
    """Whether a tree that was kept beside a plan is the plan's own; of one that shares nothing it says no."""
    own = parting_tree(plan)
    same = np.array_equal(own.parent, tree.parent) and np.array_equal(own.score, tree.score)
    return same and bool((own.parent >= 0).any())


def parting_tree(plan: "SharingPlan") -> Tree:
    """The tree that a plan is, for drawing: who is denoised as one until when.

    A node of the plan on several prompts' paths is a cluster of them; its height is the share of steps that are left
    when it stops, so who parts early merges high. Plans of the same cuts have the same tree.
    """
    n, nodes = plan.n_prompts, len(plan.first)
    ends, prompts = plan.ends
    passing = np.bincount(ends, minlength=nodes)
    by_start = np.argsort(-plan.first, kind="stable")  # a node starts after its source does
    for node in by_start[plan.source[by_start] >= 0].tolist():
        passing[plan.source[node]] += passing[node]
    shared = passing > 1
    number = np.append(np.where(shared, n + np.cumsum(shared) - 1, -1), -1)
    above = np.full(nodes + 1, -1)
    for node in by_start[::-1].tolist():
        source = plan.source[node]
        above[node] = number[node] if shared[node] else above[source]
    own = np.full(n, -1)
    own[prompts] = above[ends]
    parent = np.concatenate([own, above[plan.source[shared]]])
    heights = 1 - plan.stop[shared] / plan.steps
    return Tree.from_parents(parent, np.concatenate([np.zeros(n), heights]), n)
