"""Methods of sharing at (nearly) equal compute: the cost of each in quality and diversity, target by target."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np

from metrics.pooled_similarity import pooled_similarity
from metrics.statistics import Estimate
from reports.base import RunView, Table
from reports.frame import WIN_RATE, difference_result, paired_metrics, place, result_names, with_interval
from reports.labels import MISSING, Label, axis_text, title
from reports.method_comparison import MethodAtTarget, MethodComparison, SavingsTarget, method_comparisons
from reports.sheet import Column, Entry, Sheet
from reports.splits import embeddings
from reports.tables.claims import roots_notes, roots_text

SHARE, STANDARD = Label("", "fraction"), "_standard"
Read = Callable[..., Any]


class Strategies(Table):
    """Several strategies at (nearly) equal compute: win rate, difference, diversity, and the seconds of clustering."""

    name = "strategies"
    rank: ClassVar[int] = 4

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        compared, read = run.once(method_comparisons), cache(embeddings)
        lines = [
            (comparison, target, method)
            for comparison in compared.comparisons
            for target in comparison.targets
            for method in _ordered(comparison, target)
        ]
        if not lines:
            return None
        sets = _set_figures(run)
        diversity = [{name: pooled(name, method, run, read) for name in sets} for _, _, method in lines]
        columns = [
            *([Column("metric", numeric=False, key=True)] if len(compared.metrics) > 1 else []),
            *(Column(axis, numeric=False, key=True) for axis in compared.axes),
            *(Column("savings target, %", numeric=False, key=True), Column("strategy", numeric=False, key=True)),
            *map(Column, ("tau", "steps saved, %", "roots", "win rate, %", "mean difference")),
            *(Column(run.label(name).heading) for name in sets),
            Column("clustering, s"),
        ]
        rows = [
            [
                *([Entry(title(comparison.metric))] if len(compared.metrics) > 1 else []),
                *(Entry(axis_text(getattr(comparison.config, axis))) for axis in compared.axes),
                *map(Entry, (SHARE.number(target.savings), _name(comparison, method), _taus(method))),
                Entry(SHARE.number(float(np.mean(method.savings)))),
                Entry(roots_text(method.roots)),
                entry(run, f"{comparison.metric}{WIN_RATE}", method.win_rate),
                entry(run, _difference(comparison, method), method.difference),
                *(entry(run, name, of_method[name]) for name in sets),
                Entry(MISSING if method.seconds is None else f"{method.seconds:.2g}"),
            ]
            for (comparison, target, method), of_method in zip(lines, diversity, strict=True)
        ]
        data = pd.DataFrame([_row(*line, of_method) for line, of_method in zip(lines, diversity, strict=True)])
        groups = [(compared.named(comparison), target.savings) for comparison, target, _ in lines]
        return Sheet(
            columns,
            rows,
            data,
            _caption(compared.comparisons),
            _notes(run, compared.comparisons, compared.notes, sets),
            groups,
        )


def pooled(name: str, method: MethodAtTarget, run: RunView, read: Read, of_baseline: bool = False) -> Estimate | None:
    """Return a set result over a method's prompt sets and seeds; None where images are not embedded."""
    column = name.removesuffix("_similarity")
    by_set: dict[str, list[Any]] = {}
    n = 0
    for (dataset, _), record in method.records.items():
        if name not in record.results:
            return None
        rows = read(record.baseline_scores(run.path) if of_baseline else record.scores(run.path)).get(column)
        if rows is None:
            return None
        n = max(n, record.results[name].n or 0)
        by_set.setdefault(dataset, []).append(rows)
    return pooled_similarity(list(by_set.values()), n=n)


def entry(run: RunView, name: str, estimate: Estimate | None) -> Entry:
    """Return an estimate of the result `name` as text."""
    result_label = run.label(name)
    if estimate is None:
        return Entry(MISSING)
    return Entry(
        result_label.number(estimate.value),
        result_label.interval(estimate),
    )


def _ordered(comparison: MethodComparison, target: SavingsTarget) -> list[MethodAtTarget]:
    """Return the methods, the best first and controls last."""
    return sorted(
        target.methods.values(), key=lambda method: (method.name in comparison.controls, -method.difference.value)
    )


def _name(comparison: MethodComparison, method: MethodAtTarget) -> str:
    return f"{method.name} (control)" if method.name in comparison.controls else method.name


def _taus(method: MethodAtTarget) -> str:
    taus = sorted({record.config.tau for record in method.records.values()})
    return f"{taus[0]:f}" if len(taus) == 1 else f"{taus[0]:f}-{taus[-1]:f}"


def _difference(comparison: MethodComparison, method: MethodAtTarget) -> str:
    first = next(iter(method.records.values()))
    return difference_result(first, comparison.metric) or f"{comparison.metric}.difference"


def _set_figures(run: RunView) -> list[str]:
    """Return results of a whole set of pictures that the baseline's set has too."""
    names = result_names(run.records)
    paired = paired_metrics(names)
    return [
        name
        for name in names
        if name.endswith("_similarity") and f"{name}{STANDARD}" in names and name.partition(".")[0] not in paired
    ]


def _caption(compared: Sequence[MethodComparison]) -> str:
    first = compared[0]
    datasets, seeds = (list(dict.fromkeys(comparison)) for comparison in zip(*first.places, strict=True))
    method = next(iter(first.targets[0].methods.values()))
    return (
        f"strategies at equal compute, {', '.join(dict.fromkeys(comparison.config.model for comparison in compared))}: "
        f"{method.outcomes.shape[1]} prompts of {', '.join(datasets)}, "
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    )


def _notes(
    run: RunView, compared: Sequence[MethodComparison], further: Sequence[str], sets: Sequence[str]
) -> list[str]:
    worst = max(
        (abs(saved - target.savings), method.name)
        for comparison in compared
        for target in comparison.targets
        for method in target.methods.values()
        for saved in [float(np.mean(method.savings))]
    )
    methods = dict.fromkeys(
        estimate.method
        for comparison in compared
        for target in comparison.targets
        for method in target.methods.values()
        for estimate in (method.win_rate, method.difference)
    )
    notes = [
        "tau is in each strategy's own units: each has the tau that comes nearest to the target; mean steps saved are "
        f"off by at most {100 * worst[0]:.1f} points ({worst[1]})",
        f"against the baseline; 95% intervals: {', '.join(methods)}",
        *roots_notes(
            [
                (len(method.outcomes), method.roots)
                for comparison in compared
                for target in comparison.targets
                for method in target.methods.values()
            ]
        ),
    ]
    read = cache(embeddings)
    for name in sets:
        method = next(iter(compared[0].targets[0].methods.values()))
        if baseline := pooled(name, method, run, read, of_baseline=True):
            result_label = run.label(name)
            notes.append(
                f"{result_label.text}: the baseline's is {result_label.number(baseline.value)}; mean of sets and seeds"
            )
    for comparison in compared:
        for name, missed in comparison.missing():
            at = ", ".join(f"{target.savings:.1%}" for target in missed)
            notes.append(f"{name} is left out at {at}: some prompt set or seed has no cell near that target")
    return list(dict.fromkeys([*notes, *further]))  # of several models one may say the same


def _row(
    comparison: MethodComparison, target: SavingsTarget, method: MethodAtTarget, diversity: dict[str, Estimate | None]
) -> dict[str, Any]:
    return {
        "metric": comparison.metric,
        **{axis: value for axis, value in place(comparison.config).items() if axis == "model"},
        "level": target.savings,
        "strategy": method.name,
        "control": method.name in comparison.controls,
        "tau_lowest": float(min(record.config.tau for record in method.records.values())),
        "tau_highest": float(max(record.config.tau for record in method.records.values())),
        "savings": float(np.mean(method.savings)),
        "pairs": method.outcomes.size,
        "roots": method.roots,
        **with_interval("win_rate", method.win_rate),
        **with_interval("difference", method.difference),
        **{key: value for name, estimate in diversity.items() for key, value in with_interval(name, estimate).items()},
        "seconds_clustering": method.seconds,
    }
