"""Which metrics score a sweep, what they measured, and the figures that compare a cell with standard."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, nearest
from generators.batching import Batches
from generators.catalogue import ModelEntry, locate
from metrics.base import Metric, get_metric
from metrics.statistics import Estimate
from sweeps.axes import parse_parameters
from sweeps.events import Emit, Note, StageAdvanced, StageFinished, StageStarted
from sweeps.pictures import Generation, picture_name
from sweeps.record import Figure
from sweeps.scores import Scores, read_scores, same_scorer, write_scores

if TYPE_CHECKING:
    from sweeps.scores import Measured

NONE = "none"
ASKED = re.compile(r"(?P<name>[^:=]+)(?P<parameters>(:[^:=]*=[^:=]*)*)(=(?P<checkpoint>.+))?")
OURS = {"checkpoint", "device", "batch_size"}  # of a metric's parameters, those that are not the user's


class Scorers:
    """The metrics of one model's images: those asked for, else all that its catalogue entry has a checkpoint for.

    Args:
        entry: the model.
        asked: ``name``, ``name:parameter=value``, ``name=checkpoint`` (a folder or hub id), or
            ``name:parameter=value=checkpoint``; ``none`` alone for no metric.
        device: where the metrics run.

    Raises:
        UserError: an unknown metric or parameter, one that cannot run here, or one without a checkpoint.
    """

    def __init__(self, entry: ModelEntry, asked: Sequence[str], device: str) -> None:
        self.device = device
        self.metrics: dict[str, Metric] = {}
        self._sources: dict[str, str] = {}
        for text in asked or tuple(entry.scorers):
            if text == NONE:
                continue
            name, parameters, checkpoint = parse_metric(text)
            if name in self.metrics:
                raise UserError(f"the metric {name} is asked for twice", "ask for it once")
            kind, source = get_metric(name), checkpoint or entry.scorers.get(name, "")
            if not source:
                raise UserError(f"{entry.name} has no default checkpoint for {name}", f"write --metric {name}=FOLDER")
            if reason := kind.unavailable():
                raise UserError(f"the metric {name} cannot run here: {reason}", "leave it out with --metric")
            for parameter in parameters:
                if parameter not in (known := signature(kind).parameters.keys() - OURS):
                    raise UserError(f"the metric {name} has no parameter {parameter!r}", nearest(parameter, known))
            self.metrics[name] = kind(locate(source), device, **parameters)
            self._sources[name] = source

    @cached_property
    def identities(self) -> dict[str, dict[str, Any]]:
        """What decides the scores, by metric; checkpoints are hashed, and fetched if they are not here.

        Raises:
            UserError: a checkpoint cannot be had.
        """
        return {
            name: {**metric.identity(), "checkpoint": self._sources[name], "device": self.device}
            for name, metric in self.metrics.items()
        }

    def check(self, prompts: Sequence[str]) -> None:
        """Refuse before images are made what scoring would refuse after."""
        for metric in self.metrics.values():
            metric.check(prompts)

    def measured(self, known: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether every metric was measured already, by what would measure it now."""
        return all(same_scorer(known.get(name), identity) for name, identity in self.identities.items())

    def described(self, scorers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """For the record: what measured (see `Scores`), and how its figures are called and printed."""
        return {
            name: {
                **scorers[name],
                "higher_is_better": metric.higher_is_better,
                "figures": {key: asdict(info) for key, info in metric.figures.items()},
            }
            for name, metric in self.metrics.items()
        }


def parse_metric(text: str) -> tuple[str, dict[str, Any], str | None]:
    """Of a metric as it is asked for (see `Scorers`): its name, parameters, and checkpoint.

    Raises:
        UserError: it cannot be read so.
    """
    found = ASKED.fullmatch(text)
    if found is None:
        raise UserError(f"{text!r} is no metric", "write NAME, NAME:parameter=value or NAME=CHECKPOINT")
    parameters = parse_parameters(found["parameters"].removeprefix(":"), f"the metric {text!r}")
    return found["name"], parameters, found["checkpoint"]


def score_folder(
    folder: Path,
    generation: Generation,
    prompts: tuple[str, ...],
    scorers: Scorers,
    emit: Emit,
    *,
    standard: tuple[Scores, NDArray[np.bool_]] | None = None,
    again: bool = False,
) -> Scores:
    """The scores of the pictures in `folder`, measured where they are not there yet; those not asked for stay.

    Args:
        folder: with its pictures, complete.
        generation: their manifest.
        prompts: their texts.
        scorers: what measures.
        emit: hears progress.
        standard: the standard images' scores, and which pictures are standard's own: those are not measured again.
        again: measure even what is there.
    """
    scores = read_scores(folder, generation.hash)
    known = {} if again else scores.scorers
    missing = [name for name, identity in scorers.identities.items() if not same_scorer(known.get(name), identity)]
    if missing:
        own = np.ones(len(prompts), dtype=np.bool_) if standard is None else ~standard[1]
        emit(StageStarted("score", len(missing) * int(own.sum())))
        try:
            for name in missing:
                columns, notes = _measure(scorers.metrics[name], folder, np.flatnonzero(own), prompts, emit)
                if standard is not None:
                    columns = _filled(columns, standard[0].measured[name], own)
                scores.measured[name] = columns
                scores.scorers[name] = scorers.identities[name] | ({"notes": notes} if notes else {})
        finally:
            emit(StageFinished())
        write_scores(folder, prompts, scores, generation.hash)
    return scores


def figures(scorers: Scorers, standard: Scores, ours: Scores, same: NDArray[np.bool_]) -> dict[str, Figure]:
    """Every metric's figures, named ``<metric>.<figure>``."""
    found: dict[str, Figure] = {}
    for name, metric in scorers.metrics.items():
        compared = metric.compare(standard.measured[name], ours.measured[name], same)
        found |= {f"{name}.{key}": _figure(value) for key, value in compared.items()}
    return found


def _measure(
    metric: Metric, folder: Path, which: NDArray[np.int64], prompts: tuple[str, ...], emit: Emit
) -> "tuple[Measured, list[str]]":
    """A metric's columns, and what happened on the way that a record should say."""
    batches = Batches(metric.batch_size)

    def work(rows: slice) -> "Measured":
        chunk = which[rows]
        images = [folder / "images" / picture_name(prompt) for prompt in chunk]
        columns = metric.measure(images, [prompts[prompt] for prompt in chunk])
        emit(StageAdvanced(len(chunk)))
        return columns

    parts = list(batches.each(len(which), work))
    metric.batch_size = batches.size
    notes = [f"scoring {metric.name}: {note}" for note in batches.notes]
    for note in notes:
        emit(Note(note))
    return {column: np.concatenate([part[column] for part in parts]) for column in metric.columns if parts}, notes


def _filled(own_columns: "Measured", standard: "Measured", own: NDArray[np.bool_]) -> "Measured":
    filled = {column: values.copy() for column, values in standard.items()}
    for column, values in own_columns.items():
        filled[column][own] = values
    return filled


def _figure(value: Estimate | float) -> Figure:
    if isinstance(value, Estimate):
        return Figure(value=value.value, low=value.low, high=value.high, n=value.n, method=value.method)
    return Figure(value=value)
