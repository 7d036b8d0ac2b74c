"""What a sample of a prompt set tells of the whole set: its quality at each tau, and how much sharing is no worse."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from common.errors import UserError
from metrics.power import ALPHA
from metrics.sampling import Strata, WholeOutcomes, sequence, whole_mean, whole_outcomes
from metrics.statistics import Estimate
from reports.base import RunView
from reports.claims import BROKEN, SAME, Baseline, baseline_of
from reports.frame import WIN_RATE, paired_metrics, result_names
from reports.paired_scores import Read, better, metric_scores, outcomes, score_differences
from reports.pooling import ways
from sweeps.record import CellConfig, Record

NO_WORSE, WORSE, NOT_SHOWN, AFTER = "no worse", "worse", "not shown", "after one that is not shown"
HOLD = (NO_WORSE, SAME)


@dataclass(frozen=True)
class WholeSet:
    """One way to share all prompts of a set at one tau, by one metric, as the pictures that were made tell of it.

    Attributes:
        records: one for each seed.
        metric: whose scores decide.
        delta: how far below 1/2 the win rate may lie and still be no worse.
        outcomes: shares of wins, ties and losses of the whole set; within the scorer's zone of indifference is a tie.
        every: the same where every difference counts, as in published tables.
        difference: the mean of ours less the baseline's score.
        baseline: its mean score; None where it was not recorded.
        verdict: at 2.5%, one-sided, each way's taus tested from the least sharing to the most.
    """

    records: tuple[Record, ...]
    metric: str
    delta: float
    outcomes: WholeOutcomes
    every: WholeOutcomes
    difference: Estimate
    baseline: Baseline | None = None
    verdict: str = NOT_SHOWN

    @property
    def config(self) -> CellConfig:
        """The place on the axes of the first seed."""
        return self.records[0].config

    @property
    def savings(self) -> float:
        """The share of denoiser evaluations that the whole set saves, the seeds' mean."""
        return float(np.mean([record.plan.savings for record in self.records if record.plan]))

    @property
    def flop_savings(self) -> float | None:
        """The share of FLOPs that it saves; None where they were not counted."""
        counted = [record.flops.savings for record in self.records if record.flops]
        return float(np.mean(counted)) if counted else None

    @property
    def rate(self) -> Estimate:
        """The half-tie win rate of the whole set; differences within the scorer's zone of indifference tie."""
        return Estimate(0.5, 0.5, 0.5, self.outcomes.n, SAME) if self.unshared else self.outcomes.rate()

    @property
    def strict(self) -> Estimate:
        """The share of prompts on which ours scores higher by any difference, ties counted as none."""
        return Estimate(0.0, 0.0, 0.0, self.outcomes.n, SAME) if self.unshared else self.every.strict()

    @property
    def unshared(self) -> bool:
        """Whether no prompt of the set shares anything, so that every picture is the baseline's."""
        return self.savings == 0

    @property
    def p(self) -> float | None:
        """The one-sided p-value of "no worse"; None where nothing is tested."""
        if self.unshared or self.verdict == BROKEN:
            return None
        return self.outcomes.noninferiority_p(self.delta)

    @property
    def needed(self) -> int | None:
        """The prompts of a sample that would show "no worse"; None where none would."""
        return self.outcomes.needed(self.delta)


def whole_sets(run: RunView) -> list[WholeSet]:
    """Return what a run's pictures tell of their whole sets: by metric and way to share, taus above 0 ascending.

    Call it as `run.once(whole_sets)`.

    Raises:
        UserError: scores cannot be read.
    """
    read, found = cache(metric_scores), list[WholeSet]()
    shared = [record for record in run.records if record.config.tau > 0]
    for metric in paired_metrics(result_names(shared)):
        scored = [record for record in shared if f"{metric}{WIN_RATE}" in record.results]
        by_series: dict[CellConfig, list[WholeSet]] = {}
        for records in ways(scored):
            series = records[0].config.model_copy(update={"tau": 0, "seed": 0})
            by_series.setdefault(series, []).append(_of_way(run, records, metric, read))
        for one in by_series.values():
            found += _judged(sorted(one, key=lambda whole: whole.config.tau))
    return found


def most_sharing(found: Sequence[WholeSet]) -> WholeSet | None:
    """Return the one that saves most of those that are no worse; None where none is that shares anything.

    Args:
        found: of one way to share, by one metric.
    """
    return max(
        (one for one in found if one.verdict in HOLD and not one.unshared), key=lambda one: one.savings, default=None
    )


def _of_way(run: RunView, records: Sequence[Record], metric: str, read: Read) -> WholeSet:
    samples = {record.sample for record in records}
    if len(samples) > 1:
        raise UserError("the seeds of one way to share have different samples", "run it as a sweep of its own")
    (sample,) = samples
    strata = Strata(sample.labels, sample.sizes) if sample else Strata.whole(records[0].made_prompts)
    won, by_any = (
        whole_outcomes(np.array([outcomes(run.path, record, metric, read, zone=zone) for record in records]), strata)
        for zone in (None, 0.0)
    )
    gaps = [better(record, metric) * score_differences(run.path, record, metric, read) for record in records]
    return WholeSet(
        tuple(records),
        metric,
        run.delta,
        won,
        by_any,
        whole_mean(np.mean(gaps, axis=0), strata),
        baseline_of(run, records, metric),
    )


def _judged(of_series: Sequence[WholeSet]) -> list[WholeSet]:
    """Return them with their verdicts: what follows the first tau that is not shown is not claimed."""
    shown = sequence([0.0 if one.p is None else one.p for one in of_series], ALPHA / 2)
    judged = []
    for place, one in enumerate(of_series):
        high = one.rate.high
        if one.baseline and one.baseline.broken:
            verdict = BROKEN
        elif place < shown:
            verdict = SAME if one.unshared else NO_WORSE
        elif high is not None and high < 0.5 - one.delta:
            verdict = WORSE
        else:
            verdict = NOT_SHOWN if one.p is None or one.p >= ALPHA / 2 else AFTER
        judged.append(replace(one, verdict=verdict))
    return judged
