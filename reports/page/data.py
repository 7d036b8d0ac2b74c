"""The data of the page's script: series, cells and their results, prompts and their scores, trees, pictures."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from generators.sharing.tree import Tree
from reports.base import RunView
from reports.claims import Claim, claims
from reports.frame import WIN_RATE, difference_result, paired_metrics, result_names, varying_axes, wall_savings
from reports.labels import axis_text, is_detail, title
from reports.page.means import means
from reports.page.thumbnails import Album
from reports.page.trees import parting, same_tree, shape, tree_of
from reports.paired_scores import Read, indifference, metric_scores
from reports.seed_control import chance
from sweeps.record import Record, Result

T = TypeVar("T")
RUN = "run"
STANDARD = "_standard"
DIGITS = 7  # more than are shown, so that nothing is rounded twice
UNSAFE = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&'"}


def to_json(value: Any) -> str:
    """Return JSON that is inert wherever it stands in a page: of ASCII alone, without a letter that HTML knows.

    JSON's own escapes stand for what HTML or an old JavaScript would read: ``<``, ``>``, ``&``, ``'``, U+2028, U+2029.
    """
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(UNSAFE)


@dataclass
class Payload:
    """The page's data of one or several views, gathered into JSON values; whatever could not be read is a note.

    Attributes:
        views: one for each run, or one of several runs together.
        album: the pictures, to which this adds.
        notes: omissions and their reasons.
    """

    views: Sequence[RunView]
    album: Album = field(default_factory=Album)
    notes: list[str] = field(default_factory=list)
    _trees: list[tuple[Tree, dict[str, Any]]] = field(default_factory=list)
    _prompts: list[list[str]] = field(default_factory=list)

    def gathered(self) -> dict[str, Any]:
        """Return everything, pictures last, as only then their size is known."""
        axes = self.views[0].naming_axes()
        if len(self.views) > 1:
            axes = [RUN, *varying_axes([record for view in self.views for record in view.records])]
        series = [self._series(view, part, axes) for view in self.views for part in view.series]
        metrics = list(dict.fromkeys(name for view in self.views for name in _paired(view)))
        return {
            "axes": axes,
            "series": series,
            "delta": self.views[0].delta,
            "metrics": [{"name": name, "label": _score_label(self.views, name)} for name in metrics],
            "figures": self._figures(),
            "curves": [name for metric in metrics for name in self._curves(metric)],
            "diversity": self._diversity(metrics),
            "prompts": self._prompts,
            "trees": [drawn for _, drawn in self._trees],
            "sets": self.album.sprites(),
            "side": self.album.side,
        }

    def _names(self) -> list[str]:
        return list(dict.fromkeys(name for view in self.views for name in result_names(view.records)))

    def _curves(self, metric: str) -> list[str]:
        """Return a metric's win rate and mean difference."""
        records = [record for view in self.views for record in view.records]
        differences = dict.fromkeys(filter(None, (difference_result(record, metric) for record in records)))
        return [f"{metric}{WIN_RATE}", *differences]

    def _diversity(self, paired: Sequence[str]) -> list[str]:
        """Return results of a whole set of pictures that the baseline's set has too."""
        names = self._names()
        records = [record for view in self.views for record in view.records]
        return [
            name
            for name in names
            if f"{name}{STANDARD}" in names and name.partition(".")[0] not in paired and not is_detail(name, records)
        ]

    def _figures(self) -> dict[str, Any]:
        described = {}
        for name in self._names():
            label = next(view.label(name) for view in self.views if name in result_names(view.records))
            described[name] = {"text": label.text, "unit": label.unit, "signed": label.signed, "axis": label.axis}
        return described

    def _series(self, view: RunView, series: RunView, axes: Sequence[str]) -> dict[str, Any]:
        first = series.records[0]
        where = {RUN: view.path.resolve().name} | {
            axis: axis_text(getattr(first.config, axis)) for axis in axes if axis != RUN or hasattr(first.config, RUN)
        }
        names = [*([where[RUN]] if len(self.views) > 1 else []), series.name]
        prompts = self._read(lambda: first.prompts(view.path)) or []
        tree = self._read(lambda: tree_of(view.path, first))
        if tree and tree.n_leaves != len(prompts):
            tree = None
        read = cache(metric_scores)
        scored = [self._scores(view.path, record, read) for record in series.records]
        first_kept = self._most_lost(scored, len(prompts))
        return {
            "name": ", ".join(filter(None, names)) or first.config.model,
            "axes": {axis: where[axis] for axis in axes},
            "prompts": self._number(prompts),
            "tree": self._tree(view, first, tree),
            "pictures": self._pictures(first, view.path, len(prompts), first_kept, of_baseline=True),
            "references": [_reference(record) for record in series.references],
            "cells": [
                {
                    **self._cell(view, record, tree),
                    **scores,
                    "pictures": self._pictures(record, view.path, len(prompts), first_kept),
                }
                for record, scores in zip(series.records, scored, strict=True)
            ],
        }

    def _cell(self, view: RunView, record: Record, tree: Tree | None) -> dict[str, Any]:
        own_claims = [claim for claim in view.once(claims) if any(seed is record for seed in claim.records)]
        return {
            **_numbers(record),
            "id": record.id,
            "verdicts": {claim.metric: claim.verdict for claim in own_claims},
            "pooled": {claim.metric: _pooled(claim) for claim in own_claims if claim.seeds > 1},
            "together": self._read(lambda: parting(view.path, record, tree)) if tree else None,
        }

    def _scores(self, run: Path, record: Record, read: Read) -> dict[str, Any]:
        """Return each prompt's shared and baseline score by metric, and what their differences mean."""
        shared, baseline = {}, {}
        for metric in paired_metrics(list(record.results)):
            both = self._read(partial(_both, run, record, metric, read))
            if both and len(both[0]) == len(both[1]):
                shared[metric], baseline[metric] = (_rounded(values) for values in both)
        lower = [name for name in shared if not record.scorers.get(name, {}).get("higher_is_better", True)]
        return {
            "shared": shared,
            "baseline": baseline,
            "lower": lower,
            "zones": {name: indifference(record, name) for name in shared},
            "probabilities": [name for name in shared if record.scorers.get(name, {}).get("probability")],
        }

    def _most_lost(self, scored: Sequence[Mapping[str, Any]], n: int) -> list[int]:
        """Return the prompts, first those that lose most by the first metric at any tau."""
        worst = np.zeros(n)
        for scores in scored:
            for metric in list(scores["shared"])[:1]:
                difference = np.array(scores["shared"][metric], float) - np.array(scores["baseline"][metric], float)
                if len(difference) == n:
                    worst = np.fmin(worst, -difference if metric in scores["lower"] else difference)
        return [int(i) for i in np.argsort(worst, kind="stable")]

    def _pictures(
        self, record: Record, run: Path, n: int, first: Sequence[int], *, of_baseline: bool = False
    ) -> int | None:
        hashes = self._read(lambda: record.picture_hashes(run, of_baseline=of_baseline))
        if hashes is None:
            return None
        paths = self._read(lambda: record.baseline_pictures(run) if of_baseline else record.pictures(run))
        if paths and len(paths) != n:
            self.notes.append(f"{paths[0].parent} has {len(paths)} pictures of {n} prompts: none of them is shown")
            return None
        return self.album.add(paths or [], first, hashes)

    def _number(self, prompts: list[str]) -> int:
        """Return the number of this list of prompts; series of the same prompts share one."""
        if prompts not in self._prompts:
            self._prompts.append(prompts)
        return self._prompts.index(prompts)

    def _tree(self, view: RunView, record: Record, tree: Tree | None) -> int | None:
        if tree is None or not np.any(tree.parent >= 0):
            return None
        pictures = self._read(lambda: means(view.path, record, tree)) or {}
        for i, (known, drawn) in enumerate(self._trees):
            if same_tree(known, tree) and drawn["means"] == pictures:
                return i
        self._trees.append((tree, {**shape(tree), "means": pictures}))
        return len(self._trees) - 1

    def _read(self, read: Callable[[], T]) -> T | None:
        """Return what `read` returns; where it cannot read, add a note and return None."""
        try:
            return read()
        except UserError as error:
            if str(error) not in self.notes:
                self.notes.append(str(error))
            return None


def _pooled(claim: Claim) -> dict[str, Any]:
    """Return the number of seeds of a claim, and the win rate over all of them."""
    return {"seeds": claim.seeds, "rate": [_finite(end) for end in (claim.rate.value, claim.rate.low, claim.rate.high)]}


def _both(run: Path, record: Record, metric: str, read: Read) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return read(record.scores(run), metric), read(record.baseline_scores(run), metric)


def _paired(view: RunView) -> list[str]:
    return paired_metrics(result_names(view.records))


def _score_label(views: Sequence[RunView], metric: str) -> str:
    """Return a score's name, from the result that is its mean."""
    for view in views:
        for name in result_names(view.records):
            if name.startswith(f"{metric}.") and name.endswith("_mean"):
                return view.label(name).text
    return title(metric)


def _numbers(record: Record) -> dict[str, Any]:
    """Return a record's numbers."""
    return {
        "tau": float(record.config.tau),
        "steps": record.plan.savings if record.plan else None,
        "K": record.plan.K if record.plan else None,
        "flops": record.flops.savings if record.flops else None,
        "wall": _finite(wall_savings(record)),
        "components": record.flops.components if record.flops else {},
        "standard_flops": record.flops.baseline_total if record.flops else None,
        "seconds": record.timings,
        "standard_seconds": record.baseline_timings,
        "shared_seconds": record.shared_seconds,
        "reused": record.execution.reused,
        "figures": {name: _figure(figure) for name, figure in record.results.items()},
    }


def _reference(record: Record) -> dict[str, Any]:
    names = record.results if record.role == "another-seed" else ()
    bands = {name: [_finite(end) for end in band] for name in names if (band := chance(record.results, name))}
    return {
        "role": record.role,
        "steps": record.plan.savings if record.plan else None,
        "figures": {name: _figure(figure) for name, figure in record.results.items()},
        "bands": bands,
    }


def _figure(figure: Result) -> list[float | None]:
    return [_finite(figure.value), _finite(figure.low), _finite(figure.high)]


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _rounded(values: NDArray[np.float64]) -> list[float | None]:
    return [_finite(round(value, DIGITS)) for value in values.tolist()]
