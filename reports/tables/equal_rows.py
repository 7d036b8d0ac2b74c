"""Sharing beside baselines that share nothing and spend as many rows of the denoiser."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from common.errors import UserError
from common.files import canonical_json
from metrics.over_seeds import pooled_difference
from metrics.statistics import Estimate
from reports.base import RunView, Table
from reports.frame import paired_metrics, result_names, shared_axes, varying_axes
from reports.labels import ROLES, Label, axis_text, title
from reports.paired_scores import Read, better, metric_scores, score_differences
from reports.pooling import mean_difference, noise_draws, pooled_outcomes, seeds_table, ways
from reports.sheet import Column, Entry, Sheet
from sweeps.record import EQUAL, CellConfig, Record

CHEAP = EQUAL[1:]  # what a report of fewer steps alone has in its summary
SHARE, DIFFERENCE = Label("", "fraction"), Label("", "score", signed=True)
NOTES = [
    "NFE: rows of the denoiser, two for a step with guidance. A baseline's rows are those nearest to the cell's that "
    "whole steps allow: compare the savings beside each",
    "sharing's lead: the mean over prompts of the shared picture's score less that baseline's; above 0 it is better",
    "intervals at 95%, seeds pooled, not corrected for the number of comparisons",
]


@dataclass(frozen=True)
class Rival:
    """One row: a way to spend the rows, beside sharing.

    Attributes:
        records: one a seed, of sharing or of a baseline of equal rows.
        sharing: the cells of sharing that it stands beside, seed by seed.
        lost: its mean difference from the full baseline.
        rate: its win rate over the full baseline.
        lead: how much higher sharing scores; None for sharing itself.
    """

    records: tuple[Record, ...]
    sharing: tuple[Record, ...]
    metric: str
    lost: Estimate
    rate: Estimate
    lead: Estimate | None


class EqualRows(Table):
    """Sharing, fewer steps, less guidance, and both of these, at as many rows of the denoiser."""

    name = "equal_rows"
    rank: ClassVar[int] = 3

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        notes: list[str] = []
        rivals = list(compared(run, notes))
        if not rivals:
            return None
        records = [rival.sharing[0] for rival in rivals]
        axes = [axis for axis in varying_axes(records) if axis != "seed"]
        metrics = dict.fromkeys(rival.metric for rival in rivals)
        columns = [
            *(Column(axis, numeric=False, key=True) for axis in axes),
            Column("tau", key=True),
            *([Column("metric", numeric=False, key=True)] if len(metrics) > 1 else []),
            Column("what", numeric=False, key=True),
            Column("NFE saved, %"),
            Column("win rate, %"),
            Column("mean difference"),
            Column("sharing's lead"),
        ]
        rows = [
            [
                *(Entry(axis_text(getattr(rival.sharing[0].config, axis))) for axis in axes),
                Entry(f"{rival.sharing[0].config.tau:f}"),
                *([Entry(title(rival.metric))] if len(metrics) > 1 else []),
                Entry(_what(rival)),
                Entry(SHARE.number(_saved(rival.records))),
                _entry(SHARE, rival.rate),
                _entry(DIFFERENCE, rival.lost),
                Entry("-") if rival.lead is None else _entry(DIFFERENCE, rival.lead),
            ]
            for rival in rivals
        ]
        data = pd.DataFrame([_plain(rival) for rival in rivals])
        shared = [f"{name} {axis_text(value)}" for name, value in shared_axes(records).items() if name != "seed"]
        scored = f"scores: {', '.join(map(title, metrics))}"
        groups = [_cell(rival.sharing[0]) for rival in rivals]
        return Sheet(
            columns,
            rows,
            data,
            ", ".join(shared),
            [scored, *NOTES, *notes],
            groups,
        )


def compared(run: RunView, notes: list[str]) -> list[Rival]:
    """Return sharing and the baselines of equal rows, tau by tau; nothing where only fewer steps were asked for.

    Args:
        run: the view of the run.
        notes: takes what could not be compared.
    """
    if not any(run.held_against(role) for role in CHEAP):
        return []
    read = cache(metric_scores)
    baselines = [group for role in EQUAL for group in ways(run.held_against(role))]
    rivals = []
    for sharing in ways(run.records):
        beside = [group for group in baselines if _of(group[0]) in map(_identity, sharing)]
        for metric in paired_metrics(result_names(sharing)) if beside else ():
            for group in (sharing, *beside):
                try:
                    rivals.append(_rival(run, group, sharing, metric, read))
                except UserError as error:
                    notes.append(f"{_what_of(group[0])} at tau {sharing[0].config.tau:f} is left out: {error.message}")
    return rivals


def _identity(record: Record) -> str:
    return canonical_json(record.identity)


def _of(reference: Record) -> str:
    """Return the identity of the cell whose rows a baseline spends: its own has that and its role."""
    return canonical_json({name: value for name, value in reference.identity.items() if name != reference.role})


def _rival(run: RunView, group: tuple[Record, ...], sharing: tuple[Record, ...], metric: str, read: Read) -> Rival:
    lead = None
    if group is not sharing:
        ours = {record.config.seed: record for record in sharing}
        pairs = [(ours[record.config.seed], record) for record in group if record.config.seed in ours]
        gaps = [
            score_differences(run.path, mine, metric, read) - score_differences(run.path, theirs, metric, read)
            for mine, theirs in pairs
        ]
        table = seeds_table([mine for mine, _ in pairs], [better(group[0], metric) * gap for gap in gaps])
        lead = pooled_difference(table, noise_draws(run.path, sharing))
    lost = mean_difference(run.path, group, metric, read)
    return Rival(group, sharing, metric, lost, pooled_outcomes(run.path, group, metric, read).estimate(), lead)


def _cell(record: Record) -> CellConfig:
    return record.config.model_copy(update={"seed": 0})


def _what_of(record: Record) -> str:
    return "sharing" if record.role == "sharing" else ROLES[record.role]


def _what(rival: Rival) -> str:
    return _what_of(rival.records[0])


def _saved(records: Sequence[Record]) -> float | None:
    saved = [record.plan.nfe_savings for record in records if record.plan]
    known = [share for share in saved if share is not None]
    return float(np.mean(known)) if known else None


def _entry(form: Label, estimate: Estimate) -> Entry:
    return Entry(form.number(estimate.value), form.interval(estimate))


def _plain(rival: Rival) -> dict[str, object]:
    config = rival.sharing[0].config
    values: dict[str, object] = {
        **config.model_dump(mode="json", exclude={"seed"}),
        "tau": float(config.tau),
        "what": rival.records[0].role,
        "metric": rival.metric,
        "nfe_savings": _saved(rival.records),
    }
    for name, estimate in (("win_rate", rival.rate), ("difference", rival.lost), ("sharing_lead", rival.lead)):
        if estimate is not None:
            values |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return values
