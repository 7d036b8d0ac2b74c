"""What figures and tables are: one class a file, which shows a view of a run folder."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from common.files import sha256_text
from common.plugins import Plugin, discover
from metrics.parity import DELTA
from reports.labels import Label, label
from sweeps.record import Asked, Record, Role, load_records, run_title

if TYPE_CHECKING:
    from matplotlib import figure as mpl

    from reports.sheet import Sheet

T = TypeVar("T")
LONGEST = 80  # characters of a file name
REFERENCES: tuple[Role, ...] = ("fewer-steps", "another-seed")
# The axes that standard images do not depend on.
SHARING = ("strategy", "features", "schedule", "combiner", "denoiser_cache")


@dataclass(frozen=True)
class RunView:
    """A run folder's finished cells, or those of one series: cells that differ in tau alone.

    Attributes:
        path: the run folder.
        records: finished cells whose prompts share, ordered by the axes and then by tau.
        name: of a series, its values on the axes on which the run's series differ; of a whole run, empty.
        failed: cells that did not finish; a series has none.
        references: what the cells are held against besides standard images (`sweeps.references`).
        delta: how far below 1/2 a win rate may lie and still be called parity.
        title: what every table and figure says above all else; mostly nothing.
    """

    path: Path
    records: tuple[Record, ...]
    name: str = ""
    failed: tuple[Record, ...] = ()
    references: tuple[Record, ...] = ()
    delta: float = DELTA
    title: str = ""
    _made: dict[Callable[["RunView"], Any], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, path: Path, records: Sequence[Record] | None = None, delta: float = DELTA) -> "RunView":
        """The view of a run folder, of all its records unless some are given.

        Raises:
            UserError: the folder is no run, or a record in it is damaged.
        """
        found = load_records(path) if records is None else records
        done, failed = (tuple(each for each in found if each.status == status) for status in ("done", "failed"))
        sharing = tuple(record for record in done if record.role == "sharing")
        references = tuple(record for role in REFERENCES for record in done if record.role == role)
        title = run_title(Path(path))
        return cls(Path(path), sharing, failed=failed, references=references, delta=delta, title=title)

    def once(self, make: Callable[["RunView"], T]) -> T:
        """What `make` gives of this view, made once for all tables and figures that ask."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made

    @cached_property
    def series(self) -> "list[RunView]":
        """One view a series, in order."""
        axes = self.naming_axes()
        groups: dict[Asked, list[Record]] = {}
        for record in self.records:
            groups.setdefault(record.asked.model_copy(update={"tau": 0}), []).append(record)
        return [
            replace(
                self,
                records=tuple(group),
                name=series_name(asked, axes),
                failed=(),
                references=tuple(each for each in self.references if _source(each.asked) == _source(asked)),
            )
            for asked, group in groups.items()
        ]

    @property
    def remarks(self) -> list[str]:
        """What a reader must know before anything else: mostly nothing."""
        return []

    def naming_axes(self) -> list[str]:
        """The axes that name a series."""
        from reports.frame import varying_axes

        return varying_axes(self.records)

    def held_against(self, role: Role) -> list[Record]:
        """The references of this role."""
        return [record for record in self.references if record.role == role]

    def label(self, figure: str) -> Label:
        return label(figure, self.records)


class Figure(Plugin, ABC):
    """A picture of a run.

    Attributes:
        per_series: whether it is drawn once for every series, and not once for the run.
        of_records: whether it shows cells: one that does not is drawn of a run without any, too.
    """

    per_series: ClassVar[bool] = False
    of_records: ClassVar[bool] = True

    @abstractmethod
    def draw(self, run: RunView) -> "mpl.Figure | None":
        """The drawing, or None where this run has nothing to show; drawn inside `reports.style.theme`.

        Raises:
            UserError: a file of the run that it needs is missing or damaged.
        """


class Table(Plugin, ABC):
    """Numbers of a run.

    Attributes:
        rank: on the terminal, tables of a lower rank come first.
        printed: whether it is shown on the terminal; one that is not is a file alone.
    """

    rank: ClassVar[int] = 10
    printed: ClassVar[bool] = True

    @abstractmethod
    def sheet(self, run: RunView) -> "Sheet | None":
        """The table, or None where this run has nothing to say.

        Raises:
            UserError: a file of the run that it needs is missing or damaged.
        """


def _source(asked: Asked) -> Asked:
    """What standard images depend on."""
    return asked.model_copy(update={"tau": 0, **dict.fromkeys(SHARING, "")})


def series_name(asked: Asked, axes: Sequence[str]) -> str:
    """A cell's values on these axes: names as they are, numbers with their axis."""
    values = [(axis, getattr(asked, axis)) for axis in axes]
    return ", ".join(value if isinstance(value, str) else f"{axis} {value:g}" for axis, value in values)


def file_name(series: str) -> str:
    """Return a series' name as part of a file name; a hash stands for characters that a file name cannot hold."""
    plain = series.replace(", ", "--")
    safe = re.sub(r"[^\w.-]+", "-", plain)[:LONGEST]
    return safe if safe == plain else f"{safe}-{sha256_text(series)[:8]}"


def figures() -> dict[str, type[Figure]]:
    """Every figure by name: those of this package and those of installed plug-ins."""
    return discover("reports.figures", Figure, "reusebench.figures")  # type: ignore[type-abstract]


def tables() -> dict[str, type[Table]]:
    """Every table by name, in order of their ranks: those of this package and those of installed plug-ins."""
    found = discover("reports.tables", Table, "reusebench.tables")  # type: ignore[type-abstract]
    return dict(sorted(found.items(), key=lambda item: item[1].rank))
