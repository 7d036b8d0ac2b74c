"""Which metrics score a sweep, what they measured, and the figures that compare a cell with standard."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from generators.catalogue import ModelEntry, locate
from metrics.base import Metric, get_metric
from metrics.statistics import Estimate
from sweeps.events import Emit, StageAdvanced, StageFinished, StageStarted
from sweeps.pictures import Generation, picture_name
from sweeps.record import Figure
from sweeps.scores import read_scores, write_scores

if TYPE_CHECKING:
    from sweeps.scores import Measured

CHUNK = 64
NONE = "none"


class Scorers:
    """The metrics of one model's images: those asked for, else all that its catalogue entry has a checkpoint for.

    Args:
        entry: the model.
        asked: ``name``, or ``name=checkpoint`` (a folder or hub id); ``none`` alone for no metric.
        device: where the metrics run.

    Raises:
        UserError: an unknown metric, one that cannot run here, or one without a checkpoint.
    """

    def __init__(self, entry: ModelEntry, asked: Sequence[str], device: str) -> None:
        self.metrics: dict[str, Metric] = {}
        self._sources: dict[str, str] = {}
        for text in asked or tuple(entry.scorers):
            name, _, checkpoint = text.partition("=")
            if name == NONE:
                continue
            kind, source = get_metric(name), checkpoint or entry.scorers.get(name, "")
            if not source:
                raise UserError(f"{entry.name} has no default checkpoint for {name}", f"write --metric {name}=FOLDER")
            if reason := kind.unavailable():
                raise UserError(f"the metric {name} cannot run here: {reason}", "leave it out with --metric")
            self.metrics[name] = kind(locate(source), device)
            self._sources[name] = source

    @cached_property
    def identities(self) -> dict[str, dict[str, Any]]:
        """What decides the scores, by metric; checkpoints are hashed, and fetched if they are not here.

        Raises:
            UserError: a checkpoint cannot be had.
        """
        return {name: {**metric.identity(), "checkpoint": self._sources[name]} for name, metric in self.metrics.items()}

    def check(self, prompts: Sequence[str]) -> None:
        """Refuse before images are made what scoring would refuse after."""
        for metric in self.metrics.values():
            metric.check(prompts)

    def described(self) -> dict[str, dict[str, Any]]:
        """For the record: what measured, and how its figures are called and printed."""
        return {
            name: {**self.identities[name], "figures": {key: asdict(info) for key, info in metric.figures.items()}}
            for name, metric in self.metrics.items()
        }


def score_folder(
    folder: Path,
    generation: Generation,
    prompts: tuple[str, ...],
    scorers: Scorers,
    emit: Emit,
    *,
    standard: "tuple[dict[str, Measured], NDArray[np.bool_]] | None" = None,
    again: bool = False,
) -> "dict[str, Measured]":
    """Every metric's columns for the pictures in `folder`, measured where they are not there yet.

    Args:
        folder: with its pictures, complete.
        generation: their manifest.
        prompts: their texts.
        scorers: what measures.
        emit: hears progress.
        standard: the standard images' columns, and which pictures are standard's own: those are not measured again.
        again: measure even what is there.
    """
    known = {} if again else read_scores(folder, scorers.identities, generation.hash)
    missing = [name for name in scorers.metrics if name not in known]
    if missing:
        own = np.ones(len(prompts), dtype=np.bool_) if standard is None else ~standard[1]
        emit(StageStarted("score", len(missing) * int(own.sum())))
        for name in missing:
            columns = _measure(scorers.metrics[name], folder, np.flatnonzero(own), prompts, emit)
            known[name] = columns if standard is None else _filled(columns, standard[0][name], own)
        emit(StageFinished())
        write_scores(folder, prompts, known, {name: scorers.identities[name] for name in known}, generation.hash)
    return {name: known[name] for name in scorers.metrics}


def figures(
    scorers: Scorers, standard: "dict[str, Measured]", ours: "dict[str, Measured]", same: NDArray[np.bool_]
) -> dict[str, Figure]:
    """Every metric's figures, named ``<metric>.<figure>``."""
    found: dict[str, Figure] = {}
    for name, metric in scorers.metrics.items():
        compared = metric.compare(standard[name], ours[name], same)
        found |= {f"{name}.{key}": _figure(value) for key, value in compared.items()}
    return found


def _measure(
    metric: Metric, folder: Path, which: NDArray[np.int64], prompts: tuple[str, ...], emit: Emit
) -> "Measured":
    parts = []
    for start in range(0, len(which), CHUNK):
        chunk = which[start : start + CHUNK]
        images = [folder / "images" / picture_name(prompt) for prompt in chunk]
        parts.append(metric.measure(images, [prompts[prompt] for prompt in chunk]))
        emit(StageAdvanced(len(chunk)))
    return {column: np.concatenate([part[column] for part in parts]) for column in metric.columns} if parts else {}


def _filled(own_columns: "Measured", standard: "Measured", own: NDArray[np.bool_]) -> "Measured":
    filled = {column: values.copy() for column, values in standard.items()}
    for column, values in own_columns.items():
        filled[column][own] = values
    return filled


def _figure(value: Estimate | float) -> Figure:
    if isinstance(value, Estimate):
        return Figure(value=value.value, low=value.low, high=value.high, n=value.n, method=value.method)
    return Figure(value=value)
