"""The savings at parity of a run: one curve for each model and prompt set; image- against text-conditioned models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

import numpy as np

from common.errors import UserError
from common.files import sha256_text
from metrics.parity import SavingsAtParity, mean_difference, restricted_mean, savings_at_parity
from metrics.statistics import Estimate
from reports.base import RunView, series_name
from reports.frame import WIN_RATE, axes_of, paired_metrics, result_names
from reports.paired_scores import Read, metric_scores, outcomes
from reports.pooling import noise_draws
from sweeps.record import CellConfig, Record

# The axes that say how prompts share; the others, but for the prompts' own, are a model's settings.
SHARING = ("strategy", "schedule", "combiner", "noise", "denoiser_cache")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Curve:
    """Cells that differ in tau and seed alone, under one metric.

    Attributes:
        config: the place on the axes of the first of them.
        metric: the metric whose win rate it is.
        family: the model family's name, or the model's where that is not recorded.
        conditioned_on: ``image``, ``text``, ``both``, or None where that is not recorded.
        seeds: the seeds that have every tau.
        taus: ascending.
        n_prompts: size of the prompt set.
        parity: the savings at parity.
    """

    config: CellConfig
    metric: str
    family: str
    conditioned_on: str | None
    seeds: tuple[int, ...]
    taus: tuple[Decimal, ...]
    n_prompts: int
    parity: SavingsAtParity


@dataclass(frozen=True)
class Contrast:
    """Image-conditioned against text-conditioned models, with the same method of sharing.

    Attributes:
        metric: the metric whose win rate it is.
        sharing: the place of one of its curves, for the values on the `SHARING` axes.
        image: curves of image-conditioned models by prompt set, for those sets that both groups have.
        text: curves of text-conditioned models, likewise.
    """

    metric: str
    sharing: CellConfig
    image: dict[str, list[Curve]]
    text: dict[str, list[Curve]]

    @property
    def curves(self) -> list[Curve]:
        return [curve for group in (self.image, self.text) for curves in group.values() for curve in curves]

    def difference(self, datasets: Iterable[str] | None = None) -> Estimate:
        """Return mean savings at parity, image- less text-conditioned models, over all prompt sets or these."""
        chosen = list(datasets or self.image)
        image, text = (
            [[curve.parity for curve in group[dataset]] for dataset in chosen] for group in (self.image, self.text)
        )
        return mean_difference(image, text)

    def means(self, datasets: Iterable[str]) -> tuple[float, float]:
        """Return the mean savings at parity of both groups over these prompt sets, each counted up to `most` of it."""
        chosen = list(datasets)
        image, text = (
            float(np.mean([restricted_mean([c.parity for c in group[d]], self.most(d))[0] for d in chosen]))
            for group in (self.image, self.text)
        )
        return image, text

    def most(self, dataset: str) -> float:
        """Return the most savings that all curves on a prompt set were measured to."""
        return min(curve.parity.most for group in (self.image, self.text) for curve in group[dataset])

    @property
    def caveat(self) -> str:
        """A limit of the evidence that no interval shows."""
        image, text = (
            len({curve.family for curves in group.values() for curve in curves}) for group in (self.image, self.text)
        )
        families = "family" if image == 1 else "families"
        return f"{_count(image)} {families} against {_count(text)} cannot prove a general law"


@dataclass(frozen=True)
class ParityCurves:
    """Every curve of a run, in order, and what was left out and why."""

    curves: tuple[Curve, ...]
    notes: tuple[str, ...]

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(curve.metric for curve in self.curves))

    @property
    def axes(self) -> list[str]:
        """The axes that tell curves apart where model and prompt set do not."""
        groups: dict[tuple[str, str], list[CellConfig]] = {}
        for curve in self.curves:
            groups.setdefault((curve.config.model, curve.config.dataset), []).append(curve.config)
        all_axes = axes_of(curve.config for curve in self.curves)
        others = [axis for axis in all_axes if axis not in ("model", "dataset", "seed")]
        return [axis for axis in others if any(len({getattr(a, axis) for a in group}) > 1 for group in groups.values())]

    def contrasts(self) -> list[Contrast]:
        """Return one contrast for each metric and method of sharing for which both groups have a prompt set."""
        groups: dict[tuple[object, ...], list[Curve]] = {}
        for curve in self.curves:
            sharing = (getattr(curve.config, axis) for axis in SHARING)
            groups.setdefault((curve.metric, *sharing), []).append(curve)
        contrasts = []
        for curves in groups.values():
            image, text = (_by_dataset(curves, conditioned_on) for conditioned_on in ("image", "text"))
            shared = [dataset for dataset in image if dataset in text]
            if shared:
                first = curves[0]
                contrasts.append(
                    Contrast(first.metric, first.config, {d: image[d] for d in shared}, {d: text[d] for d in shared})
                )
        return contrasts


def parity_curves(run: RunView) -> ParityCurves:
    """Return the curves of a run with at least two taus, at least one of which saves something.

    Models on one prompt set see the same resamples; a curve that cannot be read is a note. Call it as
    `run.once(parity_curves)`.
    """
    curves, notes, read = [], [], cache(metric_scores)
    groups: dict[CellConfig, list[Record]] = {}
    for record in run.records:
        groups.setdefault(record.config.model_copy(update={"tau": 0, "seed": 0}), []).append(record)
    axes = [axis for axis in axes_of(groups) if axis != "seed" and len({getattr(asked, axis) for asked in groups}) > 1]
    for asked, records in groups.items():
        for metric in paired_metrics(result_names(records)):
            name = series_name(asked, axes) or metric
            cells, left_out = _whole_seeds(records, metric)
            notes += [f"{name}: seed {seed} is left out: it lacks some tau" for seed in left_out]
            try:
                curve = _curve(run, metric, cells, read)
            except UserError as error:
                notes.append(f"{name} is left out: {error}")
            else:
                curves += [curve] if curve else []
    return ParityCurves(tuple(curves), tuple(notes))


def _whole_seeds(records: Sequence[Record], metric: str) -> tuple[dict[int, dict[Decimal, Record]], list[int]]:
    """Return the cells with this metric, by seed and tau, of those seeds that have every tau; and the other seeds."""
    seeds: dict[int, dict[Decimal, Record]] = {}
    for record in records:
        if f"{metric}{WIN_RATE}" in record.results and record.plan:
            seeds.setdefault(record.config.seed, {})[record.config.tau] = record
    taus = max(seeds.values(), key=len, default={})
    whole = {seed: {tau: cells[tau] for tau in taus} for seed, cells in seeds.items() if cells.keys() >= taus.keys()}
    return whole, [seed for seed in seeds if seed not in whole]


def _curve(run: RunView, metric: str, seeds: dict[int, dict[Decimal, Record]], read: Read) -> Curve | None:
    cells = [list(by_tau.values()) for by_tau in seeds.values()]
    savings = np.array([[record.plan.savings for record in row if record.plan] for row in cells])
    if savings.size < 2 * len(seeds) or not savings.any():
        return None
    signs = [[outcomes(run.path, record, metric, read) for record in row] for row in cells]
    first = cells[0][0]
    if len({len(prompts) for row in signs for prompts in row}) > 1:
        raise UserError("its cells have different numbers of prompts", "run it as a sweep of its own")
    return Curve(
        config=first.config,
        metric=metric,
        family=str(first.identity.get("family", {}).get("name", first.config.model)),
        conditioned_on=first.conditioned_on,
        seeds=tuple(seeds),
        taus=tuple(next(iter(seeds.values()))),
        n_prompts=len(signs[0][0]),
        parity=savings_at_parity(
            np.array(signs),
            savings,
            [noise_draws(run.path, of_tau) for of_tau in zip(*cells, strict=True)],
            delta=run.delta,
            seed=int(sha256_text(first.config.dataset)[:8], 16),
        ),
    )


def _by_dataset(curves: Sequence[Curve], conditioned_on: str) -> dict[str, list[Curve]]:
    by_dataset: dict[str, list[Curve]] = {}
    for curve in curves:
        if curve.conditioned_on == conditioned_on:
            by_dataset.setdefault(curve.config.dataset, []).append(curve)
    return by_dataset


def _count(n: int) -> str:
    return NUMBERS[n] if n < len(NUMBERS) else str(n)
