"""The steps at which the paths of prompts part, and the tree that they form."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from generators.sharing.plan import Grouping, SharingPlan
from generators.sharing.tree import Tree


def shared_steps(plan: SharingPlan, of: Sequence[int] | None = None) -> NDArray[np.int16]:
    """Return int16 [N, N]: over how many steps each two prompts are denoised as one, 0 where they never are.

    The step at which their paths part, counted from 0; K on the diagonal. A prompt without an output shares nothing.
    `of` are some of the prompts, n of them, where only theirs are wanted: then it is [n, n].

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.5, 3]])
        >>> shared_steps(build_plan(tree, get_schedule("eq7"), 1.0, 10))
        array([[10,  7,  4],
               [ 7, 10,  4],
               [ 4,  4, 10]], dtype=int16)
    """
    nodes = _nodes(plan) if of is None else _nodes(plan)[:, list(of)]
    shared = np.zeros((nodes.shape[1], nodes.shape[1]), dtype=np.int16)
    for node in nodes:
        shared += (node[:, None] == node) & (node >= 0)
    return shared


def shared_with_next(plan: SharingPlan, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return int64 [N-1]: over how many steps each prompt of `order` [N] is denoised as one with the next one there.

    In a tree's `leaf_order` that says all: a cluster is together until its first neighbours part.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.5, 3]])
        >>> tree.leaf_order.tolist()
        [2, 0, 1]
        >>> shared_with_next(build_plan(tree, get_schedule("eq7"), 1.0, 10), tree.leaf_order).tolist()
        [4, 7]
    """
    nodes = _nodes(plan)[:, order]
    return np.asarray(np.sum((nodes[:, 1:] == nodes[:, :-1]) & (nodes[:, 1:] >= 0), axis=0))


def drawn(grouping: Grouping, plan: SharingPlan) -> Tree:
    """Return the tree to show beside a plan: that it was built from or, where there was none, its `parting_tree`.

    Examples:
        >>> from generators.sharing.plan import baseline_plan
        >>> tree = Tree.singletons(3)
        >>> drawn(tree, baseline_plan(3, 10)) is tree
        True
    """
    return grouping if isinstance(grouping, Tree) else parting_tree(plan)


def is_parting(tree: Tree, plan: SharingPlan) -> bool:
    """Return whether a tree that was kept beside a plan is its `parting_tree`; False for a plan that shares nothing.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2]])
        >>> plan = build_plan(tree, get_schedule("eq7"), 1.0, 10)
        >>> is_parting(tree, plan), is_parting(parting_tree(plan), plan)
        (False, True)
    """
    own = parting_tree(plan)
    same = np.array_equal(own.parent, tree.parent) and np.array_equal(own.score, tree.score)
    return same and bool((own.parent >= 0).any())


def parting_tree(plan: SharingPlan) -> Tree:
    """Return the tree that a plan's paths form, for drawing.

    A node of the plan on several prompts' paths is a cluster of them; its height is the share of steps that are left
    when it stops, so prompts that part early merge high. Plans of the same cuts have the same tree.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.5, 3]])
        >>> parting_tree(build_plan(tree, get_schedule("eq7"), 1.0, 10)).score.round(2).tolist()
        [0.0, 0.0, 0.0, 0.3, 0.6]
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


def _nodes(plan: SharingPlan) -> NDArray[np.int64]:
    """Return int64 [K, N]: the node that is denoised for each prompt at each step; -1 for none."""
    steps = np.arange(plan.steps)[:, None]
    nodes = np.full((plan.steps, plan.n_prompts), -1)
    node = plan.output
    while (node >= 0).any():
        nodes = np.where((node >= 0) & (plan.first[node] <= steps) & (steps < plan.stop[node]), node, nodes)
        node = np.where(node < 0, -1, plan.source[node])
    return nodes
