"""The suite for a strategy that plans by itself: of plans instead of trees."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from generators.sharing.plan import Planner, SharingPlan, build_plan
from generators.sharing.savings import node_steps
from generators.sharing.schedule import get_schedule
from generators.strategies.base import Strategy
from generators.strategies.samples import groups, shuffles

STEPS = 10
TAUS = (0.0, 0.5, 1.0, 1e9)


def planner_checks(strategy: Strategy) -> dict[str, Callable[[Strategy], str]]:
    """Return its checks, by name; to an online strategy order matters, but later prompts must change nothing."""
    return {
        "plans are valid": _valid,
        "same plans again": _deterministic,
        **(
            {"later prompts change nothing earlier": _causal}
            if strategy.online
            else {"prompt order does not matter": _ordered}
        ),
    }


def _planner(strategy: Strategy, features: NDArray[np.float64], seed: int = 0) -> Planner:
    given = features.copy()
    given.setflags(write=False)
    planner = strategy.grouping(given, seed=seed)
    if not isinstance(planner, Planner):
        raise UserError(f"grouping() gave a {type(planner).__name__}, not a generators.sharing.plan.Planner")
    if planner.n_leaves != len(features):
        raise UserError(f"a planner of {planner.n_leaves} prompts for {len(features)}")
    return planner


def _plan(planner: Planner, tau: float) -> SharingPlan:
    return build_plan(planner, get_schedule("eq7"), tau, STEPS)


def _valid(strategy: Strategy) -> str:
    """Check that plans are of these prompts, cost what was said, and share nothing at tau 0."""
    sizes = (1, 2, 3, 7, 40)
    for n in sizes:
        planner = _planner(strategy, groups(n))
        for tau in TAUS:
            plan = _plan(planner, tau)
            if plan.n_prompts != n or (plan.output < 0).any():
                raise UserError(f"a plan that gives {(plan.output >= 0).sum()} of {n} prompts a picture")
            if plan.node_steps != node_steps(planner, get_schedule("eq7"), tau, STEPS):
                raise UserError(f"a plan of {plan.node_steps} node-steps, where node_steps() says otherwise")
            if tau == 0 and not plan.solo.all():
                raise UserError(f"{n} prompts at tau 0 are not the baseline")
    return f"of {', '.join(map(str, sizes))} prompts"


def _deterministic(strategy: Strategy) -> str:
    features, plans = groups(40, copies=10), []
    for seed in (0, 1):
        one, two = (paths(_plan(_planner(strategy, features, seed), 1.0)) for _ in range(2))
        if not np.array_equal(one, two):
            raise UserError(f"the same features and seed {seed} gave another plan")
        plans.append(one)
    return "the same with any seed" if np.array_equal(plans[0], plans[1]) else "another with another seed"


def _causal(strategy: Strategy) -> str:
    features = groups(40, copies=10)
    planner = _planner(strategy, features)
    arrivals = planner.arrivals
    if arrivals is None:
        raise UserError("an online strategy's planner says in which order prompts arrive", "give it `arrivals`")
    if not np.array_equal(arrivals, np.arange(len(features))):
        return "order matters by nature; it is drawn here, where more prompts are drawn anew"
    for n in (1, 7, 30):
        for tau in TAUS:
            few, many = (paths(_plan(some, tau)) for some in (_planner(strategy, features[:n]), planner))
            if not np.array_equal(few, many[:n]):
                raise UserError(f"at tau {tau}, the first {n} prompts are made otherwise when more come after them")
    return "order matters by nature: prompts arrive as they are given"


def _ordered(strategy: Strategy) -> str:
    features = groups(40, copies=10)
    expected = _plan(_planner(strategy, features), 1.0).node_steps
    for order in shuffles(len(features)):
        if _plan(_planner(strategy, features[order]), 1.0).node_steps != expected:
            raise UserError("prompts in another order gave plans of other costs", "or say that it is `online`")
    return "the same costs in other orders"


def paths(plan: SharingPlan) -> NDArray[np.int64]:
    """Return int64 [N, K]: the least of the prompts that each prompt's latent is conditioned on, step by step.

    Before a path begins from a picture, the least of those that the picture's last step was conditioned on.
    """
    leaders = np.full((plan.n_prompts, plan.steps), -1)
    for prompt, output in enumerate(plan.output.tolist()):
        node = output
        while node >= 0:
            leaders[prompt, plan.first[node] : plan.stop[node]] = plan.members(node).min()
            if plan.picture[node] >= 0:
                leaders[prompt, : plan.first[node]] = plan.members(plan.picture[node]).min()
            node = plan.source[node]
    return leaders
