"""Sharing methods compared at (nearly) equal compute, for the tables and the figure of strategies."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from metrics.over_seeds import pool_outcomes, pooled_difference
from metrics.scorer_audit import outside
from metrics.statistics import Estimate, Floats
from reports.base import SHARING, RunView, series_name
from reports.frame import WIN_RATE, paired_metrics, result_names, varying_axes
from reports.labels import title
from reports.paired_scores import Read, better, indifference, metric_scores, outcomes, score_differences
from reports.pooling import noise_draws
from sweeps.record import NEAR, CellConfig, Record, run_savings

SAME_SCORE = 2e-6  # relative; copies of one picture in two cells may be scored in different batches (seen: 1.02e-6)
Place = tuple[str, int]  # a prompt set and a seed

# A denoiser cache makes a denoiser evaluation cheaper: at equal numbers of them, only cells of one cache compare.
METHOD_AXES = tuple(axis for axis in SHARING if axis != "denoiser_cache")


@dataclass(frozen=True)
class MethodAtTarget:
    """One method at one savings target, over all seeds S and the prompts N of all prompt sets.

    Attributes:
        name: its values on the axes on which methods differ.
        records: one for each prompt set and seed.
        outcomes: [S, N] against the baseline: 1 where this method's picture scores better, -1 worse, 0 for a tie, which
            a difference within the zone of indifference is too.
        strict: the same without a zone.
        differences: [S, N], this method's score less the baseline's; more is better.
        scores: [S, N], more is better.
        zone: half the width of the scorer's zone of indifference.
        roots: the number of draws of noise that a seed's prompts start from, over all prompt sets; None: not known.
    """

    name: str
    records: Mapping[Place, Record]
    outcomes: Floats
    strict: Floats
    differences: Floats
    scores: Floats
    zone: float = 0.0
    roots: int | None = None

    @cached_property
    def win_rate(self) -> Estimate:
        """The half-tie rate without a zone, as published tables have it."""
        return pool_outcomes(self.strict, self.roots).estimate()

    @property
    def counted(self) -> Floats:
        """The differences [S, N] that count: 0 for a pair within the zone of indifference."""
        return np.asarray(np.where(self.outcomes != 0, self.differences, 0.0))

    @cached_property
    def difference(self) -> Estimate:
        return pooled_difference(self.differences, self.roots)

    @property
    def savings(self) -> list[float]:
        """The share of denoiser evaluations that each cell saved."""
        return [record.plan.savings for record in self.records.values() if record.plan]

    @property
    def seconds(self) -> float | None:
        """Mean seconds of a clustering; None where that was not recorded."""
        clusterings = [record.timings["cluster"] for record in self.records.values() if "cluster" in record.timings]
        return float(np.mean(clusterings)) if clusterings else None

    def against(self, other: "MethodAtTarget") -> Floats:
        """Return [S, N]: 1 where this method's picture scores better, -1 where the other's does, 0 for a tie."""
        gap = self.scores - other.scores
        scale = np.maximum(1.0, np.maximum(np.abs(self.scores), np.abs(other.scores)))
        return outside(np.where(np.abs(gap) > SAME_SCORE * scale, gap, 0.0), self.zone)


@dataclass(frozen=True)
class SavingsTarget:
    """Methods that save nearly the same share of denoiser evaluations.

    Attributes:
        savings: the share that the sweep was asked for; in a sweep over taus, the first method's mean.
        methods: by name, in the comparison's order.
    """

    savings: float
    methods: dict[str, MethodAtTarget]


@dataclass(frozen=True)
class MethodComparison:
    """The methods of one model and its settings under one metric.

    Attributes:
        config: the place on the axes of one of its cells.
        metric: the metric whose scores are compared.
        names: methods that take part at some target, controls last.
        controls: those methods that any useful one should beat.
        targets: ascending.
        places: the prompt sets and seeds that all methods are compared on.
    """

    config: CellConfig
    metric: str
    names: tuple[str, ...]
    controls: frozenset[str]
    targets: tuple[SavingsTarget, ...]
    places: tuple[Place, ...]

    def missing(self) -> Iterable[tuple[str, list[SavingsTarget]]]:
        """Yield every method that misses some target, with the targets that it misses."""
        for name in self.names:
            if missed := [target for target in self.targets if name not in target.methods]:
                yield name, missed


@dataclass(frozen=True)
class MethodComparisons:
    """Every method comparison of a run, the axes on which they differ, and what was left out and why."""

    comparisons: tuple[MethodComparison, ...]
    axes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(comparison.metric for comparison in self.comparisons))

    def named(self, comparison: MethodComparison) -> str:
        """Return the text that tells a comparison from the run's others; mostly empty."""
        parts = [title(comparison.metric)] if len(self.metrics) > 1 else []
        return ", ".join([*parts, *filter(None, [series_name(comparison.config, self.axes)])])


def method_comparisons(run: RunView) -> MethodComparisons:
    """Return, for each model and metric, the methods at every savings target that two or more of them reach.

    Targets are those of the sweep; in a sweep over taus, the savings of its first method. Prompt sets and seeds are
    pooled; models and their settings are compared apart. Call it as `run.once(method_comparisons)`.
    """
    by_setting: dict[CellConfig, list[Record]] = {}
    for record in run.records:
        if record.config.tau > 0 and record.plan:
            by_setting.setdefault(_setting(record.config), []).append(record)
    asked_for, read = run_savings(run.path), cache(metric_scores)
    comparisons: list[MethodComparison] = []
    notes: list[str] = []
    for records in by_setting.values():
        for metric in paired_metrics(result_names(records)):
            scored = [record for record in records if f"{metric}{WIN_RATE}" in record.results]
            try:
                comparisons += _comparison(run, metric, scored, asked_for, read)
            except UserError as error:
                notes.append(f"strategies are not compared by {title(metric)}: {error}")
    varying = [axis for axis in varying_axes(run.records) if axis not in (*METHOD_AXES, "dataset", "seed")]
    return MethodComparisons(tuple(comparisons), tuple(varying), tuple(notes))


def _setting(asked: CellConfig) -> CellConfig:
    """Return the cell's place on those axes alone that compared methods have in common."""
    return asked.model_copy(update={**dict.fromkeys(METHOD_AXES, ""), "dataset": "", "seed": 0, "tau": 0})


def _comparison(
    run: RunView, metric: str, records: Sequence[Record], asked_for: Sequence[float], read: Read
) -> list[MethodComparison]:
    """Return one comparison, or none where there are not two methods to compare."""
    cells = _cells_by_method(records)
    if len(cells) < 2:
        return []
    controls = frozenset(name for name, by_place in cells.items() if next(iter(by_place.values()))[0].control)
    cells = {name: cells[name] for name in sorted(cells, key=lambda name: name in controls)}
    common = places(cells)
    targets = []
    for savings, wanted in wanted_savings(cells, common, asked_for):
        chosen = {name: nearest(by_place, wanted) for name, by_place in cells.items()}
        methods = {name: _method(run, metric, name, own, read) for name, own in chosen.items() if own}
        if len(methods) > 1:
            targets.append(SavingsTarget(savings, methods))
    if not targets:
        return []
    names = tuple(name for name in cells if any(name in target.methods for target in targets))
    return [MethodComparison(records[0].config, metric, names, controls, tuple(targets), common)]


def _cells_by_method(records: Sequence[Record]) -> dict[str, dict[Place, list[Record]]]:
    """Group the cells by method, then by prompt set and seed."""
    axes = [axis for axis in varying_axes(records) if axis in METHOD_AXES]
    methods: dict[str, dict[Place, list[Record]]] = {}
    for record in records:
        place = record.config.dataset, record.config.seed
        methods.setdefault(series_name(record.config, axes), {}).setdefault(place, []).append(record)
    return methods


def places(cells: Mapping[str, Mapping[Place, object]]) -> tuple[Place, ...]:
    """Return the prompt sets, each with those seeds that all of them have."""
    all_places = dict.fromkeys(place for by_place in cells.values() for place in by_place)
    sets = dict.fromkeys(dataset for dataset, _ in all_places)
    seeds = sorted({seed for _, seed in all_places})
    seeds = [seed for seed in seeds if all((dataset, seed) in all_places for dataset in sets)]
    return tuple((dataset, seed) for dataset in sets for seed in seeds)


def wanted_savings(
    cells: Mapping[str, Mapping[Place, Sequence[Record]]], places: Sequence[Place], asked_for: Sequence[float]
) -> list[tuple[float, dict[Place, float]]]:
    """Return the targets, ascending: the nominal savings, and the savings to come near to in each place."""
    if asked_for:
        return [(savings, dict.fromkeys(places, savings)) for savings in sorted(asked_for) if savings > 0]
    leader = next((own for own in cells.values() if all(place in own for place in places)), None)
    if not leader or not places:
        return []
    by_tau = [{record.config.tau: record.plan.savings for record in leader[place] if record.plan} for place in places]
    targets: list[tuple[float, dict[Place, float]]] = []
    for tau in sorted(set.intersection(*(set(taus) for taus in by_tau))):
        wanted = {place: taus[tau] for place, taus in zip(places, by_tau, strict=True)}
        savings = float(np.mean(list(wanted.values())))
        if savings > (targets[-1][0] if targets else 0) + NEAR:
            targets.append((savings, wanted))
    return targets


def nearest(cells: Mapping[Place, Sequence[Record]], wanted: Mapping[Place, float]) -> dict[Place, Record]:
    """Return the cell nearest to the target in each place; nothing where one place has none near enough."""
    found = {}
    for place, savings in wanted.items():
        gaps = [(abs(record.plan.savings - savings), i) for i, record in enumerate(cells.get(place, ())) if record.plan]
        if not gaps or min(gaps)[0] > NEAR + 1e-9:
            return {}
        found[place] = cells[place][min(gaps)[1]]
    return found


def _method(run: RunView, metric: str, name: str, records: Mapping[Place, Record], read: Read) -> MethodAtTarget:
    sign = better(next(iter(records.values())), metric)
    return MethodAtTarget(
        name,
        records,
        joined(records, lambda record: outcomes(run.path, record, metric, read)),
        joined(records, lambda record: outcomes(run.path, record, metric, read, zone=0)),
        sign * joined(records, lambda record: score_differences(run.path, record, metric, read)),
        sign * joined(records, lambda record: read(record.scores(run.path), metric)),
        max(indifference(record, metric) for record in records.values()),
        roots(run, records),
    )


def roots(run: RunView, records: Mapping[Place, Record]) -> int | None:
    """Return the number of draws of noise behind a seed's prompts of all sets: sets draw apart, but for one policy."""
    by_set: dict[str, list[Record]] = {}
    for (dataset, _), record in records.items():
        by_set.setdefault(dataset, []).append(record)
    draws = [noise_draws(run.path, of_set) for of_set in by_set.values()]
    known = [count for count in draws if count is not None]
    return sum(known) if len(known) == len(draws) else None


def joined(records: Mapping[Place, Record], rows: Callable[[Record], NDArray[np.float64]]) -> Floats:
    """Return [S, N]: one row for each seed, the prompts of all prompt sets one after the other."""
    by_seed: dict[int, list[NDArray[np.float64]]] = {}
    for (_, seed), record in records.items():
        by_seed.setdefault(seed, []).append(rows(record))
    joined = [np.concatenate(seed_rows) for seed_rows in by_seed.values()]
    if len({len(row) for row in joined}) > 1:
        raise UserError("seeds have different numbers of prompts", "run them as one sweep")
    return np.array(joined)
