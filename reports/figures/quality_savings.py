"""The cost of sharing in quality."""

from typing import TYPE_CHECKING

from reports.base import Figure, RunView
from reports.style import FAINT, canvas

if TYPE_CHECKING:
    from matplotlib import figure as mpl


class QualitySavings(Figure):
    """Win rate and mean paired difference against savings, with 95% intervals; a grey line marks no difference."""

    name = "quality_savings"

    def draw(self, run: RunView) -> "mpl.Figure | None":
        from reports.curves import draw_curves, name_series, room_for_names
        from reports.frame import paired_metrics, result_names
        from reports.pooling import seeds_pooled

        run = run.once(seeds_pooled)
        names = result_names(run.records)
        rows = [_panels(names, metric) for metric in paired_metrics(names)]
        if not rows:
            return None
        columns = max(len(row) for row in rows)
        figure = canvas(4.3 * columns + room_for_names(run), 3.4 * len(rows), layout="constrained")
        for axes, row in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
            for panel, (name, even) in zip(axes, row.items(), strict=False):
                panel.axhline(even * run.label(name).scale, color=FAINT, linewidth=1, zorder=0)
                draw_curves(panel, run, name)
            for unused in axes[len(row) :]:
                unused.set_axis_off()
            name_series(axes[len(row) - 1], run, list(row)[-1])
        return figure


def _panels(names: list[str], metric: str) -> dict[str, float]:
    """Return the results to draw, with the value at which shared and baseline pictures are even."""
    differences = [name for name in names if name.startswith(f"{metric}.") and name.endswith("difference")]
    return {f"{metric}.win_rate": 0.5, **dict.fromkeys(differences[:1], 0.0)}
