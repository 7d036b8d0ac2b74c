"""The scorers of a sweep: their names, identities and scores, and the results that compare cells with baselines."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from common.errors import NoRoomError, NotHereError, UserError, nearest
from generators.batching import Batches
from generators.device_memory import give_back
from generators.model_entry import ModelEntry, locate, models
from generators.prompts import short
from metrics.base import Metric, ResultInfo, get_metric, metrics
from metrics.duplicates import SOURCE, compare_duplicates, exact_duplicates, repeats
from metrics.statistics import Estimate
from sweeps.axes import parse_parameters, refuse_parted
from sweeps.events import Emit, Note, StageAdvanced, StageFinished, StageStarted
from sweeps.record import Result
from sweeps.scores import Scores, same_scorer

if TYPE_CHECKING:
    from sweeps.scores import Measured

Absent: TypeAlias = Callable[[str], None]

NONE = "none"
AT = "@"
ASKED = re.compile(r"(?P<metric>[^:=@]+)(@(?P<tag>[^:=@]+))?(?P<parameters>(:[^:=]*=[^:=]*)*)(=(?P<checkpoint>.+))?")
SCHEME = re.compile(r"^[a-z0-9]+:")  # t2v:, hf:, embedded:, but not the ViT-L-14: of an open_clip model and tag
OURS = {"checkpoint", "device", "batch_size"}  # of a metric's parameters, those that are not the user's


@dataclass(frozen=True)
class Asked:
    """A scorer as it is asked for: ``metric@tag:parameter=value=checkpoint``, of which the metric is enough."""

    metric: str
    tag: str | None
    parameters: dict[str, Any]
    checkpoint: str | None

    @classmethod
    def parse(cls, text: str) -> "Asked":
        """Return the scorer that a text asks for.

        Raises:
            UserError: it cannot be read so.

        Examples:
            >>> Asked.parse("vqa@flan=hf:org/clip-flant5-xxl")
            Asked(metric='vqa', tag='flan', parameters={}, checkpoint='hf:org/clip-flant5-xxl')
            >>> Asked.parse("clip_diversity:images=all").parameters
            {'images': 'all'}
        """
        match = ASKED.fullmatch(text)
        if match is None:
            raise UserError(f"{text!r} is no metric", "write NAME, NAME:parameter=value or NAME=CHECKPOINT")
        if (tag := match["tag"]) and tag != slug(tag):
            raise UserError(f"{tag!r} in {text!r} cannot name a scorer", f"write {match['metric']}@{slug(tag) or 'b'}")
        parameters = parse_parameters(match["parameters"].removeprefix(":"), f"the metric {text!r}")
        return cls(match["metric"], tag, parameters, match["checkpoint"])


class Scorers:
    """The scorers of one model's images: those that the user names, else those of its catalogue entry.

    A scorer is a metric on a checkpoint. The first of a metric is called by the metric's name; further ones
    ``<metric>@<tag>``, the tag being the user's or the end of the checkpoint's path. Under its name go its columns
    (``vqa@clip-flant5-xxl.vqa``), its results, and what a record says of it.

    Args:
        entry: the model, for its default checkpoints; None: it has none.
        asked: ``metric``, ``metric:parameter=value``, ``metric=checkpoint`` (a folder or hub id), or
            ``metric:parameter=value=checkpoint``, with ``@tag`` after the metric to name it; ``none`` for no metric.
        device: where the metrics run.
        known: by name, the identities of scorers of the same pictures: one that is among them keeps its name, and no
            other takes it unless the user gives it that name.
        absent: hears of each that is right and cannot run on this machine now, and that is left out; such a one is
            refused unless this is given.

    Raises:
        UserError: an unknown metric or parameter, one that cannot run here, one without a checkpoint, or two scorers
            of one name.
    """

    def __init__(
        self,
        entry: ModelEntry | None,
        asked: Sequence[str],
        device: str,
        known: Mapping[str, Collection[Mapping[str, Any]]] | None = None,
        absent: Absent | None = None,
    ) -> None:
        self.device = device
        self.metrics: dict[str, Metric] = {}
        self._sources: dict[str, str] = {}
        self._asked: list[Asked] = []
        self._refused: dict[str, NoRoomError] = {}
        checkpoints = entry.checkpoints if entry else {}
        # what comes first is a metric, if one that nobody knows
        refuse_parted(asked, lambda name: name in metrics() or asked[0].startswith(f"{name}="))
        for text in asked or tuple(entry.scorers if entry else ()):
            if text == NONE:
                continue
            one = Asked.parse(text)
            one = replace(one, checkpoint=one.checkpoint or checkpoints.get(one.metric))
            try:
                metric = _metric(one, entry.name if entry else "what is scored", device)
                name = self._name(one, metric, known or {})
                _ = metric.identity() if absent else None  # says whether its checkpoint can be had
            except NotHereError as error:
                if absent is None:
                    raise
                absent(f"the scorer {text} is left out: {error}")
                continue
            self.metrics[name], self._sources[name] = metric, str(one.checkpoint)

    def _name(self, asked: Asked, metric: Metric, known: Mapping[str, Collection[Mapping[str, Any]]]) -> str:
        if (untagged := replace(asked, tag=None)) in self._asked:
            raise UserError(f"the metric {asked.metric} is asked for twice with {asked.checkpoint}", "ask for it once")
        self._asked.append(untagged)
        tagged = f"{metric.name}{AT}{asked.tag or slug(asked.checkpoint or '')}"
        free = [name for name in (metric.name, tagged) if name not in {*self.metrics, *known}]
        there = [
            name
            for name, identities in known.items()
            if name.partition(AT)[0] == metric.name and any(same_scorer(one, metric.identity()) for one in identities)
        ]
        names = [tagged] if asked.tag else [*there, *free]
        if not names or names[0] in self.metrics or names[0].endswith(AT):
            raise UserError(
                f"{asked.checkpoint} needs a name to tell it from another {metric.name} scorer",
                f"choose one: --metric {metric.name}{AT}NAME={asked.checkpoint}",
            )
        return names[0]

    @cached_property
    def identities(self) -> dict[str, dict[str, Any]]:
        """Return all that decides the scores, by scorer; checkpoints are hashed, and fetched if they are not here.

        Raises:
            UserError: a checkpoint cannot be had.
        """
        return {
            name: {
                **metric.identity(),
                "name": name,
                "metric": metric.name,
                "checkpoint": self._sources[name],
                "device": self.device,
            }
            for name, metric in self.metrics.items()
        }

    def release(self) -> None:
        """Give back the memory of a device, which denoisers and scorers need in turns; main memory is left as it is."""
        if self.device == "cpu":
            return
        for metric in self.metrics.values():
            metric.release()
        give_back(self.device)

    def check(self, prompts: Sequence[str]) -> None:
        """Refuse before images are made what scoring would refuse after.

        Raises:
            UserError: a metric cannot score one of the prompts.
        """
        for name, metric in self.metrics.items():
            with self.loaded(name):
                metric.check(prompts)

    @contextmanager
    def loaded(self, name: str) -> Iterator[None]:
        """Let a scorer work in the block, unless its weights did not fit before: they are not loaded again.

        Raises:
            NoRoomError: they do not fit.
        """
        if error := self._refused.get(name):
            raise NoRoomError(error.message, error.hint)
        try:
            yield
        except NoRoomError as error:
            self._refused[name] = NoRoomError(error.message, error.hint)
            raise

    def measured(self, known: Mapping[str, Mapping[str, Any]]) -> bool:
        """Return True where every scorer measured already, and was what it is now."""
        return all(same_scorer(known.get(name), identity) for name, identity in self.identities.items())

    def only(self, names: Collection[str]) -> "Scorers":
        """Return these scorers alone, under the names that they have; what they have loaded stays loaded."""
        chosen = copy(self)
        chosen.metrics = {name: metric for name, metric in self.metrics.items() if name in names}
        chosen.__dict__["identities"] = {name: self.identities[name] for name in chosen.metrics}
        return chosen

    def described(self, scorers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return for the record what measured (see `Scores`), and how its results are called and printed."""
        return {
            name: {
                **scorers[name],
                "higher_is_better": metric.higher_is_better,
                **({"probability": True} if metric.probability else {}),
                "figures": {key: asdict(_tagged(info, name)) for key, info in metric.results.items()},
            }
            for name, metric in self.metrics.items()
        }


def slug(checkpoint: str) -> str:
    """Return the last part of a checkpoint's path as part of a scorer's name.

    Examples:
        >>> slug("hf:Qwen/Qwen2.5-VL-3B")
        'qwen2-5-vl-3b'
        >>> slug("/models/clip/")
        'clip'
    """
    return re.sub(r"[^\w-]+", "-", Path(SCHEME.sub("", checkpoint)).name.lower()).strip("-")


def measure(
    scorers: Scorers,
    names: Collection[str],
    images: Sequence[Path],
    prompts: Sequence[str],
    emit: Emit,
    model: str | None = None,
) -> "Iterator[tuple[str, Measured, dict[str, Any]]]":
    """Measure picture files [N] of prompts [N] by one scorer of these names after the other.

    Yields:
        A scorer's name, the columns that it measured [N] or [N, k], and what the record says of it.
    """
    if not names:
        return
    emit(StageStarted("score", len(names) * len(images), model))
    try:
        for name in names:
            with scorers.loaded(name):
                columns, notes = _measure(scorers.metrics[name], name, images, prompts, emit)
            yield name, columns, scorers.identities[name] | ({"notes": notes} if notes else {})
    finally:
        emit(StageFinished())


def results(scorers: Scorers, baseline: Scores, ours: Scores, same: NDArray[np.bool_]) -> dict[str, Result]:
    """Return every scorer's results, named ``<scorer>.<result>``, for `ours` beside the `baseline`.

    `same` is bool [N], True for pictures that are the baseline's.
    """
    by_name: dict[str, Result] = {}
    for name, metric in scorers.metrics.items():
        compared = metric.compare(baseline.measured[name], ours.measured[name], same)
        by_name |= {f"{name}.{key}": _result(value) for key, value in compared.items()}
    return by_name


def picture_results(
    baseline: Sequence[str], ours: Sequence[str], prompts: Sequence[str], blank: tuple[int, int] = (0, 0)
) -> dict[str, Result]:
    """Return the results of pictures that need no scorer, named ``pictures.<result>``.

    They are exact duplicates and, where there are some, repeats of one prompt's picture and pictures of one colour.

    Args:
        baseline: of each of the baseline's pictures a hash that equal ones alone have in common [N].
        ours: likewise of ours, of the same prompts [N].
        prompts: their texts [N].
        blank: how many of the baseline's and of ours are of one colour.
    """
    if not prompts:
        return {}
    before, after = (exact_duplicates(hashes, prompts) for hashes in (baseline, ours))
    compared = compare_duplicates("duplicates", before, after)
    again = [int(np.count_nonzero(repeats(hashes, prompts))) for hashes in (baseline, ours)]
    if any(again):
        compared |= {"repeats": again[1], "repeats_standard": again[0]}
    if any(blank):
        compared |= {"blank": blank[1], "blank_standard": blank[0]}
    return {f"{SOURCE}.{key}": _result(value) for key, value in compared.items()}


def picture_notes(contents: Sequence[str], blank: Sequence[bool], prompts: Sequence[str]) -> list[str]:
    """Return in words what is odd about pictures that need no scorer to see it; mostly nothing.

    Args:
        contents: of each picture a hash that equal ones alone have in common [N].
        blank: whether it is of one colour [N].
        prompts: their texts [N].

    Examples:
        >>> picture_notes(["a", "b", "a"], [False, False, False], ["a fox", "a cat", "a wolf"])
        ["1 of 3 pictures is another prompt's, the first that of prompt 3 ('a wolf')"]
    """
    notes = []
    for what, rows in (
        ("of one colour", blank),
        ("another prompt's", exact_duplicates(contents, prompts)),
        ("an earlier one of the same prompt", repeats(contents, prompts)),
    ):
        if n := int(np.count_nonzero(rows)):
            first = int(np.argmax(rows))
            which = f"the first that of prompt {first + 1} ({short(prompts[first])!r})"
            notes.append(f"{n} of {len(rows)} pictures {'are' if n > 1 else 'is'} {what}, {which}")
    return notes


def _metric(asked: Asked, owner: str, device: str) -> Metric:
    kind = get_metric(asked.metric)
    if not asked.checkpoint:
        hint = f"write --metric {asked.metric}=FOLDER{_known_checkpoints(asked.metric)}"
        raise UserError(f"{owner} has no default checkpoint for {asked.metric}", hint)
    if reason := kind.unavailable():
        raise NotHereError(f"the metric {asked.metric} cannot run here: {reason}", "leave it out with --metric")
    for parameter in asked.parameters:
        if parameter not in (known := signature(kind).parameters.keys() - OURS):
            raise UserError(f"the metric {asked.metric} has no parameter {parameter!r}", nearest(parameter, known))
    return kind(locate(asked.checkpoint), device, **asked.parameters)


def _known_checkpoints(metric: str) -> str:
    """Return the checkpoints that models of the catalogue have for a metric, as what else may be written; or nothing.

    Examples:
        >>> _known_checkpoints("vqa")
        ', --metric vqa=embedded:vqa or --metric vqa=t2v:clip-flant5-xxl'
        >>> _known_checkpoints("preference")
        ''
    """
    known = [entry.checkpoints[metric] for entry in models().values() if metric in entry.checkpoints]
    written = [f"--metric {metric}={checkpoint}" for checkpoint in dict.fromkeys(known)]
    return f", {' or '.join(written)}" if written else ""


def _tagged(info: ResultInfo, name: str) -> ResultInfo:
    tag = name.partition(AT)[2]
    return replace(info, label=f"{info.label} ({tag})") if tag else info


def _measure(
    metric: Metric, name: str, images: Sequence[Path], prompts: Sequence[str], emit: Emit
) -> "tuple[Measured, list[str]]":
    """Return a metric's columns, and notes for the record.

    Prompts of one length go together: a scorer that reads them pads little, or, as VQAScore, asks more at once.
    """
    batches = Batches(metric.batch_size)
    order = sorted(range(len(images)), key=lambda row: len(prompts[row].split()))

    def work(rows: slice) -> "Measured":
        chosen = order[rows]
        columns = metric.measure([images[row] for row in chosen], [prompts[row] for row in chosen])
        emit(StageAdvanced(len(chosen)))
        return columns

    parts = list(batches.map(len(images), work))
    metric.batch_size = batches.size
    notes = [f"scoring {name}: {note}" for note in batches.notes]
    for note in notes:
        emit(Note(note))
    back = np.argsort(order)
    columns = [column for column in metric.columns if parts and column in parts[0]]
    return {column: np.concatenate([part[column] for part in parts])[back] for column in columns}, notes


def _result(value: Estimate | float) -> Result:
    if isinstance(value, Estimate):
        return Result(value=value.value, low=value.low, high=value.high, n=value.n, method=value.method)
    return Result(value=value)
