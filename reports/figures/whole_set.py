"""The whole set's quality against its cost, and the point to run it at."""

from typing import TYPE_CHECKING

from reports.base import Figure, RunView, series_name
from reports.style import FAINT, INK, MUTED, canvas, colours, finish, marker

if TYPE_CHECKING:
    from matplotlib import figure as mpl
    from matplotlib.axes import Axes

    from reports.whole_set import WholeSet


class WholeSetFigure(Figure):
    """Win rates of whole sets, as samples tell them, against cost; a ring marks the least cost that is no worse."""

    name = "whole_set"

    def draw(self, run: RunView) -> "mpl.Figure | None":
        from reports.labels import title
        from reports.tables.whole_set import sizes
        from reports.whole_set import whole_sets

        if not any(record.sample for record in run.records) or not (found := run.once(whole_sets)):
            return None
        metrics = list(dict.fromkeys(one.metric for one in found))
        figure = canvas(5.6 * len(metrics), 4.1, layout="constrained")
        for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
            _draw(axes, run, [one for one in found if one.metric == metric])
            cost = "denoiser evaluations of the whole set, % of the baseline's"
            finish(axes, f"{cost}\n(bars: 95% intervals over draws of the sample)", f"{title(metric)} win rate, %")
        figure.suptitle(f"estimates for {sizes(found)}", fontsize=8.5, color=MUTED)
        return figure


def _draw(axes: "Axes", run: RunView, found: "list[WholeSet]") -> None:
    from reports.whole_set import most_sharing

    series: dict[str, list[WholeSet]] = {}
    for one in found:
        axes_of_names = [axis for axis in run.naming_axes() if axis != "seed"]
        series.setdefault(series_name(one.config, axes_of_names), []).append(one)
    least = 100 * (0.5 - run.delta)
    axes.axhline(50, color=FAINT, linewidth=1, zorder=0)
    axes.axhline(least, color=INK, linewidth=1, linestyle="--", zorder=0)
    axes.annotate(
        f"no worse within {100 * run.delta:g} points: above {least:g}%",
        *((0.99, least), (0, 3)),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        fontsize=7.5,
        color=MUTED,
        ha="right",
    )
    for number, (name, of_series) in enumerate(series.items()):
        colour, shape = colours(len(series))[number], marker(number)
        costs = [100 * (1 - one.savings) for one in of_series]
        rates = [100 * one.rate.value for one in of_series]
        lows, highs = ([100 * (getattr(one.rate, end) or 0) for one in of_series] for end in ("low", "high"))
        axes.vlines(costs, lows, highs, color=colour, linewidth=1.5, alpha=0.6)
        axes.plot(costs, rates, color=colour, marker=shape, markersize=5, linewidth=1.3, label=name or None)
        chosen = most_sharing(of_series)
        for one, cost, low in zip(of_series, costs, lows, strict=True):
            axes.annotate(
                f"τ = {float(one.config.tau):g}",
                *((cost, low), (0, -4)),
                textcoords="offset points",
                fontsize=7.5,
                color=MUTED,
                ha="center",
                va="top",
            )
            if one is chosen:
                axes.plot(cost, 100 * one.rate.value, "o", markersize=13, markerfacecolor="none", color=INK, zorder=5)
                axes.annotate(
                    f"{one.savings:.0%} saved,\nno worse",
                    *((cost, 100 * one.rate.value), (10, 8)),
                    textcoords="offset points",
                    fontsize=8,
                    color=INK,
                )
    axes.margins(x=0.1, y=0.15)
    axes.invert_xaxis()
    if len(series) > 1:
        axes.legend(fontsize=7.5, frameon=False)
