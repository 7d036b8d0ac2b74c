"""What a plan has the denoiser evaluate: node-steps, with guidance and without, and rows that siblings share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from generators.sharing.plan import SharingPlan


@dataclass(frozen=True)
class Evaluations:
    """Denoiser evaluations of pictures, by kind.

    A node-step is one node at one step. Classifier-free guidance makes two rows of it, one for the prompt and one
    without (unconditional); rows are what others count as NFE.

    Attributes:
        guided: node-steps at which guidance is on, where there is any.
        unguided: node-steps outside the guidance interval.
        reused: unconditional rows that need no evaluation of their own, as a sibling's is the same.

    Examples:
        >>> made = Evaluations(guided=6, unguided=2, reused=1) + Evaluations(guided=4)
        >>> made.node_steps, made.rows(guided=2)
        (12, 21)
    """

    guided: int = 0
    unguided: int = 0
    reused: int = 0

    @property
    def node_steps(self) -> int:
        """Node-steps of both kinds."""
        return self.guided + self.unguided

    def rows(self, guided: float, unguided: float = 1) -> int:
        """Return the rows that the denoiser evaluates.

        Args:
            guided: rows of a node-step at which guidance is on: 2, or 1 where a model has no such guidance.
            unguided: rows of one outside the interval.
        """
        return round(self.guided * guided + self.unguided * unguided) - self.reused

    def __add__(self, other: "Evaluations") -> "Evaluations":
        return Evaluations(self.guided + other.guided, self.unguided + other.unguided, self.reused + other.reused)


def evaluations(
    plan: "SharingPlan",
    guided: NDArray[np.bool_] | None = None,
    *,
    reuse: bool = False,
    renoised: NDArray[np.bool_] | None = None,
) -> Evaluations:
    """Return what a plan has the denoiser evaluate.

    Args:
        plan: of K steps.
        guided: bool [K], the steps at which guidance is on; None: all.
        reuse: whether siblings' unconditional rows are evaluated once.
        renoised: bool [n], nodes that begin with fresh noise, and so have a latent of their own; None: no node.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> pair = build_plan(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("eq7"), 1.1, 4)
        >>> evaluations(pair, np.array([False, True, True, True]), reuse=True)
        Evaluations(guided=5, unguided=1, reused=1)
    """
    if guided is None:
        guided = np.ones(plan.steps, dtype=np.bool_)
    before = np.append(0, np.cumsum(guided))
    with_guidance = int(np.sum(before[plan.stop] - before[plan.first]))
    reused = len(beginners := _parted(plan, guided, renoised)) - len(np.unique(plan.source[beginners])) if reuse else 0
    return Evaluations(with_guidance, plan.node_steps - with_guidance, reused)


def _parted(
    plan: "SharingPlan", guided: NDArray[np.bool_], renoised: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Return the nodes, int64, that begin from another's latent, as it is, at a step at which guidance is on."""
    begins = plan.source >= 0
    begins[begins] = guided[plan.first[begins]]
    if renoised is not None:
        begins &= ~renoised
    return np.flatnonzero(begins)
