"""The first pass: from a spec to the jobs of a run folder. Prompts are encoded and clustered; no picture is made."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import NoRoomError, NotHereError, UserError, without_frames
from common.files import atomic_path, path_beside, sha256_file, unwritable
from common.plugins import no_exit
from generators.sharing.evaluations import Evaluations
from generators.sharing.parting import drawn
from generators.sharing.plan import Grouping, SharingPlan, baseline_plan, build_plan
from generators.sharing.savings import tau_near_savings
from generators.sharing.tree import Tree
from generators.sharing.union import grouped_by_combiner, union
from generators.strategies.base import get_strategy, refuse_too_large
from metrics.duplicates import repeats
from sweeps.axes import canonical
from sweeps.cost import Cost, components, cost
from sweeps.events import Note
from sweeps.grid import Cell, Source, cells, sampler_of
from sweeps.jobs import Job
from sweeps.pictures import MANIFEST, PLAN, TREE, clear, load_manifest
from sweeps.record import NEAR, check_file
from sweeps.references import EVERY_KIND, EqualCompute, FewerSteps, Reference, equal_compute, seed_control
from sweeps.scorers import Absent, Scorers
from sweeps.scores import scorers_of
from sweeps.session import Session
from sweeps.spec import RENOISE, SweepSpec
from sweeps.store import refuse_another, refuse_others


@dataclass(frozen=True, eq=False)
class Plan:
    """The jobs of a run folder.

    Attributes:
        jobs: those that a record will describe, in the order of the grid; those of one source together.
    """

    spec: SweepSpec
    run: Path
    jobs: tuple[Job, ...]

    @cached_property
    def picture_sets(self) -> list[Job]:
        """Return a job for every folder of pictures, baselines before what is compared with them."""
        by_folder: dict[Path, Job] = {}
        for job in self.jobs:
            if job.baseline:
                by_folder.setdefault(job.baseline.folder, job.baseline)
            by_folder.setdefault(job.folder, job)
        return list(by_folder.values())

    def costs(self, session: Session) -> list[tuple[Job, Cost]]:
        """Return what each job costs by itself, in denoiser evaluations and FLOPs.

        Raises:
            Exception: what kept a job from being planned.
        """
        priced = []
        if any(job.cache for job in self.jobs):
            session.note("a denoiser cache decides as it runs what it skips: costs are without it")
        for job in self.jobs:
            if job.error:
                raise job.error
            made, alone = job.evaluations(reuse=bool(self.spec.reuse_unconditional)), job.baseline_evaluations
            priced.append((job, cost(components(job.source), len(job.source.prompts), made, alone)))
        return priced

    def united(self) -> tuple[int, int]:
        """Return the node-steps of all pictures that can be denoised together: one by one, and together.

        Those that are the baseline's are not denoised again.
        """
        totals = list(united(self.picture_sets).values())
        return sum(alone.node_steps for alone, _ in totals), sum(together.node_steps for _, together in totals)

    def spent(self, *, whole: bool = False) -> dict[str, int]:
        """Return by model the node-steps that the run takes to make every picture: what is denoised together once.

        Args:
            whole: of all prompts, where only a sample's pictures are made.
        """
        models = dict.fromkeys(job.source.entry.name for job in self.picture_sets)
        return {model: self.evaluated(model, whole=whole).node_steps for model in models}

    def evaluated(self, model: str, *, whole: bool = False) -> Evaluations:
        """Return what the run has a model's denoiser evaluate; arguments as for `spent`."""
        reuse = bool(self.spec.reuse_unconditional)
        own = [job for job in self.picture_sets if job.source.entry.name == model and job.plan]
        alone = [job for job in own if self.spec.alone or job.alone]
        by_itself = [
            job.evaluations(reuse=reuse, plan=job.plan if whole else job.needed(isolate=self.spec.alone))
            for job in alone
        ]
        together = united([job for job in own if job not in alone], whole=whole, reuse=reuse).values()
        return sum([*by_itself, *(made for _, made in together)], Evaluations())


def united(
    picture_sets: Sequence[Job], *, whole: bool = False, reuse: bool = False
) -> dict[str, tuple[Evaluations, Evaluations]]:
    """Return by source what its sets of pictures that can be denoised together take: one by one, and together.

    Args:
        picture_sets: a job a folder, baselines before what is compared with them.
        whole: of all prompts, where only a sample's pictures are made.
        reuse: whether siblings' unconditional rows are evaluated once.
    """
    by_source: dict[str, list[Job]] = {}
    for job in picture_sets:
        if job.plan and (not job.alone or job.role == "baseline"):
            by_source.setdefault(job.source.key, []).append(job)

    def taken(jobs: Sequence[Job], plans: Iterable[SharingPlan]) -> Evaluations:
        return sum((jobs[0].evaluations(reuse=reuse, plan=plan) for plan in plans), Evaluations())

    found = {}
    for key, jobs in by_source.items():
        plans = [plan for job in jobs if (plan := job.plan if whole else job.needed(isolate=False))]
        groups = grouped_by_combiner(plans, lambda plan: plan)
        found[key] = taken(jobs, plans), taken(jobs, (union(group).plan for group in groups))
    return found


def check(
    spec: SweepSpec, run: Path, device: str, absent: Absent | None = None
) -> tuple[list[Cell], dict[str, Scorers]]:
    """Refuse before anything is loaded what would stop a sweep later.

    `absent` hears of scorers that cannot run on this machine now, for a plan that nothing is scored by.

    Returns:
        The cells, as `sweeps.grid.cells` gives them; and, by model, its scorers, whose checkpoints are here.

    Raises:
        UserError: a name, a value, a prompt or a model is refused, the folder is another sweep's, a metric cannot
            run, or clustering needs more memory than is free.
        OSError: the folder cannot be written.
    """
    shared = cells(spec, device)
    entries = {cell.source.entry.name: cell.source.entry for cell in shared}
    scorers = {name: Scorers(entry, spec.metric, device, absent=absent) for name, entry in entries.items()}
    for model_scorers in scorers.values():
        _ = model_scorers.identities  # hashes checkpoints, so that one which cannot be had is refused now
    refuse_another(run, spec)
    for cell in shared:
        if not (run / "cells" / cell.id / MANIFEST).exists():  # of one that is there, its tree is read
            refuse_too_large(cell.strategy, len(cell.source.prompts) // cell.source.prompts.per_prompt)
            if cell.source.settings.noise == "official":  # drawn in the order of that tree
                refuse_too_large(get_strategy("ward-cosine"), len(cell.source.prompts))
    probe = path_beside(next(place for place in (run, *run.parents) if place.exists()) / "probe")
    probe.mkdir(exist_ok=True)  # only to see that the folder can be written
    probe.rmdir()
    return shared, scorers


def plan_sweep(
    spec: SweepSpec,
    shared: Sequence[Cell],
    run: Path,
    session: Session,
    *,
    scorers: Mapping[str, Scorers] | None = None,
    keep: bool = True,
) -> Plan:
    """Return the jobs of a sweep: its cells, and the references that they are held against besides their baselines.

    A cell whose pictures are there has its plan read from its folder; of the others prompts are encoded and clustered,
    once a way to share. What cannot be planned is a job with an error.

    Args:
        shared: as `check` gives them.
        run: the run folder, held by this process unless nothing is kept.
        scorers: by model, what will measure the pictures: prompts that it refuses are refused here.
        keep: write conditioning, trees and plans into the run folder.

    Raises:
        UserError: no way to share comes near the savings targets, the scorers refuse prompts of every set, or the
            folder has cells of another sweep.
    """
    for note in dict.fromkeys(note for cell in shared for note in cell.source.notes):
        session.note(note)
    planning = _Planning(spec, run, session, scorers or {}, keep)
    planning.check_prompts([cell.source for cell in shared])
    if spec.savings:
        shared = planning.at_savings(shared)
    _refuse_others(run, shared)
    for source in {cell.source.prompts.name: cell.source for cell in shared}.values():
        if source.sample:
            session.note(f"{source.prompts.name}: pictures of {source.sample.text}; plans are of all of them")
    return Plan(spec, run, tuple(planning.jobs(shared)))


def plan_pictures(cell: Cell, folder: Path, session: Session, *, keep: bool = True) -> Job:
    """Return the job of one cell by itself, without a baseline, in a folder of its own, with its plan and tree.

    Args:
        cell: what is to be made.
        folder: where; nothing is written there unless `keep`.
        session: the device and the model.
        keep: write conditioning, tree and plan.
    """
    for note in cell.source.notes:
        session.note(note)
    job = _sharing_job(cell, None, folder, folder)
    _note_repeats([cell], session)
    if there := _on_disk(folder, cell.id, session):
        return replace(job, **there)
    kept = folder if keep or folder.exists() else None
    grouping, seconds = session.grouping(cell.source, cell.strategy, cell.config.features, kept)
    job = replace(job, **_planned(cell, grouping), seconds={"cluster": seconds})
    if keep:
        _write(job)
    return job


def repeated_prompts(source: Source) -> NDArray[np.bool_]:
    """Return the prompts whose picture will be that of an earlier equal one where they share steps, bool [N].

    Equal prompts have equal conditioning, unless encoding draws noise, and part without a difference, unless it is
    fresh noise; a scheduler's own may part them too.
    """
    prompts = source.prompts.prompts
    parted = source.settings.renoise or source.settings.encoding_draws
    return repeats([None] * len(prompts), prompts) & (not parted)


def repeats_line(source: Source, again: NDArray[np.bool_]) -> str:
    """Say which prompts repeat others, what becomes of their pictures, and what to do."""
    texts = source.prompts.prompts
    several = len({text for text, repeated in zip(texts, again, strict=True) if repeated})
    stand = f"{several:,} prompt{'s stand' if several > 1 else ' stands'} more than once"
    if (n := source.prompts.per_prompt) > 1:
        stand = f"{n} pictures of each prompt get no fresh noise"
    return (
        f"{stand}: where they share steps their pictures will be equal, unless the scheduler draws noise "
        f"({again.sum():,} of {len(texts):,} repeat another, and count as saved); "
        f"--per-prompt N, or --noise per-root:renoise={RENOISE:g}, makes them differ"
    )


def _note_repeats(same_source: Sequence[Cell], session: Session) -> None:
    source = same_source[0].source
    if any(cell.config.tau for cell in same_source) and (again := repeated_prompts(source)).any():
        session.note(repeats_line(source, again))


def baseline_job(source: Source, run: Path, cell: "Cell | None" = None, error: Exception | None = None) -> Job:
    """Return the job of a source's baseline: every prompt by itself.

    Its config is from any `cell` of the source; without one it has none, which only a record would need.
    """
    config = cell.config.model_copy(update={"strategy": "none", "tau": Decimal(0)}) if cell else None
    return Job(
        id=source.key,
        role="baseline",
        config=config,  # type: ignore[arg-type]
        identity=source.identity,
        source=source,
        plan=baseline_plan(len(source.prompts), source.steps),
        run=run,
        folder=run / "shared" / source.key,
        error=error,
    )


@dataclass(frozen=True)
class _Planning:
    """The planning of one sweep: everything that its jobs are made with."""

    spec: SweepSpec
    run: Path
    session: Session
    scorers: Mapping[str, Scorers]
    keep: bool
    refused: dict[tuple[str, str], Exception] = field(default_factory=dict)  # by model and hash of the prompts

    @property
    def reuse(self) -> bool:
        """Return whether siblings' unconditional rows are evaluated once."""
        return bool(self.spec.reuse_unconditional)

    @property
    def kept(self) -> Path | None:
        """Return the folder of kept conditioning; a plan that writes nothing still reads what a run folder has."""
        return self.run if self.keep or self.run.exists() else None

    def jobs(self, shared: Sequence[Cell]) -> Iterator[Job]:
        """Yield the jobs of cells, source by source, the references after the cells that they stand beside."""
        seeds = sorted({cell.source.settings.seed for cell in shared})
        for _, group in groupby(shared, key=lambda cell: cell.source.key):
            same_source = list(group)
            baseline = self._baseline(same_source)
            _note_repeats(same_source, self.session)
            jobs = {cell.id: self._job(cell, baseline) for cell in same_source}
            yield from jobs.values()
            kinds = EVERY_KIND if self.spec.equal_rows else (FewerSteps,) if self.spec.equal_compute else ()
            for reference in equal_compute(same_source, kinds):
                if job := self._equal_compute(reference, jobs[reference.cell.id], baseline):
                    yield job
            if self.spec.seed_control:
                control = seed_control(same_source, seeds)
                yield self._reference(control, control.source, baseline)
            self.session.forget(baseline.source)

    def check_prompts(self, sources: Sequence[Source]) -> None:
        """Find, before anything is encoded, which prompts their scorers refuse: their cells fail, others go on.

        Raises:
            UserError: they refuse prompts of every set, so that no cell could be scored.
        """
        asked = {(source.entry.name, source.prompts.hash): source for source in sources}
        for key, source in asked.items():
            scorers = self.scorers.get(source.entry.name)
            if scorers is None or scorers.measured(scorers_of(self.run / "shared" / source.key)):
                continue
            error = _error(lambda scorers=scorers, source=source: _checked(scorers, source))  # type: ignore[misc]
            if isinstance(error, NotHereError) and not self.keep:
                self.session.note(f"the scorers of {source.entry.name} could not check its prompts: {error}")
            elif error:
                self.refused[key] = error
        mistakes = [error for error in self.refused.values() if _of_prompts(error)]
        if asked and len(mistakes) == len(asked):
            by_message = {error.message: error for error in mistakes if isinstance(error, UserError)}
            raise UserError("; ".join(by_message), next(iter(by_message.values())).hint)
        for (name, _), error in self.refused.items():
            self.session.note(f"{name} on {asked[name, _].prompts.name} will fail: {error}")

    def at_savings(self, ways: Sequence[Cell]) -> list[Cell]:
        """Return the cells at the savings targets; those that come near none are left out, and a note names them.

        Tau is in each strategy's own units, so ways to share are compared at equal savings. A tree may depend on the
        seed (a model's prior draws, a random control does), so each seed has a tau of its own.
        """
        reached: dict[str, Cell] = {}
        missed: dict[tuple[str, Decimal, float], list[str]] = {}
        for way in ways:
            grouping = self.session.grouping(way.source, way.strategy, way.config.features, self.kept)[0]
            for target in self.spec.savings:
                nearest = tau_near_savings(grouping, way.schedule, way.source.steps, float(target))
                tau = Decimal(canonical(Decimal(repr(nearest.tau))))
                cell = replace(way, config=way.config.model_copy(update={"tau": tau}))
                if abs(nearest.savings - float(target)) <= NEAR:
                    reached.setdefault(cell.id, cell)
                else:
                    missed.setdefault((self._name(way), target, nearest.savings), []).append(str(way.config.seed))
        for (name, target, savings), seeds in missed.items():
            what = f"cannot save {target:.1%} of denoiser steps (the nearest is {savings:.1%}) and is left out there"
            self.session.emit(Note(f"{name}, seed {', '.join(seeds)}: {what}"))
        if not reached:
            hint = "ask for others, or see `bench plan` for what there is"
            raise UserError("no way to share comes near these savings", hint)
        return list(reached.values())

    def _name(self, way: Cell) -> str:
        varying = [axis for axis in ("model", "schedule", "combiner", "features") if len(getattr(self.spec, axis)) > 1]
        varying += ["variation"] if self.spec.variations else []
        return ", ".join([way.config.strategy, *(getattr(way.config, axis) for axis in varying), way.config.dataset])

    def _baseline(self, same_source: Sequence[Cell]) -> Job:
        """Return the baseline's job; what keeps it from being made keeps every cell beside it from being compared."""
        source = same_source[0].source
        error = _error(lambda: self._ready(source, same_source))
        return baseline_job(source, self.run, same_source[0], error)

    def _ready(self, source: Source, same_source: Sequence[Cell]) -> None:
        """Encode prompts that can be scored, if any of their pictures is still to be made."""
        if error := self.refused.get((source.entry.name, source.prompts.hash)):
            raise error
        folders = [self.run / "shared" / source.key, *(self.run / "cells" / cell.id for cell in same_source)]
        if all((folder / MANIFEST).exists() for folder in folders):
            return
        if self.keep:
            self.session.encoded(source, self.run)

    def _job(self, cell: Cell, baseline: Job) -> Job:
        job = _sharing_job(cell, baseline, self.run, self.run / "cells" / cell.id)
        if baseline.error:
            return replace(job, error=baseline.error)
        if there := _on_disk(job.folder, cell.id, self.session):
            return replace(job, **there)
        with_plan: list[Job] = []

        def planned() -> None:
            way = cell.source, cell.strategy, cell.config.features, self.kept
            grouping, seconds = self.session.grouping(*way)
            with self.session.stage("plan", 1, cell.source) as took:
                plan_and_tree = _planned(cell, grouping)
            with_plan.append(replace(job, **plan_and_tree, seconds={"cluster": seconds, **took}))
            if self.keep:
                _write(with_plan[0])

        error = _error(planned)
        return with_plan[0] if error is None else replace(job, error=error)

    def _equal_compute(self, reference: EqualCompute, shared: Job, baseline: Job) -> Job | None:
        entry, device = shared.source.entry, self.session.device
        if shared.error:
            why = UserError(f"its compute is that of cell {shared.id}, which has none", "see why that cell failed")
            job = self._reference(reference, shared.source, baseline)
            return replace(job, error=baseline.error or why, plan=None)
        made = shared.evaluations(reuse=self.reuse)
        source = reference.source(made, lambda settings: sampler_of(entry, settings, device).K)
        if source is None:
            tau, what = shared.config.tau, reference.role.replace("-", " ")
            self.session.note(f"{entry.name}, tau {tau:f}: no baseline with {what} takes as many rows: left out")
            return None
        return self._reference(reference, source, baseline)

    def _reference(self, reference: Reference, source: Source, baseline: Job) -> Job:
        """Return a job of the baseline of another source."""
        error = self.refused.get((source.entry.name, source.prompts.hash))
        if not error and self.keep and not (self.run / "shared" / source.key / MANIFEST).exists():
            error = _error(lambda: self.session.encoded(source, self.run))
            self.session.forget(source)
        about = {name: getattr(reference, name) for name in ("id", "role", "config", "identity")}
        return replace(baseline_job(source, self.run, reference.cell, error), baseline=baseline, **about)


def _on_disk(folder: Path, cell_id: str, session: Session) -> dict[str, Any] | None:
    """Return the plan and the tree of a cell whose pictures are there.

    They are read, not made again: these made the pictures, and other libraries might cluster otherwise.
    """
    if not (folder / MANIFEST).exists():
        return None
    try:
        for name, digest in _written_with(folder, cell_id).items():
            check_file(folder / name, digest)
        return {"plan": SharingPlan.load(folder / PLAN), "tree": Tree.load(folder / TREE)}
    except UserError as error:
        session.damaged(error.message)
        return None


def _written_with(folder: Path, cell_id: str) -> dict[str, str]:
    """Return the hashes of the plan and the tree that a cell's pictures were made by, as far as they are known.

    Raises:
        UserError: the pictures are another cell's.
    """
    try:
        manifest = load_manifest(folder)
    except (OSError, ValueError):  # the next pass says so
        return {}
    if manifest.id not in ("", cell_id):
        raise UserError(f"{folder / MANIFEST} is of another cell, {manifest.id}")
    return manifest.files


def _planned(cell: Cell, grouping: Grouping) -> dict[str, Any]:
    plan = build_plan(grouping, cell.schedule, float(cell.config.tau), cell.source.steps, cell.config.combiner)
    if plan.from_pictures:
        _refuse_beginnings(cell.source, plan)
    return {"plan": plan, "tree": drawn(grouping, plan)}


def _refuse_beginnings(source: Source, plan: SharingPlan) -> None:
    """Raise a UserError if a path of the plan begins from a picture where the scheduler cannot begin, or all noise
    is one stream's.
    """
    if source.settings.noise == "official":
        raise UserError(
            "the released code's one stream has no noise for finished pictures that prompts start from",
            "leave out --official, or choose another --strategy",
        )
    sampler = sampler_of(source.entry, source.settings, "cpu")
    for k in np.unique(plan.first[plan.picture >= 0]).tolist():
        sampler.begun_at(k)


def _sharing_job(cell: Cell, baseline: Job | None, run: Path, folder: Path) -> Job:
    return Job(
        id=cell.id,
        role=cell.role,
        config=cell.config,
        identity=cell.identity,
        source=cell.source,
        plan=None,
        run=run,
        folder=folder,
        cache=cell.denoiser_cache,
        baseline=baseline,
        control=cell.strategy.control,
        strategy_source=cell.strategy.provenance(),
    )


def _write(job: Job) -> None:
    """Write a job's plan and tree into its folder, from which pictures of any other plan go.

    Those of this very plan stay: it was damaged, and is what it was again.
    """
    assert job.plan
    assert job.tree
    with atomic_path(job.folder / TREE) as tree, atomic_path(job.folder / PLAN) as plan:
        job.tree.save(tree)
        job.plan.save(plan)
        now = {TREE: sha256_file(tree), PLAN: sha256_file(plan)}
        try:
            made_with = _written_with(job.folder, job.id)
            # without a manifest there may be pictures of a run that was killed
            same = made_with == now if made_with else _is_on_disk(job.plan, job.folder / PLAN)
        except UserError:
            same = False
        if not same:
            clear(job.folder)


def _is_on_disk(plan: SharingPlan, path: Path) -> bool:
    try:
        return SharingPlan.load(path).digest == plan.digest
    except UserError:
        return False


def _error(work: Callable[[], object]) -> Exception | None:
    """Return what a piece of planning fails with, which is one job's or one source's failure; a full disk is raised."""
    try:
        with no_exit():
            work()
    except Exception as error:
        if unwritable(error):
            raise
        return without_frames(error)
    return None


def _checked(scorers: Scorers, source: Source) -> None:
    try:
        scorers.check(source.prompts.prompts)
    finally:
        scorers.release()


def _of_prompts(error: Exception) -> bool:
    """Return True where an error is one that the user mends, and not by another machine."""
    return isinstance(error, UserError) and not isinstance(error, NoRoomError)


def _refuse_others(run: Path, shared: Sequence[Cell]) -> None:
    """Raise a UserError if the run folder has records of cells that this sweep could not have."""
    if not (run / "cells").is_dir():
        return
    seeds = sorted({cell.source.settings.seed for cell in shared})
    identities = {cell.id: cell.identity for cell in shared}
    for _, group in groupby(shared, key=lambda cell: cell.source.key):
        same_source = list(group)
        # whether or not this spec asks for them: another sweep of the same images may have left them here
        references: list[Reference] = [*equal_compute(same_source, EVERY_KIND), seed_control(same_source, seeds)]
        identities |= {reference.id: reference.identity for reference in references}
    refuse_others(run, identities)
