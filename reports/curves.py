"""Lines of a figure against savings, one a series: what several figures draw."""

from typing import TYPE_CHECKING

import pandas as pd

from reports.base import RunView
from reports.frame import frame
from reports.style import MARKERS, MUTED, colours, finish, label_ends, marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME_LENGTH = 48


def curve(series: RunView, name: str) -> pd.DataFrame:
    """The figure `name` of a series as one shows it: ``tau``, ``savings`` (percent), ``value``, ``low``, ``high``.

    Cells without the figure are left out; without an interval, its ends are the value.
    """
    cells = frame(series.records).reindex(columns=["tau", "savings", name, f"{name}_low", f"{name}_high"])
    cells.columns = pd.Index(["tau", "savings", "value", "low", "high"])
    cells = cells.dropna(subset=["savings", "value"]).astype(float)
    cells = cells.assign(
        low=cells.low.fillna(cells.value), high=cells.high.fillna(cells.value), savings=cells.savings * 100
    )
    cells[["value", "low", "high"]] *= series.label(name).scale
    return cells


def draw_curves(axes: "Axes", run: RunView, name: str) -> None:
    """The figure `name` against denoiser steps saved: a line a series, 95% intervals as bars, taus beside points."""
    for i, (series, colour) in enumerate(zip(run.series, colours(len(run.series)), strict=True)):
        cells = curve(series, name)
        axes.vlines(cells.savings, cells.low, cells.high, color=colour, linewidth=1.3, alpha=0.45)
        axes.plot(cells.savings, cells.value, color=colour, marker=marker(i), markersize=4, linewidth=1.4)
        if len(run.series) == 1:
            _label_taus(axes, cells)
    axes.margins(x=0.08, y=0.11)
    finish(axes, _savings_axis(run), run.label(name).axis)


def name_series(axes: "Axes", run: RunView, name: str) -> None:
    """Of several series, their names at the right of the axes that show `name`, beside their last point."""
    if len(run.series) < 2:
        return
    ends = []
    for i, (series, colour) in enumerate(zip(run.series, colours(len(run.series)), strict=True)):
        for height in curve(series, name).value.tail(1):
            ends.append((height, f"{MARKERS[marker(i)]} {_tail(series.name)}", colour))
    label_ends(axes, ends)


def room_for_names(run: RunView) -> float:
    """Inches that `name_series` needs beside the axes."""
    return 0.3 + 0.075 * max(len(_tail(series.name)) for series in run.series) if len(run.series) > 1 else 0.0


def _tail(name: str) -> str:
    """Of a folder's path, the end says more than the start."""
    return name if len(name) <= NAME_LENGTH else f"…{name[1 - NAME_LENGTH :]}"


def _savings_axis(run: RunView) -> str:
    notes = ["bars: 95% intervals"]
    if len(run.series) > 1:
        taus = [f"{tau:g}" for tau in sorted({float(record.asked.tau) for record in run.records})]
        notes.append(f"points: τ = {', '.join(taus if len(taus) < 4 else [*taus[:2], '…', taus[-1]])}")
    return f"denoiser steps saved, %\n({'; '.join(notes)})"


def _label_taus(axes: "Axes", cells: pd.DataFrame) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2, foreground="white")]
    for i, (tau, x, y) in enumerate(zip(cells.tau, cells.savings, cells.low, strict=True)):
        text = f"τ = {tau:g}" if i == 0 else f"{tau:g}"
        axes.annotate(
            text,
            (x, y),
            (0, -5),
            textcoords="offset points",
            fontsize=7.5,
            color=MUTED,
            ha="center",
            va="top",
            path_effects=halo,
        )
