"""A ranking of strategies over all savings targets, with the ranks that each may have."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from metrics.method_comparison import FLIPS, rank_text
from metrics.over_seeds import TWO_WAY
from metrics.power import ALPHA
from metrics.statistics import Estimate
from reports.base import RunView, Table
from reports.frame import WIN_RATE, difference_result, with_interval
from reports.labels import MISSING, Label, axis_text, title
from reports.method_comparison import method_comparisons
from reports.paired_scores import zone_note
from reports.rankings import Ranking, rankings, verdict
from reports.sheet import Column, Entry, Sheet
from reports.tables.claims import roots_notes

RATE = Label("", "fraction")


class StrategyRanking(Table):
    """Strategies by the area under their quality-savings curves, with the ranks that each may have."""

    name = "strategy_ranking"
    rank: ClassVar[int] = 6

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        compared, run_rankings = run.once(method_comparisons), run.once(rankings)
        if not run_rankings:
            return None
        columns = [
            *([Column("metric", numeric=False, key=True)] if len(compared.metrics) > 1 else []),
            *(Column(axis, numeric=False, key=True) for axis in compared.axes),
            *(Column("rank", numeric=False, key=True), Column("strategy", numeric=False, key=True)),
            Column("better than", numeric=False),
            *map(Column, ("mean difference", "win rate, %", "clustering, s")),
        ]
        rows, data = [], []
        for ranking in run_rankings:
            for i, name in enumerate(ranking.names):
                comparison, beaten, seconds = ranking.comparison, _beaten(ranking, i), _seconds(ranking, name)
                rows.append(
                    [
                        *([Entry(title(comparison.metric))] if len(compared.metrics) > 1 else []),
                        *(Entry(axis_text(getattr(comparison.config, axis))) for axis in compared.axes),
                        Entry(rank_text(ranking.ranks[i])),
                        Entry(f"{name} (control)" if name in comparison.controls else name),
                        Entry(", ".join(beaten) or MISSING),
                        _entry(run.label(_difference(ranking)), ranking.areas[i]),
                        _entry(run.label(f"{comparison.metric}{WIN_RATE}"), ranking.rates[i]),
                        Entry(MISSING if seconds is None else f"{seconds:.2g}"),
                    ]
                )
                data.append(_row(ranking, i, beaten, _undecided(ranking, i)))
        groups = [compared.named(ranking.comparison) for ranking in run_rankings for _ in ranking.names]
        return Sheet(columns, rows, pd.DataFrame(data), _caption(run_rankings), _notes(run, run_rankings), groups)


def _beaten(ranking: Ranking, i: int) -> list[str]:
    return [ranking.names[j] for j in np.flatnonzero(ranking.better[i])]


def _undecided(ranking: Ranking, i: int) -> list[str]:
    decided = ranking.better[i] | ranking.better[:, i]
    return [name for j, name in enumerate(ranking.names) if j != i and not decided[j]]


def _seconds(ranking: Ranking, name: str) -> float | None:
    by_target = [target.methods[name].seconds for target in ranking.targets]
    known = [seconds for seconds in by_target if seconds is not None]
    return float(np.mean(known)) if known else None


def _difference(ranking: Ranking) -> str:
    metric, method = ranking.comparison.metric, ranking.targets[0].methods[ranking.names[0]]
    return difference_result(next(iter(method.records.values())), metric) or f"{metric}.difference"


def _entry(label: Label, estimate: Estimate) -> Entry:
    return Entry(label.number(estimate.value), label.interval(estimate))


def _caption(run_rankings: Sequence[Ranking]) -> str:
    over = " and ".join(dict.fromkeys(ranking.range for ranking in run_rankings))
    return f"ranking of strategies: mean height of their curves over {over} of denoiser evaluations saved"


def _notes(run: RunView, run_rankings: Sequence[Ranking]) -> list[str]:
    methods = dict.fromkeys(
        estimate.method for ranking in run_rankings for estimate in (*ranking.areas, *ranking.rates)
    )
    notes = [
        "rank: by the mean difference from the baseline, the area under its curve over savings (trapezoid rule) "
        "divided by their range; a strategy's ranks go from just below all that beat it for sure to just above all "
        "that it beats for sure",
        f"for sure: of several seeds the {TWO_WAY}, of one seed a sign-flip test of the areas' differences, prompt by "
        f"prompt ({FLIPS:,} draws); Holm's correction over all pairs, {ALPHA:.0%}",
        f"95% intervals: {', '.join(methods)}",
        *roots_notes([(ranking.seeds, ranking.roots) for ranking in run_rankings]),
        "strategy_pairs says who wins more often, prompt by prompt, which may differ",
    ]
    if zone := zone_note(run.records, dict.fromkeys(ranking.comparison.metric for ranking in run_rankings)):
        notes += [*zone, "a pair that ties adds 0 to the mean difference that is ranked by"]
    for ranking in run_rankings:
        where = (
            f"{ranking.comparison.config.model}, {title(ranking.comparison.metric)}: " if len(run_rankings) > 1 else ""
        )
        notes += [f"{where}{line}" for line in verdict(ranking)]
        if ranking.left_out:
            notes.append(f"{where}left out, as they miss a savings target: {', '.join(ranking.left_out)}")
    return notes


def _row(ranking: Ranking, i: int, beaten: Sequence[str], undecided: Sequence[str]) -> dict[str, Any]:
    name = ranking.names[i]
    return {
        "metric": ranking.comparison.metric,
        "model": ranking.comparison.config.model,
        "fewest_roots": ranking.roots,
        "rank_best": ranking.ranks[i][0],
        "rank_worst": ranking.ranks[i][1],
        "strategy": name,
        "control": name in ranking.comparison.controls,
        **with_interval("difference", ranking.areas[i]),
        **with_interval("win_rate", ranking.rates[i]),
        "better_than": " ".join(beaten),
        "not_told_apart_from": " ".join(undecided),
        "seconds_clustering": _seconds(ranking, name),
    }
