"""The cost of sharing in diversity."""

from typing import TYPE_CHECKING

from reports.base import Figure, RunView
from reports.style import MUTED, canvas, colours

if TYPE_CHECKING:
    from matplotlib import figure as mpl
    from matplotlib.axes import Axes

BASELINE = "_standard"


class DiversitySavings(Figure):
    """Metrics of a whole set of images (similarity of all pairs) against savings, beside the baseline's."""

    name = "diversity_savings"

    def draw(self, run: RunView) -> "mpl.Figure | None":
        from reports.curves import draw_curves, name_series, room_for_names
        from reports.frame import paired_metrics, result_names
        from reports.labels import is_detail

        known = result_names(run.records)
        paired = paired_metrics(known)
        names = [
            name
            for name in known
            if f"{name}{BASELINE}" in known
            and name.partition(".")[0] not in paired
            and not is_detail(name, run.records)
        ]
        if not names:
            return None
        figure = canvas(5.2 + room_for_names(run), 3.4 * len(names), layout="constrained")
        for axes, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
            draw_curves(axes, run, name)
            _draw_baseline(axes, run, f"{name}{BASELINE}")
            name_series(axes, run, name)
        return figure


def _draw_baseline(axes: "Axes", run: RunView, name: str) -> None:
    """Draw the baseline dashed, in the colour of its series; for a single series named, with its interval as a band."""
    from reports.curves import curve

    alone = len(run.series) == 1
    if not alone:
        axes.set_title("dashed: baseline", loc="left", fontsize=8, color=MUTED)
    for series, colour in zip(run.series, colours(len(run.series)), strict=True):
        shared = curve(series, name.removesuffix(BASELINE)).value
        for _, cells in curve(series, name).head(1).iterrows():
            ends_above = len(shared) > 0 and shared.iloc[-1] > cells.value
            axes.axhline(cells.value, color=MUTED if alone else colour, linewidth=1, linestyle="--", zorder=0)
            if alone:
                if cells[["low", "high"]].notna().all():
                    axes.axhspan(cells.low, cells.high, color=MUTED, alpha=0.1, linewidth=0, zorder=0)
                axes.annotate(
                    "baseline",
                    (1, cells.value),
                    (-2, -3 if ends_above else 3),  # on the side where the curve does not end
                    xycoords=("axes fraction", "data"),
                    textcoords="offset points",
                    fontsize=8,
                    color=MUTED,
                    ha="right",
                    va="top" if ends_above else "bottom",
                )
