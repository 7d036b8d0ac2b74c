"""Cells that differ in seed alone, pooled; their intervals allow for a prompt's seeds being alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from common.errors import UserError
from metrics.over_seeds import pooled_difference, pooled_win_rate
from metrics.statistics import Estimate
from reports.base import RunView, Table, series_name
from reports.frame import WIN_RATE, difference_result, paired_metrics, place, result_names, varying_axes, with_interval
from reports.labels import Label, axis_text, title
from reports.paired_scores import Read, metric_scores, outcomes, score_differences
from reports.sheet import Column, Entry, Sheet
from sweeps.record import CellConfig, Record

SHARE = Label("", "fraction")


@dataclass(frozen=True)
class Pooled:
    """Cells that differ in seed alone, under one metric.

    Attributes:
        records: one for each seed.
        metric: the metric whose win rate it is.
        win_rate: half-tie win rate over all pairs.
        difference: mean score difference from the baseline, likewise.
        savings: mean share of denoiser evaluations saved.
    """

    records: Sequence[Record]
    metric: str
    win_rate: Estimate
    difference: Estimate
    savings: float

    @property
    def config(self) -> CellConfig:
        """The place on the axes of the first of them."""
        return self.records[0].config


class OverSeeds(Table):
    """Win rate and mean difference over all seeds of a cell, prompts being the clusters of a cluster bootstrap."""

    name = "over_seeds"
    rank: ClassVar[int] = 3

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        pooled, left_out = pool(run)
        if not pooled and left_out:
            raise UserError("; ".join(left_out))
        if not pooled:
            return None
        metrics = dict.fromkeys(row.metric for row in pooled)
        axes = _axes(run)
        columns = [
            *([Column("metric", numeric=False, key=True)] if len(metrics) > 1 else []),
            *(Column(axis, numeric=False, key=True) for axis in axes),
            Column("tau", key=True),
            *map(Column, ("seeds", "pairs", "steps saved, %", "win rate, %", "mean difference")),
        ]
        rows = [
            [
                *([Entry(title(row.metric))] if len(metrics) > 1 else []),
                *(Entry(axis_text(getattr(row.config, axis))) for axis in axes),
                Entry(f"{row.config.tau:f}"),
                *map(Entry, (str(len(row.records)), str(row.win_rate.n), SHARE.number(row.savings))),
                _entry(run, f"{row.metric}{WIN_RATE}", row.win_rate),
                _entry(
                    run, difference_result(row.records[0], row.metric) or f"{row.metric}.difference", row.difference
                ),
            ]
            for row in pooled
        ]
        methods = dict.fromkeys(
            row.method for pair in pooled for row in (pair.win_rate, pair.difference) if row.low is not None
        )
        notes = [
            f"95% intervals: {', '.join(methods)}: a prompt's seeds are averaged, then prompts are resampled",
            *left_out,
        ]
        caption = f"{', '.join(map(title, metrics))} over seeds"
        groups = [(row.metric, _without(row.config, "tau")) for row in pooled]
        return Sheet(columns, rows, pd.DataFrame(map(_row, pooled)), caption, notes, groups)


def pool(run: RunView) -> tuple[list[Pooled], list[str]]:
    """Return every cell with tau above 0 and two seeds or more, metric by metric; and what cannot be read, and why."""
    groups: dict[CellConfig, list[Record]] = {}
    for record in run.records:
        if record.config.tau > 0:
            groups.setdefault(_without(record.config, "seed"), []).append(record)
    axes, read = [*_axes(run), "tau"], cache(metric_scores)
    pooled, left_out = [], []
    for metric in paired_metrics(result_names(run.records)):
        for asked, group in groups.items():
            records = [record for record in group if f"{metric}{WIN_RATE}" in record.results]
            if len(records) < 2:
                continue
            try:
                pooled.append(_pooled(run, records, metric, read))
            except UserError as error:
                left_out.append(f"{title(metric)}, {series_name(asked, axes)} is left out: {error}")
    return pooled, left_out


def _pooled(run: RunView, records: Sequence[Record], metric: str, read: Read) -> Pooled:
    if len({record.plan.n_prompts for record in records if record.plan}) != 1:
        raise UserError("its seeds have different numbers of prompts", "run it as a sweep of its own")
    win_signs = [outcomes(run.path, record, metric, read, zone=0) for record in records]  # the half-tie rate, no zone
    gaps = [score_differences(run.path, record, metric, read) for record in records]
    savings = [record.plan.savings for record in records if record.plan]
    return Pooled(records, metric, pooled_win_rate(win_signs), pooled_difference(gaps), float(np.mean(savings)))


def _axes(run: RunView) -> list[str]:
    return [axis for axis in varying_axes(run.records) if axis != "seed"]


def _without(asked: CellConfig, axis: str) -> CellConfig:
    return asked.model_copy(update={axis: 0})


def _entry(run: RunView, name: str, estimate: Estimate) -> Entry:
    label = run.label(name)
    return Entry(label.number(estimate.value), label.interval(estimate))


def _row(pooled: Pooled) -> dict[str, Any]:
    return {
        "metric": pooled.metric,
        **{axis: value for axis, value in place(pooled.config).items() if axis != "seed"},
        "tau": float(pooled.config.tau),
        "seeds": " ".join(str(record.config.seed) for record in pooled.records),
        "pairs": pooled.win_rate.n,
        "savings": pooled.savings,
        **with_interval("win_rate", pooled.win_rate),
        **with_interval("difference", pooled.difference),
    }
