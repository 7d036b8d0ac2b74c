"""Similarity of pairs of pictures by the share of denoising that they had in common."""

from typing import TYPE_CHECKING, Any, ClassVar

from common.selection import evenly
from reports.base import Figure, RunView
from reports.splits import Split, splits
from reports.style import FAINT, MUTED, canvas, colours, finish, label_ends

if TYPE_CHECKING:
    from matplotlib import figure as mpl
    from matplotlib.axes import Axes

    from metrics.split_similarity import Band
    from metrics.statistics import Estimate

MOST_TAUS = 4
WIDTH, HEIGHT = 2.5, 3.0  # inches a panel
NONE = -15  # where pairs that shared nothing stand
APART = 0.9  # of a point from the middle, so that bars do not hide each other


class SplitSimilarity(Figure):
    """Similarity of pairs of pictures by the share of steps that they shared, beside the baseline's same pairs."""

    name = "split_similarity"
    per_series: ClassVar[bool] = True

    def draw(self, run: RunView) -> "mpl.Figure | None":
        rows: dict[str, list[Split]] = {}
        for split in run.once(splits):
            rows.setdefault(split.figure, []).append(split)
        if not rows:
            return None
        shown = {
            figure: [of_metric[i] for i in evenly(len(of_metric), MOST_TAUS)] for figure, of_metric in rows.items()
        }
        columns = max(len(of_metric) for of_metric in shown.values())
        figure = canvas(WIDTH * columns + 1.4, HEIGHT * len(shown) + 0.3, layout="constrained")
        panels = figure.subplots(len(shown), columns, squeeze=False, sharex=True, sharey="row")
        for line, (name, of_metric) in zip(panels, shown.items(), strict=True):
            for axes, split in zip(line, of_metric, strict=True):
                _draw(axes, split)
            line[0].set_ylabel(f"mean {run.label(name).text} of a pair\n(lower is more diverse)")
            _name_curves(line[-1], of_metric[-1])
        figure.supxlabel(
            "denoiser steps that a pair of prompts shared before their paths parted, %\n"
            "(bars: 95% intervals; filled dots: the interval of shared - baseline excludes 0; below: number of pairs)",
            fontsize=8.5,
        )
        return figure


def _draw(axes: "Axes", split: Split) -> None:
    """Draw a panel: shared pictures in colour, the baseline's same pairs in grey, the difference filled."""
    (colour,) = colours(1)
    places = [100 * band.share if band.number else NONE for band in split.bands]
    baseline, shared = [band.baseline.value for band in split.bands], [band.ours.value for band in split.bands]
    axes.fill_between(places, baseline, shared, color=colour, alpha=0.1, linewidth=0)
    axes.plot([place - APART for place in places], baseline, color=MUTED, linewidth=1, linestyle="--")
    axes.plot([place + APART for place in places], shared, color=colour, linewidth=1.5)
    for place, band in zip(places, split.bands, strict=True):
        _point(axes, place - APART, band.baseline, MUTED, "s", filled=True)
        _point(axes, place + APART, band.ours, colour, "o", filled=_differs(band))
        axes.annotate(
            f"{band.pairs:,}",
            (place, 0),
            (0, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=6.2,
            color=MUTED,
            ha="center",
        )
    saved = f"{split.record.plan.savings:.0%} saved" if split.record.plan else ""
    axes.set_title(f"τ = {float(split.record.config.tau):g}", loc="left", fontsize=9.5)
    axes.set_title(saved, loc="right", fontsize=8, color=MUTED)
    axes.grid(axis="y", color=FAINT, linewidth=0.5, alpha=0.4)
    axes.margins(y=0.12)
    axes.set_xlim(NONE - 9, 104)
    axes.set_xticks([NONE, 0, 20, 40, 60, 80, 100], ["none", "0", "20", "40", "60", "80", "100"])
    finish(axes, "", "")


def _point(axes: "Axes", place: float, estimate: "Estimate", colour: Any, shape: str, *, filled: bool) -> None:
    if estimate.low is not None and estimate.high is not None:
        axes.vlines(place, estimate.low, estimate.high, color=colour, linewidth=1.3, alpha=0.45)
    face = colour if filled else "white"
    size = 3.4 if shape == "s" else 4.6
    axes.plot(place, estimate.value, color=colour, marker=shape, markersize=size, markerfacecolor=face, linestyle="")


def _differs(band: "Band") -> bool:
    low, high = band.excess.low, band.excess.high
    return low is not None and high is not None and not low <= 0 <= high


def _name_curves(axes: "Axes", split: Split) -> None:
    last, (colour,) = split.bands[-1], colours(1)
    label_ends(axes, [(last.ours.value, "● shared", colour), (last.baseline.value, "■ baseline", MUTED)])
