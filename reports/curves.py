"""Lines of a result against savings, one for each series, that several figures draw."""

from dataclasses import replace
from textwrap import fill
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports.base import RunView
from reports.frame import frame
from reports.seed_control import chance
from reports.style import FAINT, MARKERS, MUTED, colours, finish, label_ends, marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME_LENGTH = 48
LETTERS = 58  # of a line below a panel


def curve(series: RunView, name: str) -> pd.DataFrame:
    """Return a series' result `name` as figures show it: ``tau``, ``savings`` (percent), ``value``, ``low``, ``high``.

    Cells without the result are left out; without an interval, its ends are the value.
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
    """Draw the result `name` against savings: a line for each series, 95% intervals as bars, taus beside points."""
    for i, (series, colour) in enumerate(zip(run.series, colours(len(run.series)), strict=True)):
        cells = curve(series, name)
        axes.vlines(cells.savings, cells.low, cells.high, color=colour, linewidth=1.3, alpha=0.45)
        axes.plot(cells.savings, cells.value, color=colour, marker=marker(i), markersize=4, linewidth=1.4)
        _draw_references(axes, series, name, colour, alone=len(run.series) == 1)
        if len(run.series) == 1:
            _label_taus(axes, cells)
    axes.margins(x=0.08, y=0.11)
    finish(axes, _savings_axis(run), run.label(name).axis)


def _draw_references(axes: "Axes", series: RunView, name: str, colour: tuple[float, ...], *, alone: bool) -> None:
    """Draw the seed control's band (`chance`), and the equal-compute baseline as a dotted line."""
    scale = series.label(name).scale
    for band in (chance(record.results, name) for record in series.held_against("another-seed")):
        if band:
            low, high = band[0] * scale, band[1] * scale
            axes.axhspan(low, high, color=FAINT, alpha=0.3 if alone else 0.1, linewidth=0, zorder=-1)
            if alone:
                _name(axes, "seed control (A/A)", (0, high), (4, -9), "left", xycoords=("axes fraction", "data"))
    if fewer := series.held_against("fewer-steps"):
        cells = curve(replace(series, records=tuple(fewer)), name).sort_values("savings")
        axes.plot(cells.savings, cells.value, color=colour, linestyle=":", linewidth=1.2, alpha=0.8, zorder=1)
        if alone:
            last = cells.iloc[-1]
            _name(axes, "equal-compute baseline", (last.savings, last.value), (0, 4), "right")


def _name(
    axes: "Axes", text: str, where: tuple[float, float], shift: tuple[float, float], side: str, xycoords: Any = "data"
) -> None:
    axes.annotate(text, where, shift, xycoords=xycoords, textcoords="offset points", fontsize=7.5, color=MUTED, ha=side)


def name_series(axes: "Axes", run: RunView, name: str) -> None:
    """Write the names of several series at the right of the axes that show `name`, beside their last points."""
    if len(run.series) < 2:
        return
    ends = []
    for i, (series, colour) in enumerate(zip(run.series, colours(len(run.series)), strict=True)):
        for height in curve(series, name).value.tail(1):
            ends.append((height, f"{MARKERS[marker(i)]} {_tail(series.name)}", colour))
    label_ends(axes, ends)


def room_for_names(run: RunView) -> float:
    """Return the inches that `name_series` needs beside the axes."""
    return 0.3 + 0.075 * max(len(_tail(series.name)) for series in run.series) if len(run.series) > 1 else 0.0


def _tail(name: str) -> str:
    """Return the end of a name, as the end of a folder's path says more than its start."""
    return name if len(name) <= NAME_LENGTH else f"…{name[1 - NAME_LENGTH :]}"


def _savings_axis(run: RunView) -> str:
    notes = ["bars: 95% intervals"]
    if len(run.series) > 1 and run.held_against("another-seed"):
        notes.append("bands: seed control (A/A)")
    if len(run.series) > 1 and run.held_against("fewer-steps"):
        notes.append("dotted: equal-compute baseline")
    if len(run.series) > 1:
        taus = [f"{tau:g}" for tau in sorted({float(record.config.tau) for record in run.records})]
        notes.append(f"points: τ = {', '.join(taus if len(taus) < 4 else [*taus[:2], '…', taus[-1]])}")
    below = fill(f"({'; '.join(notes)})", LETTERS)
    return f"denoiser evaluations saved, %\n{below}"


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
