"""The second pass: the pictures that a run folder lacks, in groups of jobs that are denoised as one."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import NoRoomError, UserError, without_frames
from common.files import atomic_write, canonical_json, sha256_file, unwritable
from common.memory import is_out_of_memory
from common.plugins import no_exit
from generators.sharing.union import grouped_by_combiner
from metrics.duplicates import repeats
from sweeps.cost import components, nfe
from sweeps.events import Note
from sweeps.executors.base import Executor, Outcome
from sweeps.executors.local import Local
from sweeps.grid import Source, short_hash
from sweeps.jobs import Job
from sweeps.machine import changed_versions, machine, versions
from sweeps.pictures import (
    PLAN,
    TREE,
    Manifest,
    blank_pictures,
    clear,
    finish,
    read_manifest,
    reopen,
    reuse_pictures,
)
from sweeps.record import PlanCost
from sweeps.scorers import picture_notes
from sweeps.session import Session
from sweeps.unfinished import STATES, belonged, unfinished

PROMPTS = "prompts.json"
# Settings in which sources that are denoised as one may differ: they decide noise and conditioning.
OWN = {"seed", "prior_seed"}


@dataclass(frozen=True)
class Made:
    """A folder of pictures that is whole, or why there is none.

    Attributes:
        kept: whether it was there.
    """

    manifest: Manifest | Exception
    kept: bool


def generate(picture_sets: Sequence[Job], session: Session, executor: Executor | None = None) -> dict[Path, Made]:
    """Make the pictures that are not there yet or not whole, and return what is in each folder then.

    Every picture that is kept was verified by its hash.

    Jobs are denoised as one as far as their sources and their combiners allow. A group that fails is made
    job by job; a job that fails has its error in the result, and the others go on.

    Args:
        picture_sets: a job a folder, baselines before what is compared with them; run folders are held.
        session: the device and the models.
        executor: where groups are denoised; in this process unless given.
    """
    folders: dict[Path, Made] = {}
    executor = executor or Local()
    for job in picture_sets:
        if job.error:
            folders[job.folder] = Made(job.error, kept=False)
        elif (manifest := read_manifest(job.folder, session.damaged, owner(job), job.files)) is not None:
            folders[job.folder] = Made(manifest, kept=True)
            _flag_versions(manifest, session)
    # once more, for pictures that were there beside a baseline that had to be made anew
    for _ in range(2):
        lacking = [job for job in picture_sets if _lacking(job, folders, session)]
        begun = _as_before(picture_sets, lacking, folders, session) if executor.resumes else []
        left = [job for job in lacking if not any(job in group for group in begun)]
        for group in chain(begun, _groups(left, session, executor)):
            waiting: list[Outcome] = []
            for outcome in _outcomes(group, [job for job in group if job in lacking], session, executor):
                waiting.append(outcome)
                # a group's baselines may come back after what is compared with them
                for ready in [one for one in waiting if one.job.reuses is None or one.job.reuses.folder in folders]:
                    waiting.remove(ready)
                    folders[ready.job.folder] = _finished(ready, folders, session)
    for job in picture_sets:
        if job.reuses is None and isinstance(folders[job.folder].manifest, Manifest):
            try:
                _write_prompts(job)
            except OSError as error:
                if unwritable(error):
                    raise
                folders[job.folder] = Made(_blocked(job, error), kept=False)
    if all(isinstance(made.manifest, Manifest) for made in folders.values()):
        for run in {job.run for job in picture_sets}:
            shutil.rmtree(run / STATES, ignore_errors=True)
    return folders


def owner(job: Job) -> str:
    """Return whose pictures a job's are: the cell's own, or those of a source's baseline."""
    return job.id if job.role == "sharing" else job.source.key


def kind(source: Source) -> str:
    """Name what sources have in common that may be denoised as one: everything but prompts, samples and seeds."""
    identity: dict[str, Any] = {
        name: value
        for name, value in source.identity.items()
        if name not in ("prompts", "own", "embedding_seed", "sample")
    }
    settings = {name: value for name, value in identity["settings"].items() if name not in OWN}
    return short_hash({**identity, "settings": settings})


def _lacking(job: Job, folders: Mapping[Path, Made], session: Session) -> bool:
    if job.folder not in folders:
        return True
    manifest = folders[job.folder].manifest
    baseline = job.reuses and folders.get(job.reuses.folder)
    if not baseline or isinstance(manifest, Exception) or isinstance(baseline.manifest, Exception):
        return False
    if stale := manifest.baseline != baseline.manifest.hash:
        session.damaged(f"the baseline of cell {job.id} was made anew")
    return stale


def _as_before(
    jobs: Sequence[Job], lacking: Sequence[Job], folders: Mapping[Path, Made], session: Session
) -> list[list[Job]]:
    """Return the groups, whole, in which what is lacking was made before, or begun: it is made in the same batches.

    A group stays a group only where its jobs are still asked for, may be denoised as one, and find their baselines.
    """
    if not lacking:
        return []
    run = lacking[0].run
    by_folder = {job.folder: job for job in jobs if not job.error}
    found: list[list[Job]] = []
    before = belonged(run)
    finished = [before.get(job.folder.relative_to(run).as_posix(), []) for job in lacking]
    for names in [*(group.folders for group in unfinished(run)), *finished]:
        members = [by_folder[folder] for name in names if (folder := run / name) in by_folder]
        united = len({kind(job.source) for job in members}) == 1 and not any(map(_alone(session), members))
        known = {*folders, *(job.folder for job in members)}
        if (
            len(members) == len(names)
            and (united or len(members) == 1)
            and any(job in lacking for job in members)
            and not any(job in group for job in members for group in found if job in lacking)
            and all(job.reuses is None or job.reuses.folder in known for job in members)
        ):
            found.append(members)
    return found


def _alone(session: Session) -> Callable[[Job], bool]:
    return lambda job: session.isolate or job.alone


def _groups(jobs: Sequence[Job], session: Session, executor: Executor) -> Iterator[list[Job]]:
    """Cut jobs into groups: those of one kind of source together, but for jobs that only work alone."""
    by_kind: dict[str, list[Job]] = {}
    for job in jobs:
        by_kind.setdefault(kind(job.source), []).append(job)
    for same_kind in by_kind.values():
        together = [job for job in same_kind if not _alone(session)(job)]
        if executor.unites:
            yield from _by_combiner(together, session)
        elif together:
            yield together
        for job in same_kind:
            if job not in together:
                yield [job]


def _by_combiner(jobs: Sequence[Job], session: Session) -> list[list[Job]]:
    try:
        return grouped_by_combiner(jobs, lambda job: job.needed(isolate=False))
    except Exception as error:
        if unwritable(error):
            raise
        _fall_back(len(jobs), error, session)
        return [[job] for job in jobs]


def _fall_back(count: int, error: Exception, session: Session) -> None:
    what = " ".join(str(error).split()) or type(error).__name__
    session.emit(Note(f"{count} sets of pictures could not be denoised as one ({what}): each is made by itself"))


def _outcomes(group: Sequence[Job], lacking: Sequence[Job], session: Session, executor: Executor) -> Iterator[Outcome]:
    """Run a group for those of its jobs that are lacking; where it fails as a whole, job by job."""
    source, blocked = group[0].source, dict[str, Exception]()
    for job in lacking:
        try:
            if executor.resumes:
                reopen(job.folder)
            else:
                clear(job.folder, files=job.files)
        except OSError as error:
            if unwritable(error):
                raise
            blocked[job.id] = _blocked(job, error)
    yield from (Outcome(job, error=blocked[job.id]) for job in lacking if job.id in blocked)
    group = [job for job in group if job.id not in blocked]
    lacking = [job for job in lacking if job.id not in blocked]
    to_denoise = [job for job in group if len(job.needed(isolate=session.isolate).first)]
    yield from (Outcome(job) for job in lacking if job not in to_denoise)
    if not to_denoise:
        return
    finished: set[str] = set()
    try:
        if session.isolate:
            session.warm_up(source, session.encoded(source, group[0].run).conditioning)
        # --energy isolates, so that this is a group of one and the difference is its own
        before = session.joules()
        with no_exit():
            for outcome in executor.run(to_denoise, session):
                finished.add(outcome.job.id)
                after = session.joules()
                yield replace(outcome, joules=None if before is None or after is None else after - before)
    except Exception as error:
        if unwritable(error):
            raise
        left = [job for job in to_denoise if job in lacking and job.id not in finished]
        kept = without_frames(_of_memory(error, session) if is_out_of_memory(error) else error)
        if len(group) == 1 or isinstance(error, NoRoomError):
            yield from (Outcome(job, error=kept) for job in left)
            return
        _fall_back(len(left), error, session)
        for job in left:
            yield from _outcomes([job], [job], session, executor)
    finally:
        for job in group:
            session.forget(job.source)


def _blocked(job: Job, error: OSError) -> UserError:
    """Return what a user can do where something that is not ours to remove stands in a job's folder."""
    what = f"{error.strerror or error}: {error.filename or job.folder}"
    return UserError(f"cannot write into {job.folder}: {what}", "move it away and run the same command again")


def _of_memory(error: Exception, session: Session) -> Exception:
    """Return what a user can do where memory ended outside a batch: with latents, say, which are all there at once."""
    if isinstance(error, UserError):
        return error
    hint = "use --offload model, fewer prompts at once (--wave), smaller pictures, or a larger device"
    return UserError(f"memory ran out on {session.device}", hint)


def _finished(outcome: Outcome, folders: Mapping[Path, Made], session: Session) -> Made:
    """Add the baseline's pictures to those that were made, and the manifest: the folder is complete."""
    try:
        return Made(outcome.error or _manifest(outcome, folders, session), kept=False)
    except Exception as error:
        if unwritable(error):
            raise
        return Made(error, kept=False)


def _manifest(outcome: Outcome, folders: Mapping[Path, Made], session: Session) -> Manifest:
    job, execution = outcome.job, outcome.execution.model_copy(update={"isolated": session.isolate})
    assert job.plan
    timings = {**job.seconds, **outcome.seconds}
    baseline_hash = None
    if job.reuses is None:
        timings |= session.encoding_seconds(job.source)
    else:
        baseline = folders[job.reuses.folder].manifest
        if isinstance(baseline, Exception):
            raise UserError(f"its baseline could not be made: {baseline}", "see why")
        baseline_hash = baseline.hash
        reused = job.solo & job.pictured
        reuse_pictures(job.folder, job.reuses.folder, np.flatnonzero(reused).tolist())
        if not session.isolate:
            execution = execution.model_copy(update={"reused": int(reused.sum())})
            # what the pictures taken from the baseline took there: without it sharing would look faster than it is
            taken = sum(baseline.timings.get(stage, 0.0) for stage in ("denoise", "decode", "write"))
            timings["reused"] = taken * float(reused.sum() / job.pictured.sum())
    about: dict[str, Any] = {
        "notes": [*session.encoding_notes(job.source), *execution.notes],
        "batch_size_from": session.batch_size(job.source)[1] if execution.batch_size else None,
    }
    plan = PlanCost(
        n_prompts=job.plan.n_prompts,
        steps_requested=job.source.settings.steps,
        K=job.plan.steps,
        node_steps=job.plan.node_steps,
        baseline_node_steps=job.plan.baseline_node_steps,
        savings=job.plan.savings,
        **_rows(job, reuse=bool(execution.options.get("reuse_unconditional"))),
    )
    blank: list[str] = []
    further: dict[str, Any] = {}
    rows = np.flatnonzero(job.pictured).tolist()

    def made(images: dict[str, str]) -> Manifest:
        contents = list(images.values())
        if job.files.about:  # files of equal pictures differ in what they say
            known = job.files.known(job.folder, list(images))
            contents = [picture.pixels for picture in known]
            blank.extend(picture.name for picture in known if picture.blank)
        else:
            blank.extend(blank_pictures(job.folder, images))
        blank_rows = [name in blank for name in images]
        texts = [job.source.prompts.prompts[row] for row in rows]
        about["notes"] += (odd := picture_notes(contents, blank_rows, texts))
        for note in odd:
            session.emit(Note(f"{_place(job)}: {note}"))
        assert job.plan
        if (again := repeats(contents, texts)).any() and not job.source.sample:
            further["distinct_savings"] = job.plan.restricted(~again).savings
        return Manifest(
            images=images,
            id=owner(job),
            files={name: sha256_file(job.folder / name) for name in (PLAN, TREE) if job.tree},
            blank=blank,
            plan=plan.model_copy(update=further),
            execution=execution.model_copy(update=about),
            timings=timings,
            versions=versions(),
            machine=machine(session.device),
            hub=job.source.entry.commits(),
            baseline=baseline_hash,
            joules=outcome.joules,
        )

    return finish(job.folder, rows, made, job.files)


def _rows(job: Job, *, reuse: bool) -> dict[str, Any]:
    """Return what a record says of the rows that the denoiser evaluates, as far as its model tells."""
    made, baseline = job.evaluations(reuse=reuse), job.baseline_evaluations
    rows: dict[str, Any] = {
        "unguided_steps": made.unguided or None,
        "baseline_unguided_steps": baseline.unguided or None,
        "reused_rows": made.reused or None,
    }
    with suppress(UserError):  # a component that cannot run on shapes alone: its FLOPs are not known either
        rows |= {
            "nfe": nfe(components(job.source), made),
            "baseline_nfe": nfe(components((job.baseline or job).source), baseline),
        }
    return rows


def _place(job: Job) -> str:
    """Name the pictures of a job in a few words."""
    what = f"tau {job.config.tau:f}" if job.role == "sharing" else "baseline"
    return f"{job.source.entry.name}, seed {job.source.settings.seed}, {what}"


def _write_prompts(job: Job) -> None:
    """Write the texts beside their baseline, for whoever reads the run folder; only where they differ."""
    path = job.folder / PROMPTS
    content = (canonical_json(list(job.source.prompts.prompts)) + "\n").encode()
    if not path.is_file() or path.read_bytes() != content:
        atomic_write(path, content)


def _flag_versions(manifest: Manifest, session: Session) -> None:
    """Note once which libraries have other versions now than those that made what is kept."""
    if changed := changed_versions(manifest.versions, versions()):
        session.note(f"pictures that are kept were made with {changed}")
