"""The cells of one source: one conditioning, one set of standard images, and a record for each."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError
from generators.sharing.parting import drawn
from generators.sharing.plan import Grouping, SharingPlan, build_plan, standard_plan
from generators.sharing.tree import Tree
from sweeps.described import Describer, Pictures, Standard
from sweeps.events import Emit, Note
from sweeps.executors.base import Executor, Work
from sweeps.executors.local import Local
from sweeps.families import Families
from sweeps.grid import Cell, Source, sampler_of
from sweeps.machine import versions
from sweeps.making import Maker, write_prompts
from sweeps.pictures import MANIFEST, Generation, clear, read_generation
from sweeps.record import ExecutionFigures, PlanFigures, Record
from sweeps.references import AnotherSeed, Reference
from sweeps.scoring import Scorers, score_folder
from sweeps.store import Store

if TYPE_CHECKING:
    from generators.batch_search import Asked
    from generators.settings import GenerationSettings
    from sweeps.unions import Pending

PLAN, TREE = "plan.npz", "tree.npz"


@dataclass(frozen=True)
class Context:
    """What all sources of a sweep share."""

    store: Store
    families: Families
    scorers: dict[str, Scorers]  # by model
    device: str
    batch_size: "Asked | None"
    emit: Emit
    rescore: bool
    executor: Executor = field(default_factory=Local)
    isolate: bool = False
    save_every: float | None = None
    runs: "dict[str, SourceRun]" = field(default_factory=dict)  # by source, of those that are under way

    def run(self, source: Source) -> "SourceRun":
        """The run of a source, the same as long as it is under way."""
        if source.key not in self.runs:
            self.runs[source.key] = SourceRun(self, source)
        return self.runs[source.key]

    @property
    def together(self) -> bool:
        """Whether sets of pictures are denoised as one where they can be."""
        return self.executor.together and not self.isolate and not self.rescore


class SourceRun:
    """The cells of one source; the model and the scorers are loaded when something has to be made or measured."""

    def __init__(self, context: Context, source: Source) -> None:
        self.context, self.source = context, source
        self.store, self.emit = context.store, context.emit
        self.scorers = context.scorers[source.entry.name]
        self.maker = Maker(
            source,
            context.families,
            context.batch_size,
            context.emit,
            context.executor,
            isolate=context.isolate,
            save_every=context.save_every,
        )
        self.prompts = source.prompts.prompts
        self._describer = Describer(source, self.scorers, self.store.folder)
        self._standard: Standard | Exception | None = None
        self._generation: Generation | None = None
        self._new = False  # whether standard's pictures were made by this run
        self._promised = False  # whether they are to be made together with others
        self._flagged: set[str] = set()
        self._begun: dict[str, Work | None] = {}

    def pending(self, cells: Iterable[Cell | Reference]) -> "Iterator[Pending]":
        """What of these cells' pictures, and of standard's before them, can be denoised with others' and is not there.

        What cannot be begun comes again, and is told, when it is a cell's turn.
        """
        from sweeps.unions import Pending

        if self.source.settings.noise == "official":  # one stream of noise is drawn by one plan
            return
        with suppress(Exception):
            folder = self._standard_folder
            if self._standard_pictures() is None and not self._promised:
                self._promised = True
                plan = self._begin_standard()
                timings = self.maker.timings()
                yield Pending(self.maker, plan, folder, partial(self._standard_made, plan, timings))
            for cell in cells:
                if isinstance(cell, AnotherSeed):
                    yield from self.context.run(cell.seeded).pending([])
                elif isinstance(cell, Cell) and not cell.denoiser_cache and not self._begun_before(cell):
                    with suppress(Exception):
                        yield self._pending(cell)

    def _begun_before(self, cell: Cell) -> bool:
        return (self.store.cell(cell.id) / MANIFEST).exists()

    def _pending(self, cell: Cell) -> "Pending":
        from sweeps.unions import Pending

        plan = self._begin(cell)
        timings, folder = self.maker.timings(), self.store.cell(cell.id)

        def done(execution: ExecutionFigures, seconds: dict[str, float]) -> None:
            if self._generation is None:
                raise UserError("its standard images could not be made", "see why")
            beside = self._standard_folder, self._generation
            self.maker.completed(plan, folder, execution, {**timings, **seconds}, beside)

        return Pending(self.maker, self.maker.wanted(plan, reuse=True), folder, done)

    def ahead(self, cells: Iterable[Cell | Reference]) -> None:
        """Begin these cells' pictures where they are made, unless they are there, or cannot be begun."""
        for cell in cells:
            if isinstance(cell, Reference) or cell.id in self._begun or self.context.rescore:
                continue
            if self._begun_before(cell):
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
            known, pictures = None, self._make(cell, standard)
        return self._scored(cell, pictures, standard, known), False

    def _reference(self, reference: Reference) -> tuple[Record, bool]:
        """Other settings' standard images, made where they are not there, beside this source's."""
        standard, known = self.standard(), self.store.done(reference.id, self._damaged)
        other = self._other(reference)
        made = self.context.run(other).standard()
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
        pictures = Pictures(made.generation, same)
        return self._describer.record(reference, pictures, steps, standard, made.scores, known).model_copy(
            update={"role": reference.role, "images": self._describer.relative(made.folder)}
        ), False

    def _other(self, reference: Reference) -> Source:
        """The source whose standard images it is about."""
        return reference.other(lambda: self._node_steps(reference.cell), self._evaluations)

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
        """Scorers refuse prompts before images are made, here and in `_begin`."""
        folder, generation = self._standard_folder, self._standard_pictures()
        if generation is None:
            plan = self._begin_standard()
            self._generation = generation = self.maker.make(plan, folder)
            self._new = True
        write_prompts(folder, self.prompts)
        scores = score_folder(folder, generation, self.prompts, self.scorers, self.emit, again=self.context.rescore)
        self._flag_scorers(scores.scorers)
        return Standard(folder, generation, scores, not self._new)

    def _standard_pictures(self) -> Generation | None:
        """How standard's pictures were made, if they are there and whole."""
        if self._generation is None:
            self._generation = read_generation(self._standard_folder, self._damaged)
            if self._generation:
                self._flag("pictures", self._generation.versions, versions())
        return self._generation

    def _begin_standard(self) -> SharingPlan:
        self.scorers.check(self.prompts)
        self.maker.conditioning(self._encoded)
        clear(self._standard_folder)
        return standard_plan(len(self.prompts), self.source.steps)

    def _standard_made(
        self, plan: SharingPlan, timings: dict[str, float], execution: ExecutionFigures, seconds: dict[str, float]
    ) -> None:
        folder = self._standard_folder
        self._generation = self.maker.completed(plan, folder, execution, {**timings, **seconds})
        self._new = True

    def _begin(self, cell: Cell) -> SharingPlan:
        """The cell's folder with its plan, and no pictures."""
        self.scorers.check(self.prompts)
        self.maker.timings()  # of what came to nothing
        self.store.forget(cell.id)
        folder = self.store.cell(cell.id)
        grouping, plan = self._plan(cell)
        clear(folder)  # first, or a kill would leave pictures with another plan
        drawn(grouping, plan).save(folder / TREE)
        plan.save(folder / PLAN)
        return plan

    def _make(self, cell: Cell, standard: Standard) -> Pictures:
        plan = self._begin(cell)
        work = self._begun.pop(cell.id, None)
        beside = standard.folder, standard.generation
        generation = self.maker.make(plan, self.store.cell(cell.id), beside, work, cell.denoiser_cache)
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
        made = self._describer.record(cell, pictures, pictures.generation.plan, standard, ours, known)
        return made.model_copy(update={"timings": {**made.timings, **scoring}})

    @property
    def _standard_folder(self) -> Path:
        return self.store.shared(self.source.key)

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
