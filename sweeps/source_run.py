"""The cells of one source: one conditioning, one set of standard images, and a record for each."""

import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from generators.families.base import get_family
from generators.sharing.plan import SharingPlan, build_plan, standard_plan
from generators.sharing.planner import Grouping, drawn
from generators.sharing.tree import Tree
from metrics.flops import price
from sweeps.events import Emit, Note
from sweeps.executors.base import Executor, Work
from sweeps.executors.local import Local
from sweeps.grid import Cell, Source, sampler_of
from sweeps.machine import versions
from sweeps.making import Families, Maker, write_prompts
from sweeps.pictures import MANIFEST, Generation, clear, read_generation
from sweeps.record import Figure, FlopFigures, PlanFigures, Record
from sweeps.references import Reference
from sweeps.scores import Scores
from sweeps.scoring import Scorers, figures, score_folder
from sweeps.store import Store

if TYPE_CHECKING:
    from generators.component import Component
    from generators.settings import GenerationSettings

BATCH_SIZE = 32
PLAN, TREE = "plan.npz", "tree.npz"


@dataclass(frozen=True)
class Context:
    """What all sources of a sweep share."""

    store: Store
    families: Families
    scorers: dict[str, Scorers]  # by model
    device: str
    batch_size: int
    emit: Emit
    rescore: bool
    executor: Executor = field(default_factory=Local)


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


class SourceRun:
    """The cells of one source; the model and the scorers are loaded when something has to be made or measured."""

    def __init__(self, context: Context, source: Source) -> None:
        self.context, self.source = context, source
        self.store, self.emit = context.store, context.emit
        self.scorers = context.scorers[source.entry.name]
        self.maker = Maker(source, context.families, context.batch_size, context.emit, context.executor)
        self.prompts = source.prompts.prompts
        self._standard: Standard | Exception | None = None
        self._flagged: set[str] = set()
        self._begun: dict[str, Work | None] = {}

    def ahead(self, cells: Iterable[Cell | Reference]) -> None:
        """Begin these cells' pictures where they are made, unless they are there, or cannot be begun."""
        for cell in cells:
            if isinstance(cell, Reference) or cell.id in self._begun or self.context.rescore:
                continue
            if (self.store.cell(cell.id) / MANIFEST).exists():
                continue
            with suppress(Exception):  # it will come again, and be told, when it is this cell's turn
                self.standard()
                self._begun[cell.id] = self.maker.begin(self._plan(cell)[1], reuse=True, cache=cell.denoiser_cache)

    def record(self, cell: Cell | Reference) -> tuple[Record, bool]:
        """The cell's record, and whether it was there already with everything it describes whole."""
        return self._reference(cell) if isinstance(cell, Reference) else self._cell(cell)

    def _cell(self, cell: Cell) -> tuple[Record, bool]:
        standard = self.standard()
        known = self.store.done(cell.id, self._damaged)
        pictures = self._whole(cell, standard)
        if known and pictures and not self.context.rescore and self.scorers.measured(known.scorers):
            self._flag_scorers(known.scorers)
            return known, True
        if pictures is None:
            self.store.forget(cell.id)
            known, pictures = None, self._make(cell, standard)
        return self._scored(cell, pictures, standard, known), False

    def _reference(self, reference: Reference) -> tuple[Record, bool]:
        """Other settings' standard images, made where they are not there, beside this source's."""
        standard, known = self.standard(), self.store.done(reference.id, self._damaged)
        other = reference.other(lambda: self._node_steps(reference.cell), self._evaluations)
        made = SourceRun(self.context, other).standard()
        untouched = standard.kept and made.kept and not self.context.rescore
        if known and untouched and self.scorers.measured(known.scorers):
            return known, True
        n, images = len(self.prompts), made.generation.images
        same = np.array([standard.generation.images[name] == picture for name, picture in images.items()])
        steps = PlanFigures(
            n_prompts=n,
            steps_requested=other.settings.steps,
            K=other.steps,
            node_steps=n * other.steps,
            standard_node_steps=n * self.source.steps,
            savings=1 - other.steps / self.source.steps,
        )
        return self._described(reference, made.generation, steps, standard, made.scores, same, known).model_copy(
            update={"role": reference.role, "images": self._relative(made.folder)}
        ), False

    def _node_steps(self, cell: Cell) -> int:
        record = self.store.done(cell.id)
        if record is None or record.plan is None:
            raise UserError(f"its compute is that of cell {cell.id}, which has none", "see why that cell failed")
        return record.plan.node_steps

    def _evaluations(self, settings: "GenerationSettings") -> int:
        return sampler_of(self.source.entry, settings, self.context.device).K

    def standard(self) -> Standard:
        """The standard images; where they cannot be had, every cell fails for the same reason."""
        if self._standard is None:
            try:
                self._standard = self._make_standard()
            except Exception as error:
                self._standard = error
        if isinstance(self._standard, Exception):
            raise self._standard
        return self._standard

    def _make_standard(self) -> Standard:
        """Scorers refuse prompts before images are made, here and in `_make`."""
        folder = self.store.shared(self.source.key)
        generation = read_generation(folder, self._damaged)
        kept = generation is not None
        if generation is None:
            self.scorers.check(self.prompts)
            self.maker.conditioning(self._encoded)
            generation = self.maker.make(standard_plan(len(self.prompts), self.source.steps), folder)
        else:
            self._flag("pictures", generation.versions, versions())
        write_prompts(folder, self.prompts)
        scores = score_folder(folder, generation, self.prompts, self.scorers, self.emit, again=self.context.rescore)
        self._flag_scorers(scores.scorers)
        return Standard(folder, generation, scores, kept)

    def _make(self, cell: Cell, standard: Standard) -> Pictures:
        self.scorers.check(self.prompts)
        self.maker.forget_timings()
        folder = self.store.cell(cell.id)
        grouping, plan = self._plan(cell)
        clear(folder)  # first, or a kill would leave pictures with another plan
        drawn(grouping, plan).save(folder / TREE)
        plan.save(folder / PLAN)
        work = self._begun.pop(cell.id, None)
        beside = standard.folder, standard.generation
        generation = self.maker.make(plan, folder, beside, work, grouping.probe_rows, cell.denoiser_cache)
        return Pictures(generation, self.maker.reusable(plan, cell.denoiser_cache))

    def _plan(self, cell: Cell) -> tuple[Grouping, SharingPlan]:
        self.maker.conditioning(self._encoded)
        grouping = self.maker.grouping(cell.strategy, cell.asked.features)
        with self.maker.stage("plan", 1):
            plan = build_plan(grouping, cell.schedule, float(cell.asked.tau), self.source.steps, cell.asked.combiner)
        return grouping, plan

    def _whole(self, cell: Cell, standard: Standard) -> Pictures | None:
        """The cell's pictures if they are complete, undamaged, and beside the standard images of now."""
        folder = self.store.cell(cell.id)
        generation = read_generation(folder, self._damaged)
        if generation is None:
            return None
        if generation.standard != standard.generation.hash:
            self._damaged(f"the standard images of cell {cell.id} were made anew")
            return None
        try:
            Tree.load(folder / TREE)
            plan = SharingPlan.load(folder / PLAN)
        except UserError as error:
            self._damaged(error.message)
            return None
        self._flag("pictures", generation.versions, versions())
        return Pictures(generation, self.maker.reusable(plan, cell.denoiser_cache))

    def _scored(self, cell: Cell, pictures: Pictures, standard: Standard, known: Record | None) -> Record:
        """The record, with what a `known` one of the same pictures says of metrics that are not asked for now."""
        start = time.perf_counter()
        ours = score_folder(
            self.store.cell(cell.id),
            pictures.generation,
            self.prompts,
            self.scorers,
            self.emit,
            standard=(standard.scores, pictures.same),
            again=self.context.rescore,
        )
        self._flag_scorers(ours.scorers)
        scoring = {"score": time.perf_counter() - start}
        made = self._described(
            cell, pictures.generation, pictures.generation.plan, standard, ours, pictures.same, known
        )
        return made.model_copy(update={"timings": {**made.timings, **scoring}})

    def _described(
        self,
        cell: Cell | Reference,
        generation: Generation,
        plan: PlanFigures,
        standard: Standard,
        ours: Scores,
        same: NDArray[np.bool_],
        known: Record | None,
    ) -> Record:
        """The record of pictures beside the standard images.

        Args:
            cell: whose pictures they are.
            generation: how they were made.
            plan: what they cost.
            standard: the standard images.
            ours: what was measured of the pictures.
            same: which of them are standard's own.
            known: a record of the same pictures, for metrics that are not asked for now.
        """
        kept = Kept.of(known, self.scorers.metrics) if known else Kept()
        return Record(
            id=cell.id,
            status="done",
            asked=cell.asked,
            conditioned_on=get_family(self.source.entry.family).conditioned_on,
            control=isinstance(cell, Cell) and cell.strategy.control,
            identity=cell.identity,
            plan=plan,
            flops=self._flops(plan, generation.execution.skipped),
            figures={**figures(self.scorers, standard.scores, ours, same), **kept.figures},
            timings=generation.timings,
            standard_timings=standard.generation.timings,
            joules=generation.joules,
            standard_joules=standard.generation.joules,
            execution=generation.execution,
            scorers={**self.scorers.described(ours.scorers), **kept.scorers},
            versions=generation.versions,
            machine=generation.machine,
            standard=self._relative(standard.folder),
        )

    def _relative(self, folder: Path) -> str:
        return folder.relative_to(self.store.folder).as_posix()

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
        entry = self.source.entry
        return get_family(entry.family).components_of(entry, self.source.settings)

    @property
    def _encoded(self) -> Path:
        return self.store.shared(self.source.conditioning_key)

    def _damaged(self, what: str) -> None:
        self.emit(Note(f"{what}: made again"))

    def _flag_scorers(self, scorers: Mapping[str, Mapping[str, Any]]) -> None:
        for name, identity in self.scorers.identities.items():
            self._flag("scores", scorers[name].get("packages", {}), identity.get("packages", {}))

    def _flag(self, what: str, then: Mapping[str, str], now: Mapping[str, str]) -> None:
        """Library versions are no part of an identity: where they changed, one note says so."""
        changed = [
            f"{name} {version} (now {now.get(name)})" for name, version in then.items() if now.get(name) != version
        ]
        text = f"{what} that are kept were made with {', '.join(changed)}"
        if changed and text not in self._flagged:
            self._flagged.add(text)
            self.emit(Note(text))
