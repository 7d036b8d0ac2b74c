"""Ways to share side by side at (near) equal node-steps: what the tables and the figure of strategies show."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from metrics.method_comparison import clustered_win_rate
from metrics.over_seeds import pooled_difference
from metrics.statistics import Estimate, Floats
from reports.base import SHARING, RunView, series_name
from reports.frame import WIN_RATE, figure_names, paired_metrics, varying_axes
from reports.labels import title
from reports.outcomes import Read, better, differences, metric_scores, outcomes
from sweeps.record import NEAR, Asked, Record, run_savings

SAME_SCORE = 2e-6  # relative; copies of one picture in two cells may be scored in different batches (seen: 1.02e-6)
Place = tuple[str, int]  # a prompt set and a seed

# Ways to share are compared at equal node-steps, which a denoiser cache makes cheaper: each cache is a contest apart.
RIVALRY = tuple(axis for axis in SHARING if axis != "denoiser_cache")


@dataclass(frozen=True)
class Entrant:
    """A way to share at one level, over all seeds S and the prompts N of all prompt sets.

    Attributes:
        name: what tells it from the others.
        records: one a prompt set and seed.
        outcomes: against standard, [S, N]: 1 where ours scores better, -1 worse, 0 for a tie.
        differences: ours - standard, [S, N], more is better.
        scores: [S, N], more is better.
    """

    name: str
    records: Mapping[Place, Record]
    outcomes: Floats
    differences: Floats
    scores: Floats

    @cached_property
    def win_rate(self) -> Estimate:
        return clustered_win_rate(self.outcomes)

    @cached_property
    def difference(self) -> Estimate:
        return pooled_difference(self.differences)

    @property
    def savings(self) -> list[float]:
        """The share of denoiser steps that each cell saved."""
        return [record.plan.savings for record in self.records.values() if record.plan]

    @property
    def seconds(self) -> float | None:
        """What a clustering took, on average; None where that was not recorded."""
        found = [each.timings["cluster"] for each in self.records.values() if "cluster" in each.timings]
        return float(np.mean(found)) if found else None

    def against(self, other: "Entrant") -> Floats:
        """Whose pictures score better, [S, N]: 1 these, -1 the other's, 0 for a tie."""
        gap = self.scores - other.scores
        scale = np.maximum(1.0, np.maximum(np.abs(self.scores), np.abs(other.scores)))
        return np.asarray(np.where(np.abs(gap) > SAME_SCORE * scale, np.sign(gap), 0.0))


@dataclass(frozen=True)
class Level:
    """Those that save nearly the same share of denoiser steps.

    Attributes:
        savings: that share, as it was asked for; else the first strategy's, on average.
        entrants: by name, in the contest's order.
    """

    savings: float
    entrants: dict[str, Entrant]


@dataclass(frozen=True)
class Contest:
    """Ways to share of one model and its settings, as one metric sees them.

    Attributes:
        asked: of one of its cells.
        metric: whose scores they are.
        names: all that take part at some level, controls last.
        controls: those of them that are there to be beaten.
        levels: ascending.
        places: the prompt sets and seeds that all are compared on.
    """

    asked: Asked
    metric: str
    names: tuple[str, ...]
    controls: frozenset[str]
    levels: tuple[Level, ...]
    places: tuple[Place, ...]

    def missing(self) -> Iterable[tuple[str, list[Level]]]:
        """Who is left out at which levels."""
        for name in self.names:
            if levels := [level for level in self.levels if name not in level.entrants]:
                yield name, levels


@dataclass(frozen=True)
class Contests:
    """Every contest of a run, the axes on which they differ, and what was left out and why."""

    found: tuple[Contest, ...]
    axes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(contest.metric for contest in self.found))

    def named(self, contest: Contest) -> str:
        """What tells a contest from others of the run; mostly nothing."""
        parts = [title(contest.metric)] if len(self.metrics) > 1 else []
        return ", ".join([*parts, *filter(None, [series_name(contest.asked, self.axes)])])


def contests(run: RunView) -> Contests:
    """The levels at which two ways to share or more have cells that save nearly the same. Ask through `run.once`.

    Levels are the savings that were asked for; in a run over taus, those of the first way to share. Prompt sets and
    seeds are pooled; models and their settings are contests of their own.
    """
    fields: dict[Asked, list[Record]] = {}
    for record in run.records:
        if record.asked.tau > 0 and record.plan:
            fields.setdefault(_field(record.asked), []).append(record)
    asked_for, read = run_savings(run.path), cache(metric_scores)
    found: list[Contest] = []
    notes: list[str] = []
    for records in fields.values():
        for metric in paired_metrics(figure_names(records)):
            scored = [record for record in records if f"{metric}{WIN_RATE}" in record.figures]
            try:
                found += _contest(run, metric, scored, asked_for, read)
            except UserError as error:
                notes.append(f"strategies are not compared by {title(metric)}: {error}")
    varying = [axis for axis in varying_axes(run.records) if axis not in (*RIVALRY, "dataset", "seed")]
    return Contests(tuple(found), tuple(varying), tuple(notes))


def _field(asked: Asked) -> Asked:
    """What those that are compared have in common."""
    return asked.model_copy(update={**dict.fromkeys(RIVALRY, ""), "dataset": "", "seed": 0, "tau": 0})


def _contest(
    run: RunView, metric: str, records: Sequence[Record], asked_for: Sequence[float], read: Read
) -> list[Contest]:
    """One contest, or none where there is nothing to compare."""
    ways = _ways(records)
    if len(ways) < 2:
        return []
    controls = frozenset(name for name, cells in ways.items() if next(iter(cells.values()))[0].control)
    ways = {name: ways[name] for name in sorted(ways, key=lambda name: name in controls)}
    places = _places(ways)
    levels = []
    for savings, targets in _targets(ways, places, asked_for):
        cells = {name: _nearest(way, targets) for name, way in ways.items()}
        entrants = {name: _entrant(run, metric, name, each, read) for name, each in cells.items() if each}
        if len(entrants) > 1:
            levels.append(Level(savings, entrants))
    if not levels:
        return []
    taking_part = tuple(name for name in ways if any(name in level.entrants for level in levels))
    return [Contest(records[0].asked, metric, taking_part, controls, tuple(levels), places)]


def _ways(records: Sequence[Record]) -> dict[str, dict[Place, list[Record]]]:
    """By a way's name, its cells of each prompt set and seed."""
    axes = [axis for axis in varying_axes(records) if axis in RIVALRY]
    ways: dict[str, dict[Place, list[Record]]] = {}
    for record in records:
        place = record.asked.dataset, record.asked.seed
        ways.setdefault(series_name(record.asked, axes), {}).setdefault(place, []).append(record)
    return ways


def _places(ways: Mapping[str, Mapping[Place, object]]) -> tuple[Place, ...]:
    """The prompt sets with those seeds that all of them have."""
    every = dict.fromkeys(place for way in ways.values() for place in way)
    sets = dict.fromkeys(dataset for dataset, _ in every)
    seeds = [seed for seed in sorted({seed for _, seed in every}) if all((each, seed) in every for each in sets)]
    return tuple((dataset, seed) for dataset in sets for seed in seeds)


def _targets(
    ways: Mapping[str, Mapping[Place, Sequence[Record]]], places: Sequence[Place], asked_for: Sequence[float]
) -> list[tuple[float, dict[Place, float]]]:
    """The levels, ascending: what each is called, and the savings to come near to in each place."""
    if asked_for:
        return [(savings, dict.fromkeys(places, savings)) for savings in sorted(asked_for) if savings > 0]
    first = next((way for way in ways.values() if all(place in way for place in places)), None)
    if not first or not places:
        return []
    by_tau = [{each.asked.tau: each.plan.savings for each in first[place] if each.plan} for place in places]
    found: list[tuple[float, dict[Place, float]]] = []
    for tau in sorted(set.intersection(*(set(taus) for taus in by_tau))):
        targets = {place: taus[tau] for place, taus in zip(places, by_tau, strict=True)}
        savings = float(np.mean(list(targets.values())))
        if savings > (found[-1][0] if found else 0) + NEAR:
            found.append((savings, targets))
    return found


def _nearest(way: Mapping[Place, Sequence[Record]], targets: Mapping[Place, float]) -> dict[Place, Record]:
    """Of each place the cell that comes nearest; nothing where one does not come near."""
    found = {}
    for place, target in targets.items():
        gaps = [(abs(record.plan.savings - target), i) for i, record in enumerate(way.get(place, ())) if record.plan]
        if not gaps or min(gaps)[0] > NEAR + 1e-9:
            return {}
        found[place] = way[place][min(gaps)[1]]
    return found


def _entrant(run: RunView, metric: str, name: str, records: Mapping[Place, Record], read: Read) -> Entrant:
    sign = better(next(iter(records.values())), metric)
    return Entrant(
        name,
        records,
        _joined(records, lambda record: outcomes(run.path, record, metric, read)),
        sign * _joined(records, lambda record: differences(run.path, record, metric, read)),
        sign * _joined(records, lambda record: read(record.scores(run.path), metric)),
    )


def _joined(records: Mapping[Place, Record], rows: Callable[[Record], NDArray[np.float64]]) -> Floats:
    """[S, N]: one row a seed, the prompts of all prompt sets one after the other."""
    by_seed: dict[int, list[NDArray[np.float64]]] = {}
    for (_, seed), record in records.items():
        by_seed.setdefault(seed, []).append(rows(record))
    joined = [np.concatenate(each) for each in by_seed.values()]
    if len({len(row) for row in joined}) > 1:
        raise UserError("seeds have different numbers of prompts", "run them as one sweep")
    return np.array(joined)
