"""The tree of the prompts, and the part of it that each tau shares."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from generators.sharing.parting import is_parting
from generators.sharing.plan import SharingPlan
from generators.sharing.tree import Tree
from reports.base import Figure, RunView
from reports.style import INK, canvas, colours, finish, shorten

if TYPE_CHECKING:
    from matplotlib import figure as mpl
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

LABELS_UP_TO = 200
LABEL_LENGTH = 60
NEAREST_TAUS = 0.17  # of the root's height, so that their labels do not touch


class Dendrogram(Figure):
    """The tree of a series' prompts, with the start of phi at some taus: clusters merged right of phi are shared."""

    name = "dendrogram"
    per_series: ClassVar[bool] = True

    def draw(self, run: RunView) -> "mpl.Figure | None":
        record = run.records[0]
        tree = Tree.load(record.artifact(run.path, "tree.npz"))
        if is_parting(tree, SharingPlan.load(record.artifact(run.path, "plan.npz"))):
            return draw_tree(tree, record.every_prompt(run.path), None)
        saved = {float(cell.config.tau): cell.plan.savings for cell in run.records if cell.plan}
        return draw_tree(tree, record.every_prompt(run.path), saved)


def draw_tree(tree: Tree, prompts: Sequence[str], saved: Mapping[float, float] | None) -> "mpl.Figure | None":
    """Return a drawing of a tree from its root (left) to the prompts (right); None where nothing merges.

    Any arity and any number of roots, which SciPy's `dendrogram` does not draw.

    Args:
        tree: over the prompts.
        prompts: their texts; written out up to 200 of them.
        saved: share of denoiser steps saved by tau; taus that stand clear of each other are drawn where phi starts.
            None of a tree that no threshold cuts: a plan's own (`sharing.parting.parting_tree`).
    """
    if not np.any(tree.parent >= 0):
        return None
    labelled = len(prompts) <= LABELS_UP_TO
    figure = canvas(8.5, max(2.6, 1.0 + 0.125 * len(prompts)) if labelled else 9.0, layout="constrained")
    axes = figure.subplots()
    _draw_branches(axes, tree)
    if saved is None:
        finish(axes, "share of the steps that remain when paths part", "")
    else:
        _draw_taus(axes, saved, top=float(tree.score.max()))
        finish(axes, "merge height", "")
        figure.supxlabel(
            "φ falls from τ to 0 over the steps; clusters that merge right of φ share the step", fontsize=8
        )
    axes.spines[["left"]].set_visible(False)
    axes.yaxis.tick_right()
    axes.set_yticks([])
    if labelled:
        axes.set_yticks(
            range(len(prompts)), [shorten(prompts[leaf], LABEL_LENGTH) for leaf in tree.leaf_order], fontsize=6.5
        )
        axes.tick_params("y", length=0)
    axes.set_ylim(len(prompts) - 0.4, -0.6)
    axes.set_xlim(axes.get_xlim()[1], 0)
    return figure


def places(tree: Tree) -> "NDArray[np.float64]":
    """Return float64 [M]: a leaf's rank in `leaf_order`; for a merge, the middle of its first and last child."""
    place = np.zeros(len(tree.parent))
    place[tree.leaf_order] = np.arange(tree.n_leaves)
    first, last = np.full_like(place, np.inf), np.full_like(place, -np.inf)
    for node, up in enumerate(tree.parent.tolist()):  # children come before their parents
        if node >= tree.n_leaves:
            place[node] = (first[node] + last[node]) / 2
        if up >= 0:
            first[up], last[up] = min(first[up], place[node]), max(last[up], place[node])
    return place


def _draw_branches(axes: "Axes", tree: Tree) -> None:
    from matplotlib.collections import LineCollection

    child = np.flatnonzero(tree.parent >= 0)
    parent = tree.parent[child]
    heights = np.stack([tree.score[child], tree.score[parent], tree.score[parent]], axis=1)
    place = places(tree)
    across = np.stack([place[child], place[child], place[parent]], axis=1)
    axes.add_collection(LineCollection(list(np.stack([heights, across], axis=2)), colors=INK, linewidths=0.9))
    axes.autoscale_view()


def _draw_taus(axes: "Axes", saved: Mapping[float, float], top: float) -> None:
    chosen: list[float] = []
    for tau in sorted(tau for tau in saved if tau > 0):
        if not chosen or (tau <= 1.1 * top and tau - chosen[-1] >= NEAREST_TAUS * top):
            chosen.append(tau)
    for tau, colour in zip(chosen, colours(len(chosen)), strict=True):
        axes.axvline(tau, color=colour, linewidth=1.2, zorder=0)
        axes.annotate(
            f"τ = {tau:g}\n{saved[tau]:.0%} saved",
            (tau, 1),
            (0, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=colour,
            fontsize=8,
            ha="center",
            va="bottom",
        )
