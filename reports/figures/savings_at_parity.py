"""The savings at which each model's pictures become worse."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from metrics.parity import Reach
from reports.base import Figure, RunView, series_name
from reports.parity import Curve, ParityCurves, parity_curves
from reports.style import FAINT, INK, MUTED, canvas, colours, marker

if TYPE_CHECKING:
    from matplotlib import figure as mpl
    from matplotlib.axes import Axes

GROUPS = {
    "image": "conditioned on image embeddings",
    "text": "conditioned on text",
    "both": "conditioned on both, in neither group",
    None: "conditioning not recorded",
}
ROW, PANEL, LINE = 0.52, 0.38, 0.17  # inches
BAND = 0.62  # of a row, that its dots spread over
WIDTH, LETTERS, UNDER_PANEL = 6.4, 105, 80


class SavingsAtParity(Figure):
    """Savings at parity with their intervals: a row for each model, a dot for each prompt set, by conditioning."""

    name = "savings_at_parity"

    def draw(self, run: RunView) -> "mpl.Figure | None":
        from textwrap import fill

        from reports.tables.image_against_text import names, sentence

        run_curves = run.once(parity_curves)
        if len(run_curves.curves) < 2:
            return None
        contrasts = run_curves.contrasts()
        lines = [
            fill(sentence(contrast, setting), LETTERS)
            for contrast, setting in zip(contrasts, names(contrasts), strict=True)
        ]
        groups = {group: rows for group in GROUPS if (rows := _rows(run_curves, group))}
        heights = [PANEL + ROW * len(rows) for rows in groups.values()]
        below = 1.2 + LINE * sum(1 + line.count("\n") for line in lines)
        figure = canvas(WIDTH * len(run_curves.metrics), sum(heights) + below + 0.3, layout="constrained")
        panels = figure.subplots(
            len(groups), len(run_curves.metrics), squeeze=False, sharex=True, height_ratios=heights
        )
        for column, metric in enumerate(run_curves.metrics):
            for axes, (group, rows) in zip(panels[:, column], groups.items(), strict=True):
                _draw_group(axes, run_curves, metric, rows)
                axes.set_title(GROUPS[group], loc="left", fontsize=9, color=MUTED)
                axes.tick_params("x", length=0 if axes is not panels[-1, column] else 3)
                axes.spines["bottom"].set_visible(axes is panels[-1, column])
            rate = run.label(f"{metric}.win_rate").text
            explained = (
                f"denoiser evaluations saved, %, where the estimated {rate} falls below {50 - 100 * run.delta:g}%",
                f"δ = {100 * run.delta:g} points; thin bars: 95% intervals, from what is demonstrated; thick bars: "
                "between two measured savings; ▶: not below where most was saved; |: what would be demonstrated on "
                "average of a lossless method",
            )
            panels[-1, column].set_xlabel("\n".join(fill(text, UNDER_PANEL) for text in explained), fontsize=8.5)
        panels[0, 0].set_xlim(left=0)
        _name_datasets(figure, run_curves)
        if lines:
            figure.supxlabel("\n".join(lines), fontsize=8, x=0.01, ha="left")
        return figure


def _rows(run_curves: ParityCurves, group: str | None) -> dict[str, list[Curve]]:
    """Return a group's rows by name: curves that differ in prompt set and metric alone."""
    rows: dict[str, list[Curve]] = {}
    for curve in run_curves.curves:
        if curve.conditioned_on == group:
            rows.setdefault(series_name(curve.config, ["model", *run_curves.axes]), []).append(curve)
    return rows


def _datasets(run_curves: ParityCurves) -> list[str]:
    return list(dict.fromkeys(curve.config.dataset for curve in run_curves.curves))


def _draw_group(axes: "Axes", run_curves: ParityCurves, metric: str, rows: dict[str, list[Curve]]) -> None:
    datasets = _datasets(run_curves)
    palette = colours(len(datasets))
    for row, curves in enumerate(rows.values()):
        for curve in (row_curve for row_curve in curves if row_curve.metric == metric):
            i = datasets.index(curve.config.dataset)
            height = row + BAND * ((i + 0.5) / len(datasets) - 0.5)
            _draw_dot(axes, curve, height, palette[i], marker(i))
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params("y", length=0)
    axes.grid(axis="x", color=FAINT, linewidth=0.5, alpha=0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_dot(axes: "Axes", curve: Curve, height: float, colour: Sequence[float], shape: str) -> None:
    """Draw a dot where the curve falls, a thick bar where that is in a gap, an arrowhead where it does not fall."""
    value, low, high = curve.parity.value, curve.parity.low, curve.parity.high
    axes.hlines(height, 100 * low.savings, 100 * high.savings, color=colour, linewidth=1.2, alpha=0.6)
    if high.at_least:
        _draw_end(axes, high, height, colour, ">", 4)
    axes.plot(100 * curve.parity.lossless, height, color=colour, marker="|", markersize=9, linestyle="")
    if value.gap:
        axes.hlines(height, 100 * value.gap[0], 100 * value.gap[1], color=colour, linewidth=4, alpha=0.8)
    else:
        _draw_end(axes, value, height, colour, ">" if value.at_least else shape, 6)


def _draw_end(axes: "Axes", reach: Reach, height: float, colour: Sequence[float], shape: str, size: float) -> None:
    axes.plot(100 * reach.savings, height, color=colour, marker=shape, markersize=size, linestyle="", clip_on=False)


def _name_datasets(figure: "mpl.Figure", run_curves: ParityCurves) -> None:
    from matplotlib.lines import Line2D

    datasets = _datasets(run_curves)
    handles = [
        Line2D([], [], color=colour, marker=marker(i), markersize=5, linestyle="", label=dataset)
        for i, (dataset, colour) in enumerate(zip(datasets, colours(len(datasets)), strict=True))
    ]
    figure.legend(
        handles=handles, loc="outside upper left", ncols=4, frameon=False, fontsize=8, labelcolor=INK, handletextpad=0.2
    )
