"""Quality against savings of several ways to share, at equal node-steps."""

from typing import TYPE_CHECKING

import numpy as np

from reports.base import Figure, RunView
from reports.contests import Contest, contests
from reports.style import FAINT, MARKERS, MUTED, canvas, colours, finish, label_ends, marker

if TYPE_CHECKING:
    from matplotlib import figure as mpl
    from matplotlib.axes import Axes

    from reports.labels import Label

PANELS = {"win_rate": 0.5, "difference": 0.0}  # what is drawn, and where ours and standard are even


class Strategies(Figure):
    """Win rate and mean difference against savings, a line a strategy with its 95% band; controls dashed and grey."""

    name = "strategies"

    def draw(self, run: RunView) -> "mpl.Figure | None":
        found = run.once(contests)
        if not found.found:
            return None
        names = dict.fromkeys(name for contest in found.found for name in contest.names)
        room = 0.45 + 0.075 * max(map(len, names))
        figure = canvas(8.2 + room, 3.5 * len(found.found), layout="constrained")
        for axes, contest in zip(figure.subplots(len(found.found), 2, squeeze=False), found.found, strict=True):
            for panel, (what, even) in zip(axes, PANELS.items(), strict=True):
                _draw(panel, contest, what, even, _label(run, contest, what), named=panel is axes[-1])
            if title := found.named(contest):
                axes[0].set_title(title, loc="left", fontsize=9, color=MUTED)
        return figure


def _label(run: RunView, contest: Contest, what: str) -> "Label":
    from reports.frame import WIN_RATE, difference_figure

    record = next(iter(next(iter(contest.levels[0].entrants.values())).records.values()))
    difference = difference_figure(record, contest.metric) or f"{contest.metric}.difference"
    return run.label(f"{contest.metric}{WIN_RATE}" if what == "win_rate" else difference)


def _draw(axes: "Axes", contest: Contest, what: str, even: float, label: "Label", *, named: bool) -> None:
    axes.axhline(even * label.scale, color=FAINT, linewidth=1, zorder=0)
    others = [name for name in contest.names if name not in contest.controls]
    palette = dict(zip(others, colours(len(others)), strict=True))
    ends = []
    for i, name in enumerate(contest.names):
        entrants = [level.entrants[name] for level in contest.levels if name in level.entrants]
        x = [100 * float(np.mean(each.savings)) for each in entrants]
        found = [getattr(each, what) for each in entrants]
        y = [label.scale * each.value for each in found]
        low, high = (
            [label.scale * (each.value if end is None else end) for each in found for end in [getattr(each, side)]]
            for side in ("low", "high")
        )
        control = name in contest.controls
        colour = MUTED if control else palette[name]
        shape = marker(i) if not control else list(MARKERS)[-1 - i % 2]
        axes.plot(x, y, "--" if control else "-", color=colour, marker=shape, markersize=4, linewidth=1.4)
        if len(x) > 1:
            axes.fill_between(x, low, high, color=colour, alpha=0.07, linewidth=0)
        else:
            axes.vlines(x, low, high, color=colour, linewidth=1.3, alpha=0.45)
        ends.append((y[-1], f"{MARKERS[shape]} {name}", colour))
    finish(axes, "denoiser steps saved, %\n(bands: 95% intervals; dashed grey: controls)", label.axis)
    if named:
        label_ends(axes, ends)
