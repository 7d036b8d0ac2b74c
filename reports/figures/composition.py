"""Losses of sharing, of what is stacked with it, and of both; and their interactions."""

from typing import TYPE_CHECKING

from reports.base import Figure, RunView
from reports.composition import MARGIN, Composition, compositions, named, score_name, widest
from reports.style import FAINT, INK, MUTED, canvas, colours, finish

if TYPE_CHECKING:
    from matplotlib import figure as mpl
    from matplotlib.axes import Axes

    from metrics.statistics import Estimate

ROW, LEAST = 0.42, 1.9  # inches
ALONE = {"sharing": "o", "alone": "s", "together": "D"}
CALLED = {"sharing": "sharing alone", "alone": "it alone", "together": "both", "sum": "sum of each alone"}


class CompositionFigure(Figure):
    """Losses of sharing, of what is stacked with it, and of both, beside their interactions with 95% intervals."""

    name = "composition"

    def draw(self, run: RunView) -> "mpl.Figure | None":
        all_of = run.once(compositions)
        found = widest(all_of.found)
        if not found:
            return None
        metrics = list(dict.fromkeys(one.metric for one in found))
        height = max(LEAST, ROW * max(sum(one.metric == metric for one in found) for metric in metrics) + 1)
        names = [named(one, all_of.axes) for one in found]
        figure = canvas(7.4 + 0.068 * max(map(len, names)), height * len(metrics), layout="constrained")
        for row, metric in zip(figure.subplots(len(metrics), 2, squeeze=False, sharey="row"), metrics, strict=True):
            own = [one for one in found if one.metric == metric]
            _losses(row[0], own)
            _interactions(row[1], own)
            row[0].set_yticks(range(len(own)), [named(one, all_of.axes) for one in own])
            row[0].set_ylim(len(own) - 0.5, -0.5)
            finish(row[0], f"{score_name(run, metric)} less the base's standard", "")
            finish(row[1], "interaction: both, less each alone", "")
        return figure


def _losses(axes: "Axes", found: list[Composition]) -> None:
    axes.axvline(0, color=FAINT, linewidth=1, zorder=0)
    for (what, shape), colour, shift in zip(ALONE.items(), colours(len(ALONE)), (-0.2, 0.0, 0.2), strict=True):
        for place, one in enumerate(found):
            _dot(axes, getattr(one, what), place + shift, shape, colour, CALLED[what] if place == 0 else None)
    sums = [one.sharing.value + one.alone.value for one in found]
    places = [place + 0.2 for place in range(len(found))]
    axes.plot(sums, places, "D", markersize=6, markerfacecolor="none", markeredgecolor=MUTED, label=CALLED["sum"])
    axes.legend(fontsize=7.5, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _interactions(axes: "Axes", found: list[Composition]) -> None:
    axes.axvspan(-MARGIN, MARGIN, color=FAINT, alpha=0.25, linewidth=0, zorder=0)
    axes.axvline(0, color=FAINT, linewidth=1, zorder=0)
    for place, one in enumerate(found):
        _dot(axes, one.interaction, place, "o", INK, None)
        axes.annotate(
            one.verdict, (1.02, place), xycoords=("axes fraction", "data"), fontsize=8, va="center", color=MUTED
        )


def _dot(axes: "Axes", estimate: "Estimate", place: float, shape: str, colour: object, called: str | None) -> None:
    axes.plot([estimate.value], [place], shape, color=colour, markersize=4, label=called)
    if estimate.low is not None and estimate.high is not None:
        axes.hlines(place, estimate.low, estimate.high, color=colour, linewidth=1.4, alpha=0.6)
