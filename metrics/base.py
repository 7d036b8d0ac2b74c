"""What a metric is: arrays per image, then figures that compare two sets of images of the same prompts."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.plugins import Plugin, discover, find
from metrics.statistics import Estimate

GROUP = "reusebench.metrics"

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class FigureInfo:
    """How a figure is printed.

    Attributes:
        label: a table's heading.
        higher_is_better: None where neither way is.
        unit: ``fraction`` is 0 to 1 and printed in percent; the others are printed as they are.
    """

    label: str
    higher_is_better: bool | None
    unit: Literal["fraction", "score", "count"]


class Metric(Plugin, ABC):
    """Something measured on images: one array a column, and the figures that compare ours with standard's.

    Nothing is loaded before the first `check` or `measure`.

    Attributes:
        higher_is_better: whether a larger column means better images.
        columns: the names of the arrays that `measure` returns.
        figures: what `compare` returns, in the order of a table's columns.
    """

    higher_is_better: ClassVar[bool]
    columns: ClassVar[tuple[str, ...]]
    figures: ClassVar[Mapping[str, FigureInfo]]

    def __init__(self, checkpoint: str | Path, device: str = "cpu", batch_size: int = 32) -> None:
        """A metric on one checkpoint.

        Args:
            checkpoint: a folder, or a name that the metric knows how to resolve.
            device: a torch device, e.g. ``cpu`` or ``cuda:0``.
            batch_size: images scored at once; it does not change their scores.
        """
        if batch_size < 1:
            raise UserError(f"the scoring batch size is {batch_size}", "give at least 1")
        self.checkpoint = str(checkpoint)
        self.device = device
        self.batch_size = batch_size

    def check(self, prompts: Sequence[str]) -> None:
        """Load, and refuse before images are made what `measure` would refuse after.

        Raises:
            UserError: the checkpoint cannot be loaded, or a prompt cannot be scored.
        """

    @abstractmethod
    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Every column, its first axis the image.

        Args:
            images: picture files [N].
            prompts: what each is meant to show [N].

        Raises:
            UserError: a picture is missing or damaged (named), or as in `check`.
        """

    @abstractmethod
    def compare(
        self, standard: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
    ) -> dict[str, Estimate | float | int]:
        """The figures, named as in `figures`; those that too few images cannot give are left out.

        Args:
            standard: columns of the standard images.
            ours: columns of our images of the same prompts, same order.
            same: bool [N]; prompts whose picture is standard's by construction.
            seed: of draws and resamples.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What decides the scores, for the record: name, version, checkpoint and its hash, packages, settings."""

    def batches(self, n: int) -> Iterator[slice]:
        return (slice(start, min(start + self.batch_size, n)) for start in range(0, n, self.batch_size))


def paired(column: str, standard: Columns, ours: Columns, same: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A column of both sets, where one picture has one score: scored twice, it can differ in the last bit.

    Raises:
        UserError: the numbers of images differ.
    """
    first, second, same = np.asarray(standard[column]), np.asarray(ours[column]), np.asarray(same, dtype=bool)
    if not len(first) == len(second) == len(same):
        raise UserError(
            f"{len(second)} images are compared with {len(first)}, and {len(same)} flags say which are the same",
            "score both sets of the same prompts",
        )
    return first, np.where(same.reshape(-1, *[1] * (first.ndim - 1)), first, second)


def packages(*names: str) -> dict[str, str]:
    """Installed versions by distribution name."""
    return {name: package_version(name) for name in names}


def metrics() -> dict[str, type[Metric]]:
    """Every metric by name: those of this package and those of installed plug-ins."""
    return discover("metrics", Metric, GROUP)  # type: ignore[type-abstract]


def get_metric(name: str) -> type[Metric]:
    """The metric called `name`.

    Raises:
        UserError: there is none; the nearest name is in the hint.
    """
    return find(name, "metrics", Metric, GROUP)  # type: ignore[type-abstract]
