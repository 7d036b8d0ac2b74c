"""Quality against savings of several methods, at equal compute."""

from typing import TYPE_CHECKING

import numpy as np

from reports.base import Figure, RunView
from reports.method_comparison import MethodComparison, method_comparisons
from reports.style import FAINT, MARKERS, MUTED, canvas, colours, finish, label_ends, marker

if TYPE_CHECKING:
    from matplotlib import figure as mpl
    from matplotlib.axes import Axes

    from reports.labels import Label

PANELS = {"win_rate": 0.5, "difference": 0.0}  # results, with the value at which shared and baseline are even


class Strategies(Figure):
    """Win rate and mean difference against savings, a line a strategy with its 95% band; controls dashed and grey."""

    name = "strategies"

    def draw(self, run: RunView) -> "mpl.Figure | None":
        compared = run.once(method_comparisons)
        if not compared.comparisons:
            return None
        names = dict.fromkeys(name for comparison in compared.comparisons for name in comparison.names)
        room = 0.45 + 0.075 * max(map(len, names))
        figure = canvas(8.2 + room, 3.5 * len(compared.comparisons), layout="constrained")
        for axes, comparison in zip(
            figure.subplots(len(compared.comparisons), 2, squeeze=False), compared.comparisons, strict=True
        ):
            for panel, (result, even) in zip(axes, PANELS.items(), strict=True):
                _draw(panel, comparison, result, even, _label(run, comparison, result), named=panel is axes[-1])
            if title := compared.named(comparison):
                axes[0].set_title(title, loc="left", fontsize=9, color=MUTED)
        return figure


def _label(run: RunView, comparison: MethodComparison, result: str) -> "Label":
    from reports.frame import WIN_RATE, difference_result

    record = next(iter(next(iter(comparison.targets[0].methods.values())).records.values()))
    difference = difference_result(record, comparison.metric) or f"{comparison.metric}.difference"
    return run.label(f"{comparison.metric}{WIN_RATE}" if result == "win_rate" else difference)


def _draw(axes: "Axes", comparison: MethodComparison, result: str, even: float, label: "Label", *, named: bool) -> None:
    axes.axhline(even * label.scale, color=FAINT, linewidth=1, zorder=0)
    rivals = [name for name in comparison.names if name not in comparison.controls]
    palette = dict(zip(rivals, colours(len(rivals)), strict=True))
    ends = []
    for i, name in enumerate(comparison.names):
        methods = [target.methods[name] for target in comparison.targets if name in target.methods]
        x = [100 * float(np.mean(method.savings)) for method in methods]
        estimates = [getattr(method, result) for method in methods]
        y = [label.scale * method.value for method in estimates]
        low, high = (
            [
                label.scale * (method.value if end is None else end)
                for method in estimates
                for end in [getattr(method, side)]
            ]
            for side in ("low", "high")
        )
        control = name in comparison.controls
        colour = MUTED if control else palette[name]
        shape = marker(i) if not control else list(MARKERS)[-1 - i % 2]
        axes.plot(x, y, "--" if control else "-", color=colour, marker=shape, markersize=4, linewidth=1.4)
        if len(x) > 1:
            axes.fill_between(x, low, high, color=colour, alpha=0.07, linewidth=0)
        else:
            axes.vlines(x, low, high, color=colour, linewidth=1.3, alpha=0.45)
        ends.append((y[-1], f"{MARKERS[shape]} {name}", colour))
    finish(axes, "denoiser evaluations saved, %\n(bands: 95% intervals; dashed grey: controls)", label.axis)
    if named:
        label_ends(axes, ends)
