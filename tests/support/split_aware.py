"""A strategy that asks the denoiser. It did not win (docs/ideas.md), so it is no part of the box; the tests use it."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generators.sharing.tree import Tree
from generators.strategies.base import Probe, Strategy
from generators.strategies.ward_cosine import WardCosine


class SplitAware(Strategy):
    """ward-cosine's tree, its heights by how far the denoiser's predictions for a cluster's two children differ.

    Both children are asked what clean latent they make of one noisy latent. A cluster's height is the root of the mean,
    over the steps that are asked about, of SNR x (mean squared difference): what would tell the children apart, against
    the noise that hides it. Clusters that are asked about stand at even ranks of ward-cosine's heights; the others get
    theirs from a line through the logarithms of both heights, and no height falls towards the root.

    What it asks is counted as node-steps: savings are what is left.
    """

    name = "split-aware"
    wants_probe = True
    complexity = "as ward-cosine, O(N^2 D), and denoiser evaluations"
    memory = "as ward-cosine, 8 N^2 bytes"
    source = "this project, docs/ideas.md"

    budget: float = Field(0.05, gt=0, le=1, description="share of standard generation's node-steps spent on asking")
    at: tuple[float, ...] = Field((0.25, 0.5), min_length=1, description="shares of the steps done where it asks")

    def probed(self, features: NDArray[np.float64], probe: Probe, *, seed: int = 0) -> Tree:
        ward = WardCosine().tree(features, seed=seed)
        steps = len(probe.log_snr)
        asked = sorted({min(max(int(share * steps), 0), steps - 1) for share in self.at})
        nodes = _even(ward, max(int(self.budget * ward.n_leaves * steps) // (1 + 2 * len(asked)), 1))
        if not len(nodes):
            return ward
        before, pairs = probe.rows, [_children(ward, node) for node in nodes.tolist()]
        signal = [np.exp(probe.log_snr[k]) * probe.disagreement(pairs, k) ** 2 for k in asked]
        score = _calibrated(ward.score, nodes, np.sqrt(np.mean(signal, axis=0)))
        tree = Tree.from_parents(ward.parent, score, ward.n_leaves, repair="monotone")
        return Tree(tree.parent, tree.score, tree.n_leaves, probe.rows - before)


def _even(tree: Tree, most: int) -> NDArray[np.int64]:
    """At most so many inner nodes of heights above 0, evenly by rank, the highest among them."""
    inner = np.flatnonzero(tree.score > 0)
    ranked = inner[np.argsort(-tree.score[inner], kind="stable")]
    if len(ranked) <= most:
        return ranked
    return ranked[np.linspace(0, len(ranked) - 1, most + 1)[:-1].astype(np.int64)]


def _children(tree: Tree, node: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The prompts of a binary node's two children."""
    one, two = np.flatnonzero(tree.parent == node)
    order = tree.leaf_order
    return order[tree.lo[one] : tree.hi[one]], order[tree.lo[two] : tree.hi[two]]


def _calibrated(ward: NDArray[np.float64], nodes: NDArray[np.int64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heights of all nodes from those that were seen: by a line through the logarithms, which does not fall."""
    x, y = np.log(ward[nodes]), np.log(np.maximum(seen, 1e-9))
    slope = max(float(np.polyfit(x, y, 1)[0]), 0.0) if np.ptp(x) > 0 else 1.0
    score, above = np.zeros(len(ward)), ward > 0
    score[above] = np.exp(np.mean(y) + slope * (np.log(ward[above]) - np.mean(x)))
    score[nodes] = seen
    return score
