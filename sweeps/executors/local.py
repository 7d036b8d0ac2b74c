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
from sweeps.record import ExecutionStats

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
CHECKPOINTS = "states"
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

    def run(self, jobs: "Sequence[Job]", session: "Session") -> Iterator[Outcome]:
        jobs = sorted(jobs, key=lambda job: job.source.key)
        plans = [job.needed(isolate=session.isolate) for job in jobs]
        alone = session.isolate or jobs[0].alone
        work = _plain(jobs[0], plans[0], session) if alone else _united(jobs, plans, session)
        execution, seconds, notes, overflows = _executed(jobs, work, session)
        rows = np.array([plan.node_steps for plan in plans], dtype=float)
        pictures = np.array([np.count_nonzero(plan.output >= 0) for plan in plans], dtype=float)
        shares = {"denoise": rows / rows.sum(), "decode": pictures / pictures.sum(), "write": pictures / pictures.sum()}
        for place, (job, plan) in enumerate(zip(jobs, plans, strict=True)):
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


def _executed(
    jobs: "Sequence[Job]", work: _Work, session: "Session"
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
    checkpoints = _checkpoints(jobs, plan, session)
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
            checkpoints=checkpoints,
            cache=jobs[0].cache,
        )
    decoding, decoder_notes, overflows = _written(execution, work, session, jobs)
    if checkpoints:
        checkpoints.clear()
    for key, one in sources.items():
        session.shrink(one, execution.batch_size_used, sizes[key][1])
    notes = [*execution.notes, *decoder_notes]
    for note in notes:
        session.emit(Note(note))
    denoised = denoising["denoise"] + execution.seconds_before
    return execution, {**decoding, "denoise": denoised}, notes, overflows


def _written(
    execution: "Execution", work: _Work, session: "Session", jobs: "Sequence[Job]"
) -> "tuple[dict[str, float], list[str], Overflows]":
    """Decode the latents and write the pictures, in threads; those that are none are not written.

    Returns:
        Seconds by stage, notes for records, and what there are no pictures of.
    """
    from generators.batching import Batches
    from generators.executor import decode_images
    from sweeps.writer import writer

    source, one_job = jobs[0].source, jobs[0] if len(jobs) == 1 else None
    family = session.family(source)
    most = DECODED if family.device.type != "cpu" else execution.batch_size_used
    batches, start = Batches(min(most, execution.batch_size_used)), 0
    lost: dict[int, str] = {}
    with writer() as out:
        with session.stage("decode", len(work.places), source, one_job) as decoding:
            for pixels in decode_images(
                family, execution, work.keys, source.settings, noise=work.noise, batches=batches, overflows=lost
            ):
                kept = [row for row in range(len(pixels)) if start + row not in lost]
                out.write(pixels[kept], [work.places[start + row] for row in kept])
                start += len(pixels)
                session.emit(StageAdvanced(len(pixels)))
        with session.stage("write", 1, source, one_job) as writing:
            out.drain()
            session.emit(StageAdvanced(1))
    overflows: Overflows = {}
    for row, where in lost.items():
        for folder, prompt in work.places[row]:
            overflows.setdefault(folder, {})[prompt] = where
    return {**decoding, **writing}, batches.notes, overflows


def _checkpoints(jobs: "Sequence[Job]", plan: "SharingPlan", session: "Session") -> "DenoisingCheckpoints | None":
    """Return where this execution leaves its checkpoints, if it does; what a denoiser cache remembers is in none."""
    from generators.denoising_checkpoints import DenoisingCheckpoints

    if session.save_every is None or jobs[0].cache:
        return None
    sources = list({job.source.key: job.source.identity for job in jobs}.values())
    identity = sha256_text(canonical_json([sources, plan.digest]))
    return DenoisingCheckpoints(
        jobs[0].run / CHECKPOINTS, identity, session.save_every, lambda text: session.emit(Note(text))
    )
