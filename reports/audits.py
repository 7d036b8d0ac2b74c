"""The audits of a run's scorers, and what its own pairs say beyond their floors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from common.errors import UserError
from metrics.scorer_audit import Effect, ScorerAudit, beyond_p, effect_beyond
from metrics.statistics import Floats
from reports.base import RunView
from reports.frame import WIN_RATE, paired_metrics, result_names
from reports.paired_scores import indifference, metric_scores, outcomes
from reports.run_comparison import RunComparison
from sweeps.audit_file import read_audits
from sweeps.record import CellConfig, Record


def audits(run: RunView) -> list[ScorerAudit]:
    """Return the audits of the scorers of a run, or of several compared; call it as `run.once(audits)`.

    Raises:
        UserError: a file of audits is damaged.
    """
    folders = [view.path for view in run.runs.values()] if isinstance(run, RunComparison) else [run.path]
    return [
        replace(audit, model=run.labels.get(audit.model, audit.model))
        for folder in folders
        for audit in read_audits(folder)
    ]


@dataclass(frozen=True)
class BeyondFloor:
    """A way to share at one tau, all seeds together, by what one scorer sees beyond its floor.

    Attributes:
        records: one a seed.
        metric: the scorer.
        zone: half the width of its zone of indifference.
        outcomes: [S, N] under the zone.
        strict: [S, N] without it.
    """

    records: Sequence[Record]
    metric: str
    zone: float
    outcomes: Floats
    strict: Floats

    @property
    def config(self) -> CellConfig:
        return self.records[0].config

    @property
    def p(self) -> float:
        """The p-value of "no more pairs are beyond the floor than edits that nobody sees would put there"."""
        return beyond_p(self.outcomes)

    @property
    def effect(self) -> Effect:
        return effect_beyond(self.outcomes)

    def count(self, sign: int) -> int:
        """Return the pairs with this outcome under the zone."""
        return int((self.outcomes == sign).sum())


def beyond_floors(run: RunView) -> tuple[list[BeyondFloor], list[str]]:
    """Return every way to share with tau above 0 whose scorer has a zone; and what cannot be read, and why."""
    read, found, left_out = cache(metric_scores), list[BeyondFloor](), list[str]()
    groups: dict[CellConfig, list[Record]] = {}
    for record in run.records:
        if record.config.tau > 0:
            groups.setdefault(record.config.model_copy(update={"seed": 0}), []).append(record)
    for metric in paired_metrics(result_names(run.records)):
        for group in groups.values():
            records = [record for record in group if f"{metric}{WIN_RATE}" in record.results]
            zone = max((indifference(record, metric) for record in records), default=0.0)
            if not zone:
                continue
            try:
                under, strict = (
                    [outcomes(run.path, record, metric, read, zone=width) for record in records] for width in (None, 0)
                )
            except UserError as error:
                left_out.append(str(error))
                continue
            if len({len(row) for row in under}) == 1:
                found.append(BeyondFloor(records, metric, zone, np.array(under), np.array(strict)))
    return found, left_out
