"""The record of pictures beside the standard images they are compared with."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from generators.families.base import get_family
from metrics.flops import price
from sweeps.grid import Cell, Source
from sweeps.pictures import Generation
from sweeps.record import Figure, FlopFigures, PlanFigures, Record
from sweeps.references import Reference
from sweeps.scores import Scores
from sweeps.scoring import Scorers, figures

if TYPE_CHECKING:
    from generators.component import Component


@dataclass(frozen=True)
class Standard:
    """The standard images of a source: where they are, how they were made, what was measured of them.

    Attributes:
        kept: whether they were there.
    """

    folder: Path
    generation: Generation
    scores: Scores
    kept: bool


@dataclass(frozen=True)
class Pictures:
    """A cell's images: how they were made, and which of them are standard's own."""

    generation: Generation
    same: NDArray[np.bool_]


@dataclass(frozen=True)
class Kept:
    """What a record says of metrics that are not asked for now."""

    figures: dict[str, Figure] = field(default_factory=dict)
    scorers: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record, asked: Collection[str]) -> "Kept":
        scorers = {name: about for name, about in record.scorers.items() if name not in asked}
        figures = {name: figure for name, figure in record.figures.items() if name.partition(".")[0] in scorers}
        return cls(figures, scorers)


class Describer:
    """Writes the records of one source's cells.

    Args:
        source: whose.
        scorers: what measures.
        run: the run folder, to which a record's paths are relative.
    """

    def __init__(self, source: Source, scorers: Scorers, run: Path) -> None:
        self._source, self._scorers, self._run = source, scorers, run

    def record(
        self,
        cell: Cell | Reference,
        pictures: Pictures,
        plan: PlanFigures,
        standard: Standard,
        ours: Scores,
        known: Record | None,
    ) -> Record:
        """The record of pictures beside the standard images.

        Args:
            cell: whose pictures they are.
            pictures: how they were made.
            plan: what they cost.
            standard: the standard images.
            ours: what was measured of the pictures.
            known: a record of the same pictures, for metrics that are not asked for now.
        """
        kept = Kept.of(known, self._scorers.metrics) if known else Kept()
        generation, theirs = pictures.generation, standard.generation
        return Record(
            id=cell.id,
            status="done",
            asked=cell.asked,
            conditioned_on=get_family(self._source.entry.family).conditioned_on,
            control=isinstance(cell, Cell) and cell.strategy.control,
            identity=cell.identity,
            plan=plan,
            flops=self._flops(plan, generation.execution.skipped),
            figures={**figures(self._scorers, standard.scores, ours, pictures.same), **kept.figures},
            timings=generation.timings,
            standard_timings=theirs.timings,
            shared_seconds=bool(generation.execution.united or theirs.execution.united),
            joules=generation.joules,
            standard_joules=theirs.joules,
            execution=generation.execution,
            scorers={**self._scorers.described(ours.scorers), **kept.scorers},
            versions=generation.versions,
            machine=generation.machine,
            standard=self.relative(standard.folder),
        )

    def relative(self, folder: Path) -> str:
        """A folder of the run as records name it."""
        return folder.relative_to(self._run).as_posix()

    def _flops(self, plan: PlanFigures, skipped: Mapping[str, int]) -> FlopFigures:
        n = plan.n_prompts
        ours = price(self._components, n, plan.node_steps, n, skipped)
        standard = price(self._components, n, plan.standard_node_steps, n)
        return FlopFigures(
            components=ours.components,
            total=ours.total,
            standard_total=standard.total,
            savings=ours.savings(standard),
        )

    @cached_property
    def _components(self) -> "list[Component]":
        entry = self._source.entry
        return get_family(entry.family).components_of(entry, self._source.settings)
