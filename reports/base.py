"""The base classes of figures and tables, one class a file, and the view of a run folder that they show."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from common.errors import UserError, nearest
from common.files import cut_to_bytes, sha256_text
from common.plugins import Plugin, discover
from metrics.parity import DELTA
from reports.labels import Label, label
from sweeps.audit_file import AUDIT, read_audits
from sweeps.record import EQUAL, CellConfig, Record, Role, RunRecords, damaged_files, read_run, run_setting, run_title
from sweeps.timeline import NAME as TIMELINE
from sweeps.timeline import read_timeline

if TYPE_CHECKING:
    from matplotlib import figure as mpl

    from reports.sheet import Sheet

T = TypeVar("T")
MOST_SENTENCES = 10  # on what is missing
LONGEST = 80  # bytes of a file name
REFERENCES: tuple[Role, ...] = (*EQUAL, "another-seed")
# Baseline images do not depend on these axes: one set of them serves every value.
SHARING = ("strategy", "features", "schedule", "combiner", "denoiser_cache")


@dataclass(frozen=True)
class RunView:
    """The finished cells of a run folder, or of one series: cells that differ in tau alone.

    Attributes:
        path: the run folder.
        records: finished cells of the sharing methods, ordered by the axes and then by tau.
        name: for a series, its values on the axes on which the run's series differ; empty for a whole run.
        failed: cells that did not finish; empty for a series.
        references: the seed controls and equal-compute baselines that cells are compared with, besides the baseline.
        delta: the non-inferiority margin: how far below 1/2 a win rate may lie and still count as parity.
        title: a line above every table and figure; mostly empty.
        missing: sentences on what the run was to have and has not, or not as it was written; empty for a series.
        labels: what models are called, by their names; those that it does not have are called by their names.
        columns: the headings of tables that are shown; of a table that has none of them all are.
    """

    path: Path
    records: tuple[Record, ...]
    name: str = ""
    failed: tuple[Record, ...] = ()
    references: tuple[Record, ...] = ()
    delta: float = DELTA
    title: str = ""
    missing: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    columns: Sequence[str] = ()
    _computed: dict[Callable[["RunView"], Any], Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(
        cls,
        path: Path,
        records: Sequence[Record] | None = None,
        delta: float = DELTA,
        indifference: float | None = None,
    ) -> "RunView":
        """Return the view of a run folder, of all its records unless some are given.

        Args:
            path: the run folder.
            records: its records, where they are read already.
            delta: the non-inferiority margin.
            indifference: half the width of every scorer's zone, in place of what the records say; 0 is the strict rule.

        Records that are damaged are left out, and `missing` names them, as it does files that are.

        Raises:
            UserError: the folder is no run folder.
        """
        from reports.paired_scores import with_zone  # takes pandas

        there = records is None or (Path(path) / "cells").is_dir()  # a study's folder need have no cells
        found = read_run(path) if there else RunRecords([])
        records = found.records if records is None else records
        if damaged := read_timeline(Path(path)).damaged:
            torn = [f"{Path(path) / TIMELINE} is damaged: what it says of {damaged} stages is left out"]
        else:
            torn = []
        try:
            audited = bool(read_audits(Path(path)))
            if not audited and _zones_are_floors(Path(path), records):
                torn.append(f"{Path(path) / AUDIT} is missing, which says what the scorers can be trusted to tell")
        except UserError as error:
            torn.append(str(error))
        missing = [*torn, *found.damaged, *_few(found.missing), *_few(damaged_files(Path(path), records))]
        loaded = with_zone(records, indifference)
        done, failed = (tuple(record for record in loaded if record.status == status) for status in ("done", "failed"))
        sharing_records = tuple(record for record in done if record.role == "sharing")
        references = tuple(record for role in REFERENCES for record in done if record.role == role)
        title = run_title(Path(path))
        return cls(
            Path(path),
            sharing_records,
            failed=failed,
            references=references,
            delta=delta,
            title=title,
            missing=tuple(missing),
        )

    def once(self, compute: Callable[["RunView"], T]) -> T:
        """Return `compute(self)`, computed once for all tables and figures that ask."""
        if compute not in self._computed:
            self._computed[compute] = compute(self)
        value: T = self._computed[compute]
        return value

    @cached_property
    def series(self) -> "list[RunView]":
        """One view for each series, in order."""
        axes = self.naming_axes()
        groups: dict[CellConfig, list[Record]] = {}
        for record in self.records:
            groups.setdefault(record.config.model_copy(update={"tau": 0}), []).append(record)
        return [
            replace(
                self,
                records=tuple(group),
                name=series_name(asked, axes),
                failed=(),
                missing=(),
                references=tuple(record for record in self.references if _source(record.config) == _source(asked)),
            )
            for asked, group in groups.items()
        ]

    def shown(self, labels: Mapping[str, str], columns: Sequence[str] = ()) -> Self:
        """Return the view with models called by these labels, and these columns of tables alone.

        Raises:
            UserError: a label is of no model, or two models would have one name.
        """
        models = {record.config.model for record in (*self.records, *self.failed, *self.references)}
        if unknown := [name for name in labels if name not in models]:
            raise UserError(f"no model of this run is called {unknown[0]!r}", nearest(unknown[0], models))
        if len({labels.get(model, model) for model in models}) < len(models):
            raise UserError("two models would have one name", "give each a label of its own")
        return self._called(labels, columns)

    def _called(self, labels: Mapping[str, str], columns: Sequence[str]) -> Self:
        records, failed, references = (
            tuple(_called(record, labels) for record in kind) for kind in (self.records, self.failed, self.references)
        )
        return replace(
            self, records=records, failed=failed, references=references, labels=labels, columns=tuple(columns)
        )

    @property
    def remarks(self) -> list[str]:
        """Sentences that a reader must see first; mostly none."""
        return list(self.missing)

    def naming_axes(self) -> list[str]:
        """Return the axes that name a series."""
        from reports.frame import varying_axes

        return varying_axes(self.records)

    def held_against(self, role: Role) -> list[Record]:
        """Return the references of one role."""
        return [record for record in self.references if record.role == role]

    def label(self, figure: str) -> Label:
        return label(figure, self.records)


class Figure(Plugin, ABC):
    """A picture of a run.

    Attributes:
        per_series: whether it is drawn once for every series instead of once for the run.
        of_records: whether it shows cells; if not, it is drawn for a run without cells too.
    """

    per_series: ClassVar[bool] = False
    of_records: ClassVar[bool] = True

    @abstractmethod
    def draw(self, run: RunView) -> "mpl.Figure | None":
        """Return the drawing, or None where this run has nothing to show; called inside `reports.style.theme`.

        Raises:
            UserError: a file that it needs from the run is missing or damaged.
        """


class Table(Plugin, ABC):
    """A table of a run's numbers.

    Attributes:
        rank: tables of a lower rank come first on the terminal.
        printed: whether the terminal shows it; if not, it is only written to files.
    """

    rank: ClassVar[int] = 10
    printed: ClassVar[bool] = True

    @abstractmethod
    def sheet(self, run: RunView) -> "Sheet | None":
        """Return the table, or None where this run has nothing to show.

        Raises:
            UserError: a file that it needs from the run is missing or damaged.
        """


def _zones_are_floors(run: Path, records: Sequence[Record]) -> bool:
    """Return True where zones of indifference were measured, and not given."""
    zones = (about for one in records if one.picture_sets for about in one.scorers.values() if "indifference" in about)
    return any(zones) and run_setting(run, "indifference") is None


def _few(sentences: Sequence[str]) -> list[str]:
    """Return the first sentences, and one that counts the others."""
    more = len(sentences) - MOST_SENTENCES
    return [*sentences[:MOST_SENTENCES], *([f"and so are {more} more"] if more > 0 else [])]


def _called(record: Record, labels: Mapping[str, str]) -> Record:
    """Return a record whose model is called by its label, if it has one."""
    model = labels.get(record.config.model, record.config.model)
    return record.model_copy(update={"config": record.config.model_copy(update={"model": model})})


def _source(asked: CellConfig) -> CellConfig:
    """Return the cell's place on those axes alone that baseline images depend on."""
    return asked.model_copy(update={"tau": 0, **dict.fromkeys(SHARING, "")})


def series_name(asked: CellConfig, axes: Sequence[str]) -> str:
    """Return a cell's values on these axes as text: names as they are, numbers with their axis."""
    values = [(axis, getattr(asked, axis)) for axis in axes]
    return ", ".join(value if isinstance(value, str) else f"{axis} {value:g}" for axis, value in values)


def file_name(series: str) -> str:
    """Return a series' name as part of a file name; a hash stands for characters that a file name cannot hold."""
    plain = series.replace(", ", "--")
    safe = cut_to_bytes(re.sub(r"[^\w.-]+", "-", plain), LONGEST)
    return safe if safe == plain else f"{safe}-{sha256_text(series)[:8]}"


def figures() -> dict[str, type[Figure]]:
    """Return every figure by name: those of this package and those of installed plug-ins."""
    return discover("reports.figures", Figure, "reusebench.figures")  # type: ignore[type-abstract]


def tables() -> dict[str, type[Table]]:
    """Return every table by name, ordered by rank: those of this package and those of installed plug-ins."""
    discovered = discover("reports.tables", Table, "reusebench.tables")  # type: ignore[type-abstract]
    return dict(sorted(discovered.items(), key=lambda item: item[1].rank))
