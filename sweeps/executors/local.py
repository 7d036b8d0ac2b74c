"""A group of jobs denoised in this process as one: what they have in common once, what they have not in batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.files import canonical_json, sha256_text
from sweeps.events import Note, StageAdvanced
from sweeps.executors.base import Executor, Outcome, overflowed
from sweeps.pictures import MANIFEST, clear
from sweeps.record import ExecutionStats
from sweeps.unfinished import STATES, Unfinished, begun, unfinished

if TYPE_CHECKING:
    from generators.conditioning import Conditioning
    from generators.denoising_checkpoints import DenoisingCheckpoints
    from generators.executor import Execution
    from generators.noise import NoiseSource
    from generators.sharing.plan import SharingPlan
    from generators.sharing.union import Union
    from sweeps.jobs import Job
    from sweeps.session import Session
    from sweeps.writer import Place

# pictures decoded at once on an accelerator: at full size a decoder's activations are ten times its denoiser's
DECODED = 4
Overflows = dict[Path, dict[int, str]]  # by folder and prompt, where numbers overflowed on the way to the picture


@dataclass(frozen=True, eq=False)
class _Work:
    """One execution: a forest of plans, what it is denoised from, and which folders want its pictures."""

    union: "Union"
    conditioning: "Conditioning"
    keys: Sequence[str]
    noise: "NoiseSource"
    places: "list[list[Place]]"


class Local(Executor):
    """This process, one group after the other."""

    name = "local"
    unites = True
    resumes = True

    def run(self, jobs: "Sequence[Job]", session: "Session") -> Iterator[Outcome]:
        jobs = sorted(jobs, key=lambda job: job.source.key)
        plans = [job.needed(isolate=session.isolate) for job in jobs]
        alone = session.isolate or jobs[0].alone
        work = _plain(jobs[0], plans[0], session) if alone else _united(jobs, plans, session)
        made = _made(jobs)
        identity = _identity(jobs, work.union.plan, made)
        run = jobs[0].run
        group = begun(run, identity, _relative(jobs, run), _relative(made, run))
        checkpoints = _checkpoints(jobs, identity, session)
        execution, seconds, notes, overflows = _executed(jobs, work, group, checkpoints, session)
        rows = np.array([plan.node_steps for plan in plans], dtype=float)
        pictures = np.array([np.count_nonzero(plan.output >= 0) for plan in plans], dtype=float)
        shares = {"denoise": rows / rows.sum(), "decode": pictures / pictures.sum(), "write": pictures / pictures.sum()}
        for place, (job, plan) in enumerate(zip(jobs, plans, strict=True)):
            if _finished(job):
                continue
            if where := overflows.get(job.folder):
                yield Outcome(job, error=overflowed(job, where))
                continue
            taken = ExecutionStats(
                calls=execution.calls,
                rows=plan.node_steps,
                batch_size=execution.batch_size_used,
                first_call=execution.first_call,
                steady=execution.steady,
                united=len(jobs) if len(jobs) > 1 else 0,
                skipped=execution.skipped,
                options=execution.options,
                notes=notes,
            )
            yield Outcome(
                job, taken, {stage: seconds.get(stage, 0.0) * share[place] for stage, share in shares.items()}
            )
        # whoever took the outcomes has written the manifests: whatever is missing now is made from what was denoised
        if all(map(_finished, jobs)):
            if checkpoints:
                checkpoints.clear()
            group.end()


def _plain(job: "Job", plan: "SharingPlan", session: "Session") -> _Work:
    """Return the work of one job as its own plan says."""
    from generators.sharing.union import Union

    nodes, prompts = plan.ends
    rows = np.full(plan.n_prompts, -1)
    rows[prompts] = np.arange(len(prompts))
    return _Work(
        Union(plan, nodes, prompts, (rows,)),
        session.encoded(job.source, job.run).conditioning,
        job.source.prompts.keys,
        session.noise(job.source, plan, job.run),
        [[(job.folder, prompt)] for prompt in prompts.tolist()],
    )


def _united(jobs: "Sequence[Job]", plans: "Sequence[SharingPlan]", session: "Session") -> _Work:
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
    return _Work(
        whole,
        Conditioning.joined(encoded) if len(encoded) > 1 else encoded[0],
        [in_namespace(source.key, key) for source in sources for key in source.prompts.keys],
        NamespacedNoise(noises),
        places,
    )


def _relative(jobs: "Sequence[Job]", run: Path) -> list[str]:
    return [job.folder.relative_to(run).as_posix() for job in jobs]


def _made(jobs: "Sequence[Job]") -> "list[Job]":
    """Return the jobs that the group makes pictures for; as it was begun, where some of them are finished since."""
    run, lacking = jobs[0].run, [job for job in jobs if not _finished(job)]
    for group in unfinished(run):
        if group.folders == _relative(jobs, run) and set(group.made) >= set(_relative(lacking, run)):
            return [job for job, name in zip(jobs, group.folders, strict=True) if name in group.made]
    return lacking


def _finished(job: "Job") -> bool:
    return (job.folder / MANIFEST).exists()


def _executed(
    jobs: "Sequence[Job]",
    work: _Work,
    group: Unfinished,
    checkpoints: "DenoisingCheckpoints | None",
    session: "Session",
) -> "tuple[Execution, Mapping[str, float], list[str], Overflows]":
    """Denoise, decode and write.

    Returns:
        The execution, its seconds by stage, notes for records, and what there are no pictures of.
    """
    from generators.executor import execute

    source, plan = jobs[0].source, work.union.plan
    family, one_job = session.family(source), jobs[0] if len(jobs) == 1 else None
    family.release_encoders()  # before a batch size is measured
    sources = {job.source.key: job.source for job in jobs}
    sizes = {
        key: session.batch_size(one, session.encoded(one, jobs[0].run).conditioning, plan.widest)
        for key, one in sources.items()
    }
    if len(jobs) > 1:
        alone = sum(job.needed(isolate=session.isolate).node_steps for job in jobs)
        fewer = f"{1 - plan.node_steps / alone:.1%} fewer than one by one"
        session.emit(Note(f"{len(jobs)} sets of pictures are denoised as one: {plan.node_steps:,} node-steps, {fewer}"))
    missing = _missing(jobs, work, group, session)
    folders = {group.run / name for name in group.made}
    wanted = np.array([any(folder in folders for folder, _ in places) for places in work.places], dtype=np.bool_)
    with session.stage("denoise", plan.node_steps, source, one_job) as denoising:
        execution = execute(
            plan,
            family,
            work.conditioning,
            work.keys,
            source.settings,
            noise=work.noise,
            batch_size=sizes[source.key][0],
            observers=[session.advance],
            ends=(work.union.ends, work.union.prompts),
            wanted=None if wanted.all() else wanted,
            checkpoints=checkpoints,
            cache=jobs[0].cache,
        )
    decoding, decoder_notes, overflows = _written(execution, work, missing, group, session, jobs)
    for key, one in sources.items():
        session.shrink(one, execution.batch_size_used, sizes[key][1])
    notes = [*execution.notes, *decoder_notes]
    for note in notes:
        session.emit(Note(note))
    denoised = denoising["denoise"] - (checkpoints.seconds if checkpoints else 0.0) + execution.seconds_before
    return execution, {**decoding, "denoise": denoised}, notes, overflows


def _missing(jobs: "Sequence[Job]", work: _Work, group: Unfinished, session: "Session") -> "list[list[Place]]":
    """Return, for each picture, the places where it is not yet, and remove what is no picture of this group's.

    Folders with a manifest are finished. Where seconds are measured those of all pictures are wanted, at once.
    """
    whole = set() if session.isolate else group.whole({job.folder: job.files for job in jobs})
    for job in jobs:
        if not _finished(job):
            clear(job.folder, {prompt for folder, prompt in whole if folder == job.folder}, job.files)
    finished = {job.folder for job in jobs if _finished(job)}
    return [[place for place in places if place[0] not in finished and place not in whole] for places in work.places]


def _written(
    execution: "Execution",
    work: _Work,
    missing: "list[list[Place]]",
    group: Unfinished,
    session: "Session",
    jobs: "Sequence[Job]",
) -> "tuple[dict[str, float], list[str], Overflows]":
    """Decode the latents and write the pictures that are missing, in threads; those that are none are not written.

    Batches are those in which all would be decoded, so that a picture is the same, whatever was there before.

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
    notes = [f"{count:,} of {len(wanted):,} pictures were there"] if (count := int((~wanted).sum())) else []
    lost: dict[int, str] = {}
    with group.writing(), writer(group.written, {job.folder: job.files for job in jobs}) as out:
        with session.stage("decode", len(wanted) - count, source, one_job) as decoding:
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
    return {**decoding, **writing}, [*notes, *batches.notes], overflows


def _identity(jobs: "Sequence[Job]", plan: "SharingPlan", made: "Sequence[Job]") -> str:
    """Return what tells one execution from all others: what is denoised from what, how it goes, and what is wanted."""
    sources = list({job.source.key: job.source.identity for job in jobs}.values())
    part = [] if len(made) == len(jobs) else [job.id for job in made]
    return sha256_text(canonical_json([sources, plan.digest, *part]))


def _checkpoints(jobs: "Sequence[Job]", identity: str, session: "Session") -> "DenoisingCheckpoints | None":
    """Return where this execution leaves its checkpoints, if it does; what a denoiser cache remembers is in none."""
    from generators.denoising_checkpoints import DenoisingCheckpoints

    if session.save_every is None or jobs[0].cache:
        return None
    return DenoisingCheckpoints(
        jobs[0].run / STATES, identity, session.save_every, lambda text: session.emit(Note(text))
    )
