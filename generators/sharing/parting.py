"""When the paths of two prompts part."""

import numpy as np
from numpy.typing import NDArray

from generators.sharing.plan import SharingPlan


def shared_steps(plan: SharingPlan) -> NDArray[np.int16]:
    """int16 [N, N]: over how many steps each two prompts are denoised as one, 0 where they never are.

    The step at which their paths part, counted from 0; K on the diagonal. A prompt without an output shares nothing.
    """
    shared = np.zeros((plan.n_prompts, plan.n_prompts), dtype=np.int16)
    for node in _nodes(plan):
        shared += (node[:, None] == node) & (node >= 0)
    return shared


def shared_with_next(plan: SharingPlan, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [N-1]: over how many steps each prompt of `order` [N] is denoised as one with the prompt after it there.

    In a tree's `leaf_order` that says all: a cluster is together until its first neighbours part.
    """
    nodes = _nodes(plan)[:, order]
    return np.asarray(np.sum((nodes[:, 1:] == nodes[:, :-1]) & (nodes[:, 1:] >= 0), axis=0))


def _nodes(plan: SharingPlan) -> NDArray[np.int64]:
    """int64 [K, N]: the node that is denoised for each prompt at each step; -1 for none."""
    steps = np.arange(plan.steps)[:, None]
    nodes = np.full((plan.steps, plan.n_prompts), -1)
    node = plan.output
    while (node >= 0).any():
        nodes = np.where((node >= 0) & (plan.first[node] <= steps) & (steps < plan.stop[node]), node, nodes)
        node = np.where(node < 0, -1, plan.source[node])
    return nodes
