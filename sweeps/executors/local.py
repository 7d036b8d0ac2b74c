"""A group of jobs denoised in this process as one: what they have in common once, in waves that memory holds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from common.files import canonical_json, sha256_text
from sweeps.events import Note, StageAdvanced
from sweeps.executors.base import Executor, Outcome, overflowed
from sweeps.pictures import MANIFEST, clear
from sweeps.record import ExecutionStats
from sweeps.unfinished import STATES, Unfinished, Wave, begun, unfinished
from sweeps.waves import Waves, Work, added, rows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generators.denoising_checkpoints import DenoisingCheckpoints
    from generators.executor import Execution
    from generators.node_states import NodeState
    from generators.sharing.plan import SharingPlan
    from sweeps.jobs import Job
    from sweeps.session import Session
    from sweeps.writer import Place

# pictures decoded at once on an accelerator: at full size a decoder's activations are ten times its denoiser's
DECODED = 4
Overflows = dict[Path, dict[int, str]]  # by folder and prompt, where numbers overflowed on the way to the picture


class Local(Executor):
    """This process, one group after the other."""

    name = "local"
    unites = True
    resumes = True

    def run(self, jobs: "Sequence[Job]", session: "Session") -> Iterator[Outcome]:
        jobs = sorted(jobs, key=lambda job: job.source.key)
        plans = [job.needed(isolate=session.isolate) for job in jobs]
        alone = session.isolate or jobs[0].alone
        work = plain(jobs[0], plans[0], session) if alone else _united(jobs, plans, session)
        made = made_by(jobs)
        identity = _identity(jobs, work.union.plan, made)
        run = jobs[0].run
        group = begun(run, identity, relative(jobs, run), relative(made, run))
        execution, seconds, overflows = _executed(jobs, work, group, identity, session)
        rows = np.array([plan.node_steps for plan in plans], dtype=float)
        pictures = np.array([np.count_nonzero(plan.output >= 0) for plan in plans], dtype=float)
        shares = {"denoise": rows / rows.sum(), "decode": pictures / pictures.sum(), "write": pictures / pictures.sum()}
        for place, (job, plan) in enumerate(zip(jobs, plans, strict=True)):
            if finished(job):
                continue
            if where := overflows.get(job.folder):
                yield Outcome(job, error=overflowed(job, where))
                continue
            taken = ExecutionStats(
                calls=execution.calls,
                rows=plan.node_steps,
                batch_size=execution.batch_size,
                first_call=execution.first_call,
                steady=execution.steady,
                united=len(jobs) if len(jobs) > 1 else 0,
                skipped=execution.skipped,
                options=execution.options,
                notes=execution.notes,
            )
            yield Outcome(
                job, taken, {stage: seconds.get(stage, 0.0) * share[place] for stage, share in shares.items()}
            )
        # whoever took the outcomes has written the manifests: whatever is missing now is made from what was denoised
        if all(map(finished, jobs)):
            group.end()


def plain(job: "Job", plan: "SharingPlan", session: "Session") -> Work:
    """Return the work of one job as its own plan says."""
    from generators.sharing.union import Union

    nodes, prompts = plan.ends
    rows = np.full(plan.n_prompts, -1)
    rows[prompts] = np.arange(len(prompts))
    return Work(
        Union(plan, nodes, prompts, (rows,)),
        session.encoded(job.source, job.run).conditioning,
        job.source.keys,
        session.noise(job.source, plan, job.run),
        [[(job.folder, prompt)] for prompt in prompts.tolist()],
    )


def _united(jobs: "Sequence[Job]", plans: "Sequence[SharingPlan]", session: "Session") -> Work:
    """Return the work of several jobs: those of one source as a trie, several sources beside each other."""
    from generators.conditioning import Conditioning
    from generators.noise import NamespacedNoise, in_namespace
    from generators.sharing.union import side_by_side, union

    by_source = [
        list(group) for _, group in groupby(zip(jobs, plans, strict=True), key=lambda pair: pair[0].source.key)
    ]
    sources = [group[0][0].source for group in by_source]
    whole = side_by_side([union([plan for _, plan in group]) for group in by_source])
    run = jobs[0].run
    encoded = [session.encoded(source, run).conditioning for source in sources]
    noises = {group[0][0].source.key: session.noise(group[0][0].source, group[0][1], run) for group in by_source}
    places: list[list[Place]] = [[] for _ in whole.ends]
    for job, rows in zip(jobs, whole.rows, strict=True):
        for prompt in np.flatnonzero(rows >= 0).tolist():
            places[rows[prompt]].append((job.folder, prompt))
    return Work(
        whole,
        Conditioning.joined(encoded) if len(encoded) > 1 else encoded[0],
        [in_namespace(source.key, key) for source in sources for key in source.keys],
        NamespacedNoise(noises),
        places,
    )


def relative(jobs: "Sequence[Job]", run: Path) -> list[str]:
    return [job.folder.relative_to(run).as_posix() for job in jobs]


def made_by(jobs: "Sequence[Job]") -> "list[Job]":
    """Return the jobs that the group makes pictures for; as it was begun, where some of them are finished since."""
    run, lacking = jobs[0].run, [job for job in jobs if not finished(job)]
    for group in unfinished(run):
        if group.folders == relative(jobs, run) and set(group.made) >= set(relative(lacking, run)):
            return [job for job, name in zip(jobs, group.folders, strict=True) if name in group.made]
    return lacking


def finished(job: "Job") -> bool:
    return (job.folder / MANIFEST).exists()


def _executed(
    jobs: "Sequence[Job]", work: Work, group: Unfinished, identity: str, session: "Session"
) -> tuple[ExecutionStats, Mapping[str, float], Overflows]:
    """Denoise, decode and write, wave by wave, what is not there.

    Returns:
        What it took, of all waves and all attempts, the seconds of it by stage, and what there are no pictures of.
    """
    from generators.executor import leading_to
    from generators.node_states import NodeStates

    plan, one_job = work.union.plan, jobs[0] if len(jobs) == 1 else None
    sources = {job.source.key: job.source for job in jobs}
    session.family(jobs[0].source).release_encoders()  # before a batch size is measured
    rows = _rows(jobs, plan, group, session)
    whole = jobs[0].one_stream or jobs[0].from_pictures
    cut: Literal["nodes", "trees"] | None = None if whole else "trees" if jobs[0].cache else "nodes"
    waves = Waves(work, rows, group, NodeStates(jobs[0].run / STATES, f"{identity} {rows}"), cut)
    missing = missing_places(jobs, waves, session)
    lacking = np.array([bool(places) for places in missing], dtype=np.bool_)
    wanted = _wanted(work, group)
    left = waves.left(lacking, wanted)
    sizes = {
        key: session.batch_size(one, session.encoded(one, jobs[0].run).conditioning, min(plan.widest, rows))
        for key, one in (sources if left else {}).items()
    }
    if len(jobs) > 1:
        alone = sum(job.needed(isolate=session.isolate).node_steps for job in jobs)
        fewer = f"{1 - plan.node_steps / alone:.1%} fewer than one by one"
        session.emit(Note(f"{len(jobs)} sets of pictures are denoised as one: {plan.node_steps:,} node-steps, {fewer}"))
    notes = waves.notes()
    if count := int((~lacking).sum()):
        notes.append(f"{count:,} of {len(lacking):,} pictures were there")
    for note in notes:
        session.emit(Note(note))
    needed = None if wanted.all() else leading_to(plan, work.union.ends[wanted])
    renoised = waves.renoised(jobs[0].source.settings)
    used = [wave.execution.batch_size for wave in waves.known if wave.execution.batch_size]
    size = min([*used, *(size for size, _ in sizes.values())], default=0)
    overflows: Overflows = {}
    with group.writing(), ExitStack() as denoising:
        if group.rows != rows:
            group.cut(rows)
        before = plan.node_steps - waves.node_steps(left)
        for saved in (_checkpoints(jobs, waves, wave, identity, session) for wave in left):
            before += saved.rows() if saved else 0
        denoising.enter_context(session.stage("denoise", plan.node_steps, jobs[0].source, one_job, before))
        for number, wave in enumerate(left, 1):
            checkpoints = _checkpoints(jobs, waves, wave, identity, session)
            asked = wave, size, needed, renoised, checkpoints
            execution, own, of_work, seconds = _denoised(jobs[0], waves, *asked, session)
            size = execution.batch_size_used
            if number == len(left):
                denoising.close()
            decoding: list[str] = []
            lost: Overflows = {}
            if not waves.cut.heirs[wave]:
                places = [missing[row] for row in of_work]
                more, decoding, lost = _written(execution, own, places, group, session, jobs)
                seconds |= more
            for note in (of_wave := [*execution.notes, *decoding]):
                session.emit(Note(note))
            took = _took(execution, of_wave)
            waves.took(Wave(wave=wave, rows=rows, execution=took, seconds=seconds), left[number:], noted=not lost)
            if checkpoints and not lost:  # what has overflowed is decoded once more by the same command
                checkpoints.clear()
            for folder, where in lost.items():
                overflows.setdefault(folder, {}).update(where)
    for key, (_, origin) in sizes.items():
        session.shrink(sources[key], size, origin)
    execution_of_all, all_seconds = added(waves.known)
    all_notes = list(dict.fromkeys([*execution_of_all.notes, *notes]))
    return execution_of_all.model_copy(update={"notes": all_notes}), all_seconds, overflows


def _rows(jobs: "Sequence[Job]", plan: "SharingPlan", group: Unfinished, session: "Session") -> int:
    """Return the most rows of a wave: as it was begun, for the same waves, unless another number is asked for."""
    if group.rows and session.wave in (None, group.rows):
        return group.rows
    return rows_of(jobs, plan, session)


def _wanted(work: Work, group: Unfinished) -> "NDArray[np.bool_]":
    """Return bool [R], the rows whose pictures the group makes: others' were there when it was begun."""
    folders = {group.run / name for name in group.made}
    return np.array([any(folder in folders for folder, _ in places) for places in work.places], dtype=np.bool_)


def _denoised(
    job: "Job",
    waves: Waves,
    wave: int,
    batch_size: int,
    needed: "NDArray[np.bool_] | None",
    renoised: "NDArray[np.bool_] | None",
    checkpoints: "DenoisingCheckpoints | None",
    session: "Session",
) -> "tuple[Execution, Work, NDArray[np.int64], dict[str, float]]":
    """Denoise a wave.

    Returns:
        The execution, its work, which rows of the group's work those are, and its seconds.
    """
    from generators.executor import execute
    from sweeps.session import clock

    part, trunk = waves.part(wave), bool(waves.cut.heirs[wave])
    own, rows = waves.work.of(part)
    kept = 0.0

    def keep(state: "NodeState") -> None:
        nonlocal kept
        start = clock()
        waves.keep(wave, state)
        kept += clock() - start

    start = clock()
    execution = execute(
        part.plan,
        session.family(job.source),
        own.conditioning,
        own.keys,
        job.source.settings,
        noise=own.noise,
        batch_size=batch_size,
        observers=[session.advance],
        ends=(own.union.ends, own.union.prompts),
        needed=None if needed is None else needed[part.nodes],
        checkpoints=checkpoints,
        initial_states=waves.initial_states(wave, part),
        on_exit=keep if trunk else None,
        cache=job.cache,
        renoised=None if renoised is None else renoised[part.nodes],
    )
    seconds = clock() - start - kept - (checkpoints.seconds if checkpoints else 0.0) + execution.seconds_before
    return execution, own, rows.tolist(), {"denoise": seconds}


def _took(execution: "Execution", notes: Sequence[str]) -> ExecutionStats:
    return ExecutionStats(
        calls=execution.calls,
        rows=execution.rows,
        batch_size=execution.batch_size_used,
        first_call=execution.first_call,
        steady=execution.steady,
        skipped=execution.skipped,
        options=execution.options,
        notes=list(notes),
    )


def missing_places(jobs: "Sequence[Job]", waves: Waves, session: "Session") -> "list[list[Place]]":
    """Return, for each picture, the places where it is not yet, and remove what is no picture of this group's.

    Folders with a manifest are finished. Where seconds are measured those of all of a wave's pictures are wanted.
    """
    whole, places = waves.group.whole({job.folder: job.files for job in jobs}), waves.work.places
    if session.isolate:
        noted = [waves.noted(wave) for wave in waves.wave_of.tolist()]
        whole &= {place for of_row, there in zip(places, noted, strict=True) if there for place in of_row}
    for job in jobs:
        if not finished(job):  # of a set that was finished, what is lost is made again and nothing else
            whole |= {(job.folder, prompt) for prompt in job.files.received(job.folder, len(job.source.prompts))}
            clear(job.folder, {prompt for folder, prompt in whole if folder == job.folder}, job.files)
    done = {job.folder for job in jobs if finished(job)}
    return [[place for place in of_row if place[0] not in done and place not in whole] for of_row in places]


def _written(
    execution: "Execution",
    work: Work,
    missing: "list[list[Place]]",
    group: Unfinished,
    session: "Session",
    jobs: "Sequence[Job]",
) -> "tuple[dict[str, float], list[str], Overflows]":
    """Decode the latents and write the pictures that are missing, in threads; those that are none are not written.

    Batches are those in which all of the wave's would be decoded, so that a picture is the same, whatever was there.

    Returns:
        Seconds by stage, notes for records, and what there are no pictures of.
    """
    from generators.batching import Batches
    from generators.executor import decode_images
    from sweeps.writer import writer

    source, one_job = jobs[0].source, jobs[0] if len(jobs) == 1 else None
    family = session.family(source)
    most = DECODED if family.device.type != "cpu" else execution.batch_size_used
    wanted = np.array([bool(places) for places in missing], dtype=np.bool_)
    batches = Batches(min(most, execution.batch_size_used), wanted=wanted)
    lost: dict[int, str] = {}
    with writer(group.written, {job.folder: job.files for job in jobs}) as out:
        with session.stage("decode", int(wanted.sum()), source, one_job) as decoding:
            for pixels in decode_images(
                family, execution, work.keys, source.settings, noise=work.noise, batches=batches, overflows=lost
            ):
                rows = range(batches.rows.start, batches.rows.stop)
                kept = [place for place, row in enumerate(rows) if row not in lost]
                out.write(pixels[kept], [missing[rows[place]] for place in kept])
                session.emit(StageAdvanced(int(wanted[batches.rows].sum())))
        with session.stage("write", 1, source, one_job) as writing:
            out.drain()
            session.emit(StageAdvanced(1))
    overflows: Overflows = {}
    for row, where in lost.items():
        for folder, prompt in missing[row]:
            overflows.setdefault(folder, {})[prompt] = where
    return {**decoding, **writing}, batches.notes, overflows


def _identity(jobs: "Sequence[Job]", plan: "SharingPlan", made: "Sequence[Job]") -> str:
    """Return what tells one execution from all others: what is denoised from what, how it goes, and what is wanted."""
    sources = list({job.source.key: job.source.identity for job in jobs}.values())
    part = [] if len(made) == len(jobs) else [job.id for job in made]
    return sha256_text(canonical_json([sources, plan.digest, *part]))


def _checkpoints(
    jobs: "Sequence[Job]", waves: Waves, wave: int, identity: str, session: "Session"
) -> "DenoisingCheckpoints | None":
    """Return where a wave leaves its checkpoints, if it does.

    What a denoiser cache remembers is in none, nor is what a trunk has exported before.
    """
    from generators.denoising_checkpoints import DenoisingCheckpoints

    if session.save_every is None or jobs[0].cache or waves.cut.heirs[wave]:
        return None
    name = identity if len(waves) == 1 else f"{identity} {waves.rows} {wave}"
    return DenoisingCheckpoints(jobs[0].run / STATES, name, session.save_every, lambda text: session.emit(Note(text)))
