"""The suite that any strategy must pass, whoever wrote it: it says what holds, and why something does not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from generators.sharing.plan import build_plan
from generators.sharing.schedule import get_schedule, schedules
from generators.sharing.tree import Tree
from generators.strategies.base import Strategy
from generators.strategies.check_planner import planner_checks
from generators.strategies.growth import SIZES, check_memory, check_time
from generators.strategies.samples import ORDERS, groups, shuffles

Features = NDArray[np.float64]
Check = Callable[[Strategy], str]
STEPS = 10
BY_CONTENT = "put rows in the order of their content first: generators.strategies.contents.by_content does"
CHECK = "generators.strategies.base.check_features refuses them"


@dataclass(frozen=True)
class Finding:
    """One check: whether it holds, and what was seen."""

    check: str
    passed: bool
    reason: str


def check_strategy(strategy: Strategy, sizes: Sequence[int] = SIZES) -> list[Finding]:
    """Return the finding of every check of `strategy` with its parameters.

    Args:
        strategy: what is checked; an exception of its own is a finding, never the end.
        sizes: numbers of prompts over which time and memory are measured, ascending; none measures nothing.
    """
    own = type(strategy).grouping is not Strategy.grouping
    checks: dict[str, Check] = {
        "documented": _documented,
        **(planner_checks(strategy) if own else TREE_CHECKS),
        "bad features are refused": _refuses,
    }
    if sizes:
        checks["time grows as declared"] = lambda strategy: check_time(strategy, sizes)
        checks["memory grows as declared"] = lambda strategy: check_memory(strategy, sizes)
    return [_found(name, check, strategy) for name, check in checks.items()]


def _found(name: str, check: Check, strategy: Strategy) -> Finding:
    try:
        return Finding(name, True, check(strategy))
    except UserError as error:
        return Finding(name, False, str(error))
    except Exception as error:  # a strategy may raise anything
        return Finding(name, False, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")


def _tree(strategy: Strategy, features: Features, seed: int = 0) -> Tree:
    """Return the strategy's tree, checked to be one of these prompts."""
    given = features.copy()
    given.setflags(write=False)
    tree = strategy.grouping(given, seed=seed)
    if not isinstance(tree, Tree):
        raise UserError(f"tree() gave a {type(tree).__name__}, not a generators.sharing.tree.Tree")
    if tree.n_leaves != len(features):
        raise UserError(f"a tree of {tree.n_leaves} leaves for {len(features)} prompts")
    return tree


def _documented(strategy: Strategy) -> str:
    missing = [name for name in ("name", "summary", "complexity", "memory", "source") if not _said(strategy, name)]
    if missing:
        raise UserError(f"nothing is said of: {', '.join(missing)} (summary is the docstring's first line)")
    bare = [name for name, field in type(strategy).model_fields.items() if not field.description]
    if bare:
        raise UserError(f"parameters without a description: {', '.join(bare)}")
    return f"{len(type(strategy).model_fields)} parameters"


def _said(strategy: Strategy, name: str) -> str:
    if name == "summary":
        return strategy.summary() if type(strategy).__doc__ else ""  # its own, none inherited
    return str(getattr(strategy, name))


def _valid(strategy: Strategy) -> str:
    """Check that trees are of these prompts and can be planned; the rest a `Tree` checks itself."""
    sizes = (1, 2, 3, 7, 40)
    for n in sizes:
        tree = _tree(strategy, groups(n))
        for name in (name for name, kind in schedules().items() if not kind.wants_snr):
            for tau in (0.0, 0.5, 1e9):
                if tau == 0 and build_plan(tree, get_schedule(name), tau, STEPS).node_steps != n * STEPS:
                    raise UserError(f"{n} prompts at tau 0 are not the baseline")
                build_plan(tree, get_schedule(name), tau, STEPS)
    return f"of {', '.join(map(str, sizes))} prompts"


def _deterministic(strategy: Strategy) -> str:
    features = groups(40, copies=10)
    for seed in (0, 1):
        one, two = (_tree(strategy, features, seed) for _ in range(2))
        if not (np.array_equal(one.parent, two.parent) and np.array_equal(one.score, two.score)):
            raise UserError(f"the same features and seed {seed} gave another tree")
    draws = clusters(_tree(strategy, features, 0), features) != clusters(_tree(strategy, features, 1), features)
    return "another with another seed" if draws else "the same with any seed"


def _ordered(strategy: Strategy) -> str:
    return _reordered(strategy, groups(40, copies=10), "groups of prompts, some equal")


def _ordered_ties(strategy: Strategy) -> str:
    return _reordered(strategy, np.repeat(np.eye(9), [1, 1, 1, 1, 1, 1, 2, 2, 3], axis=0), "equally distant prompts")


def _reordered(strategy: Strategy, features: Features, what: str) -> str:
    expected = clusters(_tree(strategy, features), features)
    for order in shuffles(len(features)):
        if clusters(_tree(strategy, features[order]), features[order]) != expected:
            raise UserError(f"{what} in another order gave other clusters", BY_CONTENT)
    return f"{ORDERS} orders of {what}"


def clusters(tree: Tree, features: Features) -> list[tuple[float, tuple[bytes, ...]]]:
    """Return what a tree says of prompts, whatever their numbers: each cluster's height, to 9 digits, and its contents.

    Clusters of height 0 never share with anyone but their equals and are left out.
    """
    content, order = [row.tobytes() for row in features + 0.0], tree.leaf_order
    return sorted(
        (
            float(f"{tree.score[node]:.9g}"),
            tuple(sorted(content[leaf] for leaf in order[tree.lo[node] : tree.hi[node]])),
        )
        for node in range(tree.n_leaves, len(tree.parent))
        if tree.score[node] > 0
    )


def _equals_together(strategy: Strategy) -> str:
    features = np.concatenate([groups(30, copies=20, seed=1), np.repeat(groups(1, seed=2), 7, axis=0)])
    tree, order = _tree(strategy, features), np.random.default_rng(0).permutation(len(features))
    for clustered, rows in ((tree, features), (_tree(strategy, features[order]), features[order])):
        _, kind, copies = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        for node in np.flatnonzero(clustered.score > 0):
            inside = np.bincount(
                kind.ravel()[clustered.leaf_order[clustered.lo[node] : clustered.hi[node]]], minlength=len(copies)
            )
            if ((inside > 0) & (inside < copies)).any():
                raise UserError(
                    f"a cluster of height {clustered.score[node]:.4g} holds some of several equal prompts, not all",
                    "join them first: generators.strategies.contents.by_distinct_content does",
                )
    return f"{len(features)} prompts, {len(copies)} of them distinct"


def _refuses(strategy: Strategy) -> str:
    good = groups(4)

    def with_row(value: float) -> Features:
        return np.concatenate([good, np.full((1, good.shape[1]), value)])

    bad = {
        "NaN": with_row(np.nan),
        "infinity": with_row(np.inf),
        "a zero row": with_row(0.0),
        "a 1-D array": good[0],
        "a 3-D array": good[None],
        "no prompts": good[:0],
        "no dimensions": good[:, :0],
    }
    accepted = []
    for what, features in bad.items():
        try:
            strategy.grouping(features)
        except UserError:
            continue
        except Exception as error:  # anything else would be a traceback
            raise UserError(f"{what}: {type(error).__name__} instead of a UserError", CHECK) from error
        accepted.append(what)
    if accepted:
        raise UserError(f"accepted: {', '.join(accepted)}", CHECK)
    return ", ".join(bad)


TREE_CHECKS: dict[str, Check] = {
    "tree is valid": _valid,
    "same tree again": _deterministic,
    "prompt order does not matter": _ordered,
    "nor does it among equal distances": _ordered_ties,
    "equal prompts stay together": _equals_together,
}
