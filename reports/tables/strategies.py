"""Ways to share at (near) equal node-steps: what each costs in quality and diversity, level by level."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np

from metrics.pooled_similarity import pooled_similarity
from metrics.statistics import Estimate
from reports.base import RunView, Table
from reports.contests import Contest, Entrant, Level, contests
from reports.frame import WIN_RATE, difference_figure, figure_names, paired_metrics, place, with_interval
from reports.labels import MISSING, Label, axis_text, title
from reports.sheet import Column, Entry, Sheet
from reports.splits import embeddings
from sweeps.record import Figure

SHARE, STANDARD = Label("", "fraction"), "_standard"
Read = Callable[..., Any]


class Strategies(Table):
    """Several strategies at (near) equal node-steps: win rate, difference, diversity, and what clustering took."""

    name = "strategies"
    rank: ClassVar[int] = 4

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        found, read = run.once(contests), cache(embeddings)
        lines = [
            (contest, level, entrant)
            for contest in found.found
            for level in contest.levels
            for entrant in _ordered(contest, level)
        ]
        if not lines:
            return None
        sets = _set_figures(run)
        diversity = [{name: pooled(name, entrant, run, read) for name in sets} for _, _, entrant in lines]
        columns = [
            *([Column("metric", numeric=False, key=True)] if len(found.metrics) > 1 else []),
            *(Column(axis, numeric=False, key=True) for axis in found.axes),
            *(Column("level, %", numeric=False, key=True), Column("strategy", numeric=False, key=True)),
            *map(Column, ("tau", "steps saved, %", "win rate, %", "mean difference")),
            *(Column(run.label(name).heading) for name in sets),
            Column("clustering, s"),
        ]
        rows = [
            [
                *([Entry(title(contest.metric))] if len(found.metrics) > 1 else []),
                *(Entry(axis_text(getattr(contest.asked, axis))) for axis in found.axes),
                *map(Entry, (SHARE.number(level.savings), _name(contest, entrant), _taus(entrant))),
                Entry(SHARE.number(float(np.mean(entrant.savings)))),
                entry(run, f"{contest.metric}{WIN_RATE}", entrant.win_rate),
                entry(run, _difference(contest, entrant), entrant.difference),
                *(entry(run, name, own[name]) for name in sets),
                Entry(MISSING if entrant.seconds is None else f"{entrant.seconds:.2g}"),
            ]
            for (contest, level, entrant), own in zip(lines, diversity, strict=True)
        ]
        data = pd.DataFrame([_row(*line, own) for line, own in zip(lines, diversity, strict=True)])
        groups = [(found.named(contest), level.savings) for contest, level, _ in lines]
        return Sheet(columns, rows, data, _caption(found.found), _notes(run, found.found, found.notes, sets), groups)


def pooled(name: str, entrant: Entrant, run: RunView, read: Read, standard: bool = False) -> Estimate | None:
    """The figure of a set of images over an entrant's prompt sets and seeds; None where images are not embedded."""
    column = name.removesuffix("_similarity")
    by_set: dict[str, list[Any]] = {}
    n = 0
    for (dataset, _), record in entrant.records.items():
        own = read(record.standard_scores(run.path) if standard else record.scores(run.path)).get(column)
        if own is None or name not in record.figures:
            return None
        n = max(n, record.figures[name].n or 0)
        by_set.setdefault(dataset, []).append(own)
    return pooled_similarity(list(by_set.values()), n=n)


def entry(run: RunView, name: str, found: Estimate | None) -> Entry:
    """An estimate of the figure `name` as text."""
    about = run.label(name)
    if found is None:
        return Entry(MISSING)
    return Entry(about.number(found.value), about.interval(Figure(value=found.value, low=found.low, high=found.high)))


def _ordered(contest: Contest, level: Level) -> list[Entrant]:
    """The best first; controls last."""
    return sorted(level.entrants.values(), key=lambda each: (each.name in contest.controls, -each.difference.value))


def _name(contest: Contest, entrant: Entrant) -> str:
    return f"{entrant.name} (control)" if entrant.name in contest.controls else entrant.name


def _taus(entrant: Entrant) -> str:
    taus = sorted({record.asked.tau for record in entrant.records.values()})
    return f"{taus[0]:f}" if len(taus) == 1 else f"{taus[0]:f}-{taus[-1]:f}"


def _difference(contest: Contest, entrant: Entrant) -> str:
    first = next(iter(entrant.records.values()))
    return difference_figure(first, contest.metric) or f"{contest.metric}.difference"


def _set_figures(run: RunView) -> list[str]:
    """Figures of a whole set of pictures that standard's set has too."""
    names = figure_names(run.records)
    paired = paired_metrics(names)
    return [
        name
        for name in names
        if name.endswith("_similarity") and f"{name}{STANDARD}" in names and name.partition(".")[0] not in paired
    ]


def _caption(found: Sequence[Contest]) -> str:
    first = found[0]
    datasets, seeds = (list(dict.fromkeys(each)) for each in zip(*first.places, strict=True))
    entrant = next(iter(first.levels[0].entrants.values()))
    return (
        f"strategies at equal node-steps, {', '.join(dict.fromkeys(each.asked.model for each in found))}: "
        f"{entrant.outcomes.shape[1]} prompts of {', '.join(datasets)}, "
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    )


def _notes(run: RunView, found: Sequence[Contest], told: Sequence[str], sets: Sequence[str]) -> list[str]:
    off = max(
        (abs(saved - level.savings), entrant.name)
        for contest in found
        for level in contest.levels
        for entrant in level.entrants.values()
        for saved in [float(np.mean(entrant.savings))]
    )
    methods = dict.fromkeys(
        each.method
        for contest in found
        for level in contest.levels
        for entrant in level.entrants.values()
        for each in (entrant.win_rate, entrant.difference)
    )
    notes = [
        "tau is in each strategy's own units: each has the one that comes nearest to the level; on average steps saved "
        f"are off by at most {100 * off[0]:.1f} points ({off[1]})",
        f"against standard generation; 95% intervals: {', '.join(methods)}: a prompt's seeds count as one prompt",
    ]
    read = cache(embeddings)
    for name in sets:
        entrant = next(iter(found[0].levels[0].entrants.values()))
        if standard := pooled(name, entrant, run, read, standard=True):
            about = run.label(name)
            notes.append(f"{about.text}: of standard generation {about.number(standard.value)}; mean of sets and seeds")
    for contest in found:
        for name, levels in contest.missing():
            at = ", ".join(f"{level.savings:.1%}" for level in levels)
            notes.append(f"{name} is left out at {at}: it has no cell near there for every prompt set and seed")
    return [*notes, *told]


def _row(contest: Contest, level: Level, entrant: Entrant, diversity: dict[str, Estimate | None]) -> dict[str, Any]:
    return {
        "metric": contest.metric,
        **{axis: value for axis, value in place(contest.asked).items() if axis == "model"},
        "level": level.savings,
        "strategy": entrant.name,
        "control": entrant.name in contest.controls,
        "tau_lowest": float(min(record.asked.tau for record in entrant.records.values())),
        "tau_highest": float(max(record.asked.tau for record in entrant.records.values())),
        "savings": float(np.mean(entrant.savings)),
        "pairs": entrant.outcomes.size,
        **with_interval("win_rate", entrant.win_rate),
        **with_interval("difference", entrant.difference),
        **{key: value for name, found in diversity.items() for key, value in with_interval(name, found).items()},
        "seconds_clustering": entrant.seconds,
    }
