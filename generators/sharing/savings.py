"""Savings, and the tau that gives them: from a tree alone, no plan is built; a planner knows its own."""

from bisect import bisect_left
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from generators.sharing.evaluations import Evaluations, evaluations
from generators.sharing.plan import Grouping, Planner, build_plan
from generators.sharing.schedule import Schedule

# Decimals of four significant digits, in order: 1.000e-12, 1.001e-12, ..., 9.999e14.
MANTISSAS, LOWEST, DECADES = 9000, -12, 27


@dataclass(frozen=True)
class TauForSavings:
    """The answer to "which tau saves this much?".

    Attributes:
        tau: the smallest decimal of four significant digits that saves the target or, where none does, the most.
        savings: at that tau, a fraction of the baseline's node-steps.
        reached: whether that is the target or more.
        most: the largest savings that any tau gives.
    """

    tau: float
    savings: float
    reached: bool
    most: float


def node_steps(tree: Grouping, schedule: Schedule, tau: float, steps: int) -> int:
    """Return the denoiser evaluations, counted in rows, of `tree` under this schedule: N K less what sharing saves.

    Until a cluster splits, its children's evaluations are one: it saves (children - 1) a step. Arguments and errors are
    those of `build_plan`.

    Examples:
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.5, 3]])
        >>> [node_steps(tree, get_schedule("eq7"), tau, 10) for tau in (0.0, 0.5, 1.0)]
        [30, 25, 19]
    """
    if isinstance(tree, Planner):
        return tree.node_steps(schedule, tau, steps)
    inner = slice(tree.n_leaves, None)
    saved = (tree.n_children[inner] - 1) * schedule.split_steps(tree.score[inner], tau, steps)
    return tree.n_leaves * steps - int(np.sum(saved))


def evaluated(
    tree: Grouping,
    schedule: Schedule,
    tau: float,
    steps: int,
    guided: NDArray[np.bool_] | None = None,
    *,
    reuse: bool = False,
) -> Evaluations:
    """Return what the plan of `tree` has the denoiser evaluate, from the tree alone where that will do.

    Args:
        tree: of N prompts, or a planner.
        schedule: the thresholds over the steps.
        tau: how much is shared, >= 0.
        steps: K.
        guided: bool [K], the steps at which guidance is on; None: all.
        reuse: whether siblings' unconditional rows are evaluated once.

    Examples:
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.5, 3]])
        >>> evaluated(tree, get_schedule("eq7"), 1.0, 10, np.arange(10) >= 2, reuse=True)
        Evaluations(guided=17, unguided=2, reused=2)
    """
    everywhere = guided is None or bool(guided.all())
    if reuse or (isinstance(tree, Planner) and not everywhere):
        return evaluations(build_plan(tree, schedule, tau, steps), guided, reuse=reuse)
    total = node_steps(tree, schedule, tau, steps)
    if guided is None or isinstance(tree, Planner):
        return Evaluations(total)
    before = np.append(0, np.cumsum(guided))
    inner = slice(tree.n_leaves, None)
    saved = (tree.n_children[inner] - 1) * before[schedule.split_steps(tree.score[inner], tau, steps)]
    on = tree.n_leaves * int(before[-1]) - int(np.sum(saved))
    return Evaluations(on, total - on)


def tau_for_savings(tree: Grouping, schedule: Schedule, steps: int, target: float) -> TauForSavings:
    """Return the smallest tau that saves `target`, by bisection: savings are a step function that never falls with tau.

    Of a planner whose savings do fall here and there (a bounded cache), a tau at which they rise past the target.

    Args:
        tree: of N prompts, or a planner.
        schedule: the thresholds over the steps.
        steps: K, the number of denoiser evaluations.
        target: fraction of the baseline's node-steps to save, 0 to 1.

    Raises:
        UserError: the target is no fraction.

    Examples:
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.5, 3]])
        >>> answer = tau_for_savings(tree, get_schedule("eq7"), 10, 0.3)
        >>> answer.tau, round(answer.savings, 3), answer.reached, round(answer.most, 3)
        (0.6667, 0.3, True, 0.6)
        >>> tau_for_savings(tree, get_schedule("eq7"), 10, 0.9).reached
        False
    """
    if not 0 <= target <= 1:
        raise UserError(f"savings must be between 0 and 1, not {target}", "write 0.5 for 50%")
    baseline = tree.n_leaves * steps

    def savings(tau: float) -> float:
        return (baseline - node_steps(tree, schedule, tau, steps)) / baseline

    last = MANTISSAS * DECADES - 1
    most = savings(_decimal(last))
    goal = min(target, most)
    tau = 0.0 if goal == 0 else _decimal(bisect_left(range(last), goal, key=lambda index: savings(_decimal(index))))
    return TauForSavings(tau, savings(tau), most >= target, most)


def tau_near_savings(tree: Grouping, schedule: Schedule, steps: int, target: float) -> TauForSavings:
    """Return the smallest tau whose savings are nearest to `target`, from above or below; `reached` says from above.

    Arguments and errors are those of `tau_for_savings`.

    Examples:
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.5, 3]])
        >>> near = tau_near_savings(tree, get_schedule("eq7"), 10, 0.31)
        >>> round(near.savings, 3), near.reached
        (0.3, False)
    """
    above = tau_for_savings(tree, schedule, steps, target)
    if above.tau == 0 or above.savings <= target:
        return above
    index = bisect_left(range(MANTISSAS * DECADES), above.tau, key=_decimal)
    below = _decimal(index - 1) if index else 0.0
    baseline = tree.n_leaves * steps
    saved = (baseline - node_steps(tree, schedule, below, steps)) / baseline
    if saved < 0 or above.savings - target < target - saved:
        return above
    return replace(tau_for_savings(tree, schedule, steps, saved), reached=False)


def _decimal(index: int) -> float:
    exponent, mantissa = divmod(index, MANTISSAS)
    return float(f"{1000 + mantissa}e{LOWEST - 3 + exponent}")
