"""The run's stages over time."""

from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from reports.base import Figure, RunView
from reports.durations import REST, Duration, attempts, durations
from reports.labels import axis_text
from reports.style import FAINT, INK, MUTED, canvas, colours, finish
from sweeps.timeline import Log, merged, read_timeline, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

WIDTH, ROW, AROUND = 9.0, 0.32, 1.0  # inches
BAND = 0.72  # of a row
MOST = 100  # bars of a row, above which it is drawn as the share of every part of the width that was the stage's
PARTS = 240
GRAIN = 1000  # parts of the width, of which no bar is narrower
LETTER = 0.008  # of the width, that a letter of a cell's name needs
SHADES = ("#e4e4e4", "#f4f4f4")

Intervals = list[tuple[float, float]]


class Timeline(Figure):
    """The run's stages over time, a row each, with their seconds and shares; above them, the cell at work."""

    name = "timeline"
    of_records: ClassVar[bool] = False

    def draw(self, run: RunView) -> "Drawing | None":
        log = read_timeline(run.path)
        names = {record.id: f"τ {record.config.tau:f}" for record in run.records}
        names |= {record.id: axis_text(record.role) for record in run.references}
        return draw(log, names) if log.spans else None


def draw(log: Log, names: dict[str, str]) -> "Drawing":
    """Return the drawing of a timeline that has spans, its attempts one after another.

    Args:
        log: the timeline.
        names: cells' names by id; a cell without one is drawn without.
    """
    parts, rows = attempts(log), [row for row in durations(log.spans) if row.stage != REST]
    ends = list(accumulate(whole(spans) for spans in parts.values()))
    begins = dict(zip(parts, [0.0, *ends], strict=False))
    total = ends[-1] or 1.0
    bars: dict[str, Intervals] = {row.stage: [] for row in rows}
    turns: dict[tuple[int, str], tuple[float, float]] = {}
    for span in (span for spans in parts.values() for span in spans):
        low, high = begins[span.attempt] + span.start, begins[span.attempt] + span.end
        bars[span.stage].append((low, high))
        if span.cell:
            known = turns.get((span.attempt, span.cell), (low, high))
            turns[span.attempt, span.cell] = known[0], max(known[1], high)
    dense = any(len(merged(intervals, gap=total / GRAIN)) > MOST for intervals in bars.values())
    figure = canvas(WIDTH, ROW * (len(rows) + 1) + AROUND, layout="constrained")
    axes = figure.add_subplot()
    _draw_turns(axes, turns, total, names)
    for place, (row, colour) in enumerate(zip(rows, colours(len(rows)), strict=True), 1):
        (_draw_shares if dense else _draw_bars)(axes, bars[row.stage], place, total, colour)
        axes.text(1.01, place, _seconds_text(row, total), transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    for number, begin in list(begins.items())[1:]:
        axes.axvline(begin, color=MUTED, linewidth=0.8, linestyle=":")
        axes.annotate(
            f" attempt {number}", (begin, 1), xycoords=("data", "axes fraction"), fontsize=7, color=MUTED, va="bottom"
        )
    axes.set_yticks(range(len(rows) + 1), ["cells", *(row.stage for row in rows)])
    axes.set_ylim(len(rows) + 0.6, -0.6)
    axes.set_xlim(0, total)
    axes.tick_params("y", length=0)
    axes.grid(axis="x", color=FAINT, linewidth=0.5, alpha=0.5)
    axes.set_axisbelow(True)
    captions = ["seconds since the run began", *["attempts one after another"] * (len(parts) > 1)]
    captions += ["height: the share of that time in which the stage ran"] * dense
    finish(axes, "; ".join(captions), "")
    axes.spines["left"].set_visible(False)
    return figure


def _draw_bars(axes: "Axes", bars: Intervals, place: int, total: float, colour: Any) -> None:
    ranges = [(low, max(high - low, total / GRAIN)) for low, high in merged(bars)]
    axes.broken_barh(ranges, (place - BAND / 2, BAND), color=colour, linewidth=0)


def _draw_shares(axes: "Axes", bars: Intervals, place: int, total: float, colour: Any) -> None:
    """Draw how much of every part of the width the bars cover, as a height."""
    edges = np.linspace(0, total, PARTS + 1)
    low, high = np.array(merged(bars)).T
    covered = np.interp(
        edges, np.c_[low, high].ravel(), np.c_[np.r_[0, np.cumsum(high - low)[:-1]], np.cumsum(high - low)].ravel()
    )
    heights = np.diff(covered) / np.diff(edges)
    floor = place + BAND / 2
    axes.fill_between(edges, floor, floor - BAND * np.r_[heights, heights[-1]], step="post", color=colour, linewidth=0)


def _seconds_text(row: Duration, total: float) -> str:
    beside = f", {row.beside:.1f} s beside" if row.beside >= 0.05 else ""
    return f"{row.seconds:.1f} s, {row.seconds / total:.1%}{beside}"


def _draw_turns(
    axes: "Axes", turns: dict[tuple[int, str], tuple[float, float]], total: float, names: dict[str, str]
) -> None:
    """Draw cells in two alternating shades, from their first to their last span, named where there is room.

    Where there are many cells, each attempt is one block with their number.
    """
    if len(turns) > MOST:
        groups: dict[int, Intervals] = {}
        for (attempt, _), turn in turns.items():
            groups.setdefault(attempt, []).append(turn)
        named = [((own[0][0], max(high for _, high in own)), f"{len(own)} cells") for own in groups.values()]
    else:
        named = [(turn, names.get(cell, "")) for (_, cell), turn in turns.items()]
    for i, ((low, high), text) in enumerate(named):
        axes.broken_barh([(low, high - low)], (-BAND / 2, BAND), color=SHADES[i % 2], linewidth=0)
        if high - low > LETTER * len(text) * total:
            axes.text((low + high) / 2, 0, text, ha="center", va="center", fontsize=6.5, color=INK)
