"""Cells that differ in seed alone, as one: a way to share, its pooled pairs and results, and its draws of noise."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from functools import cache
from pathlib import Path

import numpy as np

from common.errors import UserError
from generators.sharing.plan import SharingPlan
from metrics.over_seeds import PooledOutcomes, pool_outcomes, pooled_difference
from metrics.statistics import Estimate, Floats
from reports.base import RunView
from reports.frame import WIN_RATE, difference_result, paired_metrics
from reports.paired_scores import Read, better, metric_scores, outcomes, score_differences
from sweeps.record import CellConfig, Record, Result

COUNTS = ("wins", "ties", "losses")
MEAN = "mean over seeds"


def ways(records: Sequence[Record]) -> list[tuple[Record, ...]]:
    """Return the records in groups that differ in seed alone, in order."""
    groups: dict[tuple[str, CellConfig], list[Record]] = {}
    for record in records:
        groups.setdefault((record.role, record.config.model_copy(update={"seed": 0})), []).append(record)
    return [tuple(group) for group in groups.values()]


def noise_draws(run: Path, records: Sequence[Record]) -> int | None:
    """Return the number of independent draws of initial noise that a seed's prompts start from, the seeds' least.

    It is the number of roots of the plan; 1 where the noise policy draws once for all prompts. None where a plan cannot
    be read.
    """
    if records[0].config.noise.partition(":")[0] != "per-root":
        return 1
    try:
        return min(
            record.made_prompts if record.role != "sharing" and record.plan else made_plan(run, record).roots
            for record in records
        )
    except UserError:
        return None


def made_plan(run: Path, record: Record) -> SharingPlan:
    """Return the part of a cell's plan that its pictures were made by: all of it, but of a sample.

    Raises:
        UserError: it is missing or damaged.
    """
    plan = SharingPlan.load(record.artifact(run, "plan.npz"))
    if record.sample is None:
        return plan
    mask = np.zeros(plan.n_prompts, dtype=np.bool_)
    mask[list(record.sample.rows)] = True
    return plan.restricted(mask)


def same_pictures(record: Record, metric: str) -> bool:
    """Return True for an interval without width: every picture is the baseline's own."""
    rate = record.results[f"{metric}{WIN_RATE}"]
    return rate.low is not None and rate.low == rate.high


def pooled_outcomes(run: Path, records: Sequence[Record], metric: str, read: Read) -> PooledOutcomes:
    """Return the outcomes of all seeds of a way to share, as claims count them.

    Args:
        run: the run folder.
        records: one for each seed, each with the metric's win rate.
        metric: one of their metrics.
        read: `metric_scores`, or the same with a cache.

    Raises:
        UserError: scores cannot be read, or seeds have different numbers of prompts.
    """
    rows = [outcomes(run, record, metric, read) for record in records]
    return pool_outcomes(seeds_table(records, rows), noise_draws(run, records))


def mean_difference(run: Path, records: Sequence[Record], metric: str, read: Read) -> Estimate:
    """Return the mean of ours less the baseline's score over all seeds of a way to share.

    Raises:
        UserError: as in `pooled_outcomes`.
    """
    rows = [score_differences(run, record, metric, read) for record in records]
    return pooled_difference(seeds_table(records, rows), noise_draws(run, records))


def pooled_record(run: Path, records: Sequence[Record], read: Read) -> Record:
    """Return one record for all seeds of a way to share: paired results pooled, counts added, all else averaged.

    Averages of results have no interval. Of a single seed with one picture a prompt it is the record itself.

    Raises:
        UserError: as in `pooled_outcomes`.
    """
    first = records[0]
    if len(records) == 1 and not first.per_prompt:
        return first
    results = averaged([record.results for record in records])
    names = list(results)
    for metric in paired_metrics(names):
        for count in (f"{metric}.{name}" for name in COUNTS if f"{metric}.{name}" in names):
            results[count] = Result(value=sum(record.results[count].value for record in records))
        if all(same_pictures(record, metric) for record in records):
            results[f"{metric}{WIN_RATE}"] = first.results[f"{metric}{WIN_RATE}"]
            continue
        gaps = [score_differences(run, record, metric, read) for record in records]
        signs = [better(first, metric) * np.sign(row) for row in gaps]
        pairs = pool_outcomes(seeds_table(records, signs), noise_draws(run, records))
        results[f"{metric}{WIN_RATE}"] = as_result(pairs.estimate())
        if difference := difference_result(first, metric):
            results[difference] = as_result(mean_difference(run, records, metric, read))
    return first.model_copy(update={"results": results, **_costs(records)})


def averaged(of_seeds: Sequence[Mapping[str, Result]]) -> dict[str, Result]:
    """Return the results that all seeds have, averaged and without intervals; of one seed they are its own."""
    if len(of_seeds) == 1:
        return dict(of_seeds[0])
    names = dict.fromkeys(name for results in of_seeds for name in results)
    common = [name for name in names if all(name in results for results in of_seeds)]
    return {name: _average([results[name] for results in of_seeds]) for name in common}


def seeds_pooled(run: RunView) -> RunView:
    """Return the view with one record for all seeds of a way to share; the view itself where scores cannot be read."""
    read = cache(metric_scores)
    try:
        records, references = (
            tuple(pooled_record(run.path, group, read) for group in ways(which))
            for which in (run.records, run.references)
        )
    except UserError:
        return run
    return replace(run, records=records, references=references)


def savings(records: Sequence[Record]) -> float:
    """Return the mean share of FLOPs that the seeds saved; of denoiser evaluations where FLOPs were not counted."""
    return float(
        np.mean(
            [
                record.flops.savings if record.flops else record.plan.savings if record.plan else 0.0
                for record in records
            ]
        )
    )


def _costs(records: Sequence[Record]) -> dict[str, object]:
    """Return the mean plan, FLOPs and seconds of several seeds."""
    costs: dict[str, object] = {}
    plans = [record.plan for record in records if record.plan]
    flops = [record.flops for record in records if record.flops]
    if len(plans) == len(records):
        counted = {
            "node_steps": round(float(np.mean([plan.node_steps for plan in plans]))),
            "savings": float(np.mean([plan.savings for plan in plans])),
        }
        for name in ("nfe", "reused_rows", "unguided_steps"):
            known = [value for plan in plans if (value := getattr(plan, name)) is not None]
            if len(known) == len(plans):
                counted[name] = round(float(np.mean(known)))
        costs["plan"] = plans[0].model_copy(update=counted)
    if len(flops) == len(records):
        means = {
            name: float(np.mean([getattr(one, name) for one in flops]))
            for name in ("total", "baseline_total", "savings")
        }
        components = {
            name: float(np.mean([one.components.get(name, 0.0) for one in flops])) for name in flops[0].components
        }
        costs["flops"] = flops[0].model_copy(update={**means, "components": components})
    for name in ("timings", "baseline_timings"):
        seconds = [getattr(record, name) for record in records]
        stages = [stage for stage in seconds[0] if all(stage in one for one in seconds)]
        costs[name] = {stage: float(np.mean([one[stage] for one in seconds])) for stage in stages}
    costs["shared_seconds"] = any(record.shared_seconds for record in records)
    for name in ("joules", "baseline_joules"):
        joules = [getattr(record, name) for record in records]
        costs[name] = None if None in joules else float(np.mean(joules))
    return costs


def _average(results: Sequence[Result]) -> Result:
    counts = [result.n for result in results if result.n is not None]
    return Result(
        value=float(np.mean([result.value for result in results])), n=sum(counts) if counts else None, method=MEAN
    )


def as_result(estimate: Estimate) -> Result:
    """Return an estimate as records hold it."""
    value, low, high, n, method, _ = astuple(estimate)
    return Result(value=value, low=low, high=high, n=n, method=method)


def seeds_table(records: Sequence[Record], rows: Sequence[Floats]) -> Floats:
    """Return what all seeds' pictures have, [draws, prompts]: each of a prompt's pictures is a draw, as each seed is.

    So pictures of one prompt are no independent pairs. A sample may have some of a prompt's pictures, and is one draw.

    Args:
        records: one a seed.
        rows: of each a value a picture, [N].

    Raises:
        UserError: seeds have different numbers of prompts.
    """
    if len({len(row) for row in rows}) > 1:
        raise UserError("its seeds have different numbers of prompts", "run it as a sweep of its own")
    times = [1 if record.sample else record.per_prompt or 1 for record in records]
    return np.concatenate([row.reshape(-1, each).T for row, each in zip(rows, times, strict=True)])
