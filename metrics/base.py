"""The base of metrics: arrays per image, then results that compare two sets of images of the same prompts."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.plugins import Plugin, discover, find
from metrics.statistics import Estimate

GROUP = "reusebench.metrics"
OF_PROMPTS = "_prompt"  # how the name of a column ends that embeds prompts; all others are of pictures
OF_ATOMS = "_atom"  # likewise of one that scores a part of each prompt, beside the column of the whole

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ResultInfo:
    """The heading, direction and unit that a result is printed with.

    Attributes:
        label: a table's heading.
        higher_is_better: None where neither way is.
        unit: ``fraction`` is 0 to 1 and printed in percent; the others are printed as they are.
        detail: left out of the summary; a table of its own shows it.
        floor: of a baseline's mean score: one at or below it is of pictures that do not show their prompts, and carries
            no claim. None where the scale has no such place.

    Examples:
        >>> ResultInfo("VQAScore win rate", higher_is_better=True, unit="fraction").label
        'VQAScore win rate'
    """

    label: str
    higher_is_better: bool | None
    unit: Literal["fraction", "score", "count"]
    detail: bool = False
    floor: float | None = None


class Metric(Plugin, ABC):
    """Something measured on images: one array a column, and the results that compare ours with the baseline's.

    Nothing is loaded before the first `check` or `measure`.

    Attributes:
        higher_is_better: true where a larger column means better images.
        probability: true where a score is one, from 0 to 1.
        columns: the names of the arrays that `measure` returns.
        figures: the results that `compare` returns, in the order of a table's columns.
    """

    higher_is_better: ClassVar[bool]
    probability: ClassVar[bool] = False
    columns: tuple[str, ...]
    results: ClassVar[Mapping[str, ResultInfo]]

    def __init__(self, checkpoint: str | Path, device: str = "cpu", batch_size: int = 32) -> None:
        """Prepare a metric on one checkpoint.

        Args:
            checkpoint: a folder, or a name that the metric knows how to resolve.
            device: a torch device, e.g. ``cpu`` or ``cuda:0``.
            batch_size: images scored at once, at least 1; it does not change their scores.

        Raises:
            UserError: the batch size is below 1.
        """
        if batch_size < 1:
            raise UserError(f"the scoring batch size is {batch_size}", "give at least 1")
        self.checkpoint = str(checkpoint)
        self.device = device
        self.batch_size = batch_size

    def check(self, prompts: Sequence[str]) -> None:
        """Load the model, and refuse now, before images are made, whatever `measure` would refuse afterwards.

        Raises:
            UserError: the checkpoint cannot be loaded, or a prompt cannot be scored.
        """

    def release(self) -> None:
        """Let go of what `check` or `measure` loaded; whoever asks again has it loaded again."""
        for kind in type(self).__mro__:
            for name, value in vars(kind).items():
                if isinstance(value, cached_property):
                    vars(self).pop(name, None)

    @abstractmethod
    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return every column, its first axis the image.

        Args:
            images: picture files [N].
            prompts: the prompt that each is meant to show [N].

        Raises:
            UserError: a picture is missing or damaged (named), or as in `check`.
        """

    @abstractmethod
    def compare(
        self, baseline: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
    ) -> dict[str, Estimate | float | int]:
        """Return the results, named as in `figures`; those that too few images cannot give are left out.

        Args:
            baseline: columns of the baseline's images.
            ours: columns of our images of the same prompts, same order.
            same: bool [N]; prompts whose picture is the baseline's by construction.
            seed: of draws and resamples.

        Raises:
            UserError: the numbers of images differ.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return all that decides the scores, for the record: name, version, checkpoint, its hash, packages, settings.

        Raises:
            UserError: the checkpoint cannot be had.
        """

    def batches(self, n: int) -> Iterator[slice]:
        """Yield the slices that cut n images into batches."""
        return (slice(start, min(start + self.batch_size, n)) for start in range(0, n, self.batch_size))


def paired(column: str, baseline: Columns, ours: Columns, same: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a column of both sets, in which one picture has one score.

    Scored twice, in two batches, one picture's scores can differ in the last bit, and would win or lose against itself.

    Args:
        column: its name.
        baseline: columns of the baseline's images [N, ...].
        ours: columns of ours [N, ...].
        same: bool [N]; where true, our row is the baseline's.

    Raises:
        UserError: the numbers of images differ.

    Examples:
        >>> baseline, ours = {"vqa": [0.5, 0.7]}, {"vqa": [0.5000001, 0.9]}
        >>> paired("vqa", baseline, ours, same=np.array([True, False]))
        (array([0.5, 0.7]), array([0.5, 0.9]))
    """
    first, second, same = np.asarray(baseline[column]), np.asarray(ours[column]), np.asarray(same, dtype=bool)
    if not len(first) == len(second) == len(same):
        raise UserError(
            f"{len(second)} images are compared with {len(first)}, and {len(same)} flags say which are the same",
            "score both sets of the same prompts",
        )
    rows = same.reshape(-1, *[1] * (first.ndim - 1))  # a column may be embeddings [N, D]
    return first, np.where(rows, first, second)


def packages(*names: str) -> dict[str, str]:
    """Return installed versions by distribution name.

    Examples:
        >>> list(packages("numpy", "scipy"))
        ['numpy', 'scipy']
    """
    return {name: package_version(name) for name in names}


def metrics() -> dict[str, type[Metric]]:
    """Return every metric by name: those of this package and those of installed plug-ins.

    Examples:
        >>> sorted({"vqa", "clip_score", "clip_diversity", "structure_diversity"} & set(metrics()))
        ['clip_diversity', 'clip_score', 'structure_diversity', 'vqa']
    """
    return discover("metrics", Metric, GROUP)  # type: ignore[type-abstract]


def get_metric(name: str) -> type[Metric]:
    """Return the metric called `name`.

    Raises:
        UserError: there is none; the nearest name is in the hint.

    Examples:
        >>> get_metric("vqa").columns
        ('vqa', 'cut')
        >>> try:
        ...     get_metric("vqq")
        ... except UserError as error:
        ...     print(error.message, "-", error.hint)
        unknown metric 'vqq' - did you mean 'vqa'?
    """
    return find(name, "metrics", Metric, GROUP)  # type: ignore[type-abstract]
