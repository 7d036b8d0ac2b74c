"""Which strategy is best over all levels of savings, and where that is not sure."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from metrics.method_comparison import FLIPS, rank_text
from metrics.power import ALPHA
from metrics.statistics import Estimate
from reports.base import RunView, Table
from reports.contests import contests
from reports.frame import WIN_RATE, difference_figure, with_interval
from reports.labels import MISSING, Label, axis_text, title
from reports.rankings import Ranking, rankings, verdict
from reports.sheet import Column, Entry, Sheet
from sweeps.record import Figure

RATE = Label("", "fraction")


class StrategyRanking(Table):
    """Strategies by the area under their quality-savings curves, with the ranks that each may have."""

    name = "strategy_ranking"
    rank: ClassVar[int] = 6

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        found, made = run.once(contests), run.once(rankings)
        if not made:
            return None
        columns = [
            *([Column("metric", numeric=False, key=True)] if len(found.metrics) > 1 else []),
            *(Column(axis, numeric=False, key=True) for axis in found.axes),
            *(Column("rank", numeric=False, key=True), Column("strategy", numeric=False, key=True)),
            Column("better than", numeric=False),
            *map(Column, ("mean difference", "win rate, %", "clustering, s")),
        ]
        rows, data = [], []
        for each in made:
            for i, name in enumerate(each.names):
                contest, sure, seconds = each.contest, _beaten(each, i), _seconds(each, name)
                rows.append(
                    [
                        *([Entry(title(contest.metric))] if len(found.metrics) > 1 else []),
                        *(Entry(axis_text(getattr(contest.asked, axis))) for axis in found.axes),
                        Entry(rank_text(each.ranks[i])),
                        Entry(f"{name} (control)" if name in contest.controls else name),
                        Entry(", ".join(sure) or MISSING),
                        _entry(run.label(_difference(each)), each.areas[i]),
                        _entry(run.label(f"{contest.metric}{WIN_RATE}"), each.rates[i]),
                        Entry(MISSING if seconds is None else f"{seconds:.2g}"),
                    ]
                )
                data.append(_row(each, i, sure, _unsure(each, i)))
        groups = [found.named(each.contest) for each in made for _ in each.names]
        return Sheet(columns, rows, pd.DataFrame(data), _caption(made), _notes(made), groups)


def _beaten(found: Ranking, i: int) -> list[str]:
    return [found.names[j] for j in np.flatnonzero(found.better[i])]


def _unsure(found: Ranking, i: int) -> list[str]:
    known = found.better[i] | found.better[:, i]
    return [name for j, name in enumerate(found.names) if j != i and not known[j]]


def _seconds(found: Ranking, name: str) -> float | None:
    each = [level.entrants[name].seconds for level in found.levels]
    known = [seconds for seconds in each if seconds is not None]
    return float(np.mean(known)) if known else None


def _difference(found: Ranking) -> str:
    metric, entrant = found.contest.metric, found.levels[0].entrants[found.names[0]]
    return difference_figure(next(iter(entrant.records.values())), metric) or f"{metric}.difference"


def _entry(about: Label, found: Estimate) -> Entry:
    return Entry(about.number(found.value), about.interval(Figure(value=found.value, low=found.low, high=found.high)))


def _caption(made: Sequence[Ranking]) -> str:
    over = " and ".join(dict.fromkeys(each.range for each in made))
    return f"ranking of strategies: mean height of their curves over {over} of denoiser steps saved"


def _notes(made: Sequence[Ranking]) -> list[str]:
    methods = dict.fromkeys(each.method for found in made for each in (*found.areas, *found.rates))
    notes = [
        "rank: by the mean difference from standard, the area under its curve over savings (trapezoid rule) divided by "
        "their range; the ranks that a strategy may have are one below all that beat it for sure to one above all it "
        "beats",
        f"for sure: sign-flip test of the areas' differences, prompt by prompt ({FLIPS:,} draws), Holm's correction "
        f"over all pairs, {ALPHA:.0%}",
        f"95% intervals: {', '.join(methods)}: a prompt's seeds count as one prompt",
        "who wins more often, prompt by prompt, is another question: see strategy_pairs",
    ]
    for found in made:
        where = f"{found.contest.asked.model}, {title(found.contest.metric)}: " if len(made) > 1 else ""
        notes += [f"{where}{line}" for line in verdict(found)]
        if found.left_out:
            notes.append(f"{where}left out, as levels are missing: {', '.join(found.left_out)}")
    return notes


def _row(found: Ranking, i: int, sure: Sequence[str], unsure: Sequence[str]) -> dict[str, Any]:
    name = found.names[i]
    return {
        "metric": found.contest.metric,
        "model": found.contest.asked.model,
        "rank_best": found.ranks[i][0],
        "rank_worst": found.ranks[i][1],
        "strategy": name,
        "control": name in found.contest.controls,
        **with_interval("difference", found.areas[i]),
        **with_interval("win_rate", found.rates[i]),
        "better_than": " ".join(sure),
        "not_told_apart_from": " ".join(unsure),
        "seconds_clustering": _seconds(found, name),
    }
