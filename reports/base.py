"""What a figure is: one class a file, which draws a view of a run folder."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from common.plugins import Plugin, discover
from reports.labels import Label, label
from sweeps.record import Asked, Record, load_records

if TYPE_CHECKING:
    from matplotlib import figure as mpl

GROUP = "reusebench.figures"


@dataclass(frozen=True)
class RunView:
    """A run folder's finished cells, or those of one series: cells that differ in tau alone.

    Attributes:
        path: the run folder.
        records: finished cells, ordered by the axes and then by tau.
        name: of a series, its values on the axes on which the run's series differ; of a whole run, empty.
    """

    path: Path
    records: tuple[Record, ...]
    name: str = ""

    @classmethod
    def of(cls, path: Path, records: Sequence[Record] | None = None) -> "RunView":
        """The view of a run folder, of all its records unless some are given.

        Raises:
            UserError: the folder is no run, or a record in it is damaged.
        """
        found = load_records(path) if records is None else records
        return cls(Path(path), tuple(record for record in found if record.status == "done"))

    @cached_property
    def series(self) -> "list[RunView]":
        """One view a series, in order."""
        from reports.frame import varying_axes

        axes = varying_axes(self.records)
        groups: dict[Asked, list[Record]] = {}
        for record in self.records:
            groups.setdefault(record.asked.model_copy(update={"tau": 0}), []).append(record)
        return [RunView(self.path, tuple(group), series_name(asked, axes)) for asked, group in groups.items()]

    def label(self, figure: str) -> Label:
        return label(figure, self.records)


class Figure(Plugin, ABC):
    """A picture of a run.

    Attributes:
        per_series: whether it is drawn once for every series, and not once for the run.
    """

    per_series: ClassVar[bool] = False

    @abstractmethod
    def draw(self, run: RunView) -> "mpl.Figure | None":
        """The drawing, or None where this run has nothing to show; drawn inside `reports.style.theme`.

        Raises:
            UserError: a file of the run that it needs is missing or damaged.
        """


def series_name(asked: Asked, axes: Sequence[str]) -> str:
    """A cell's values on these axes: names as they are, numbers with their axis."""
    values = [(axis, getattr(asked, axis)) for axis in axes]
    return ", ".join(value if isinstance(value, str) else f"{axis} {value:g}" for axis, value in values)


def figures() -> dict[str, type[Figure]]:
    """Every figure by name: those of this package and those of installed plug-ins."""
    return discover("reports.figures", Figure, GROUP)  # type: ignore[type-abstract]
