"""A sweep is four passes over its run folder: plan, generate, score, describe. Each does what is missing there."""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import full_disk_told, unwritable, watched
from common.plugins import code_change, no_exit
from generators.catalogue import model
from generators.model_entry import ModelEntry
from metrics.scorer_audit import ScorerAudit
from sweeps.audit import FULL, Floors, audit_run
from sweeps.continuing import continued
from sweeps.cost import components
from sweeps.describe import describe, with_indifference
from sweeps.events import CellFinished, CellScored, Emit, SweepStarted, stage
from sweeps.executors.base import Executor
from sweeps.executors.local import Local
from sweeps.fewer_steps import fewer_steps
from sweeps.generate import Made, generate
from sweeps.grid import Cell
from sweeps.jobs import Job
from sweeps.machine import changed_versions, machine, versions
from sweeps.plan import Plan, check, plan_sweep
from sweeps.record import Failure, Record, load_records, write_expected
from sweeps.score import Compared, score
from sweeps.scorers import NONE, Scorers
from sweeps.scores import digests, same_scorer
from sweeps.session import Session
from sweeps.spec import SweepSpec
from sweeps.store import Store, open_store, saved_spec


def sweep(
    spec: SweepSpec,
    run: Path,
    *,
    device: str,
    emit: Emit,
    rescore: bool = False,
    executor: Executor | None = None,
) -> list[Record]:
    """Give every cell of a spec a record in the run folder.

    Args:
        run: the run folder, new, or of the same sweep: then what is there is kept.
        rescore: measure all pictures again; none is made again.
        executor: where groups of jobs are denoised; in this process unless given.

    Returns:
        One record a cell and reference, in order; those that failed say why.

    Raises:
        UserError: something was refused before it began (`sweeps.plan.check`), another process holds the folder, or
            the disk is full.
    """
    with stage(emit, "identify"):
        spec = continued(spec, run, device)
        shared, scorers = check(spec, run, device)
    session = Session.of(spec, device, emit, executor)
    with watched(run):
        plan, folders = generated(spec, shared, run, session, scorers, executor)
        return described_pictures(plan, folders, scorers, session, again=rescore)


def generated(
    spec: SweepSpec,
    shared: Sequence[Cell],
    run: Path,
    session: Session,
    scorers: Mapping[str, Scorers],
    executor: Executor | None = None,
) -> tuple[Plan, dict[Path, Made]]:
    """Run the first two passes: plans and pictures are in the run folder afterwards, and no record yet.

    Args:
        shared: the spec's cells, as `sweeps.plan.check` gives them, and `scorers` likewise.
        executor: as for `sweep`, which raises the same errors.

    Returns:
        The plan, and by folder its pictures, as `generate` returns them.
    """
    executor = executor or Local()
    # nothing is scored within this block: its workers would keep the accelerators that scorers need
    with _disk(run), open_store(run, spec), executor.opened(spec, session.device, session.emit):
        plan = plan_sweep(spec, shared, run, session, scorers=scorers)
        write_expected(run, {job.id: job.place() for job in plan.jobs})
        session.emit(SweepStarted(run, spec, plan.jobs))
        folders = generate(plan.picture_sets, session, executor)
        session.release()
        return plan, folders


def described_pictures(
    plan: Plan,
    folders: Mapping[Path, Made],
    scorers: Mapping[str, Scorers],
    session: Session,
    *,
    again: bool = False,
) -> list[Record]:
    """Run the last two passes after `generated`; arguments are those of `described`."""
    with _disk(plan.run), open_store(plan.run, plan.spec) as store:
        return list(described(plan, folders, scorers, store, session, again=again))


def rescore(
    run: Path,
    asked: Sequence[str],
    device: str,
    emit: Emit,
    *,
    again: bool = False,
    audit: bool | None = None,
    indifference: float | None = None,
) -> list[tuple[Record, UserError]]:
    """Run the last two passes over the finished records of a run, whose models and prompts need not be here any more.

    What the same scorer measured of the same pictures is used again; results are made anew from all that is there,
    and those of other scorers stay. A scorer keeps the name that it has in the run.

    Args:
        run: a run folder; it is held meanwhile.
        asked: as in `Scorers`; where it is empty, the scorers of the sweep's own spec.
        again: measure even what is there.
        audit: measure the floors of the scorers; as the sweep's own spec unless given.
        indifference: as the setting of a spec; likewise.

    Returns:
        Records that could not be scored, and why; they are as they were.

    Raises:
        UserError: the folder is no run, another process's, or has no finished cell; or a scorer cannot be had.
    """
    spec = saved_spec(run)
    failures: list[tuple[Record, UserError]] = []
    with _disk(run), open_store(run, spec) as store:
        records = [record for record in load_records(run) if record.status == "done"]
        if not records:
            raise UserError(f"{run} has no finished cell", "run the same sweep again")
        scorers = _run_scorers(records, asked or [text for text in spec.metric if text != NONE], device)
        audit, given = (
            spec.audit if audit is None else audit,
            spec.indifference if indifference is None else indifference,
        )
        floors = Floors(run, emit, audited=audit, given=given, again=again)
        for number, (record, compared) in enumerate(score(run, records, scorers, emit, again=again), 1):
            if isinstance(compared, UserError):
                failures.append((record, compared))
                emit(CellScored(record, number, len(records), compared))
                continue
            if isinstance(compared, Exception):
                raise compared
            measuring = scorers[record.config.model]
            if (scored := describe(compared, measuring, floors=floors.of(compared, measuring))) != record:
                store.save(scored)
            emit(CellScored(scored, number, len(records)))
    return failures


def audit(
    run: Path, asked: Sequence[str], device: str, emit: Emit, *, most: int = FULL, again: bool = False
) -> list[ScorerAudit]:
    """Audit scorers on the baseline pictures of a run, and give its records their floors as zones of indifference.

    Args:
        run: a run folder; it is held meanwhile, and keeps the audits.
        asked: as in `Scorers`; where it is empty, the scorers of the sweep's own spec.
        device: where the metrics run.
        emit: hears progress.
        most: pictures of a prompt set that are edited.
        again: also make these pictures again with fewer steps, as damage; the models have to be here.

    Returns:
        One a scorer, model and prompt set.

    Raises:
        UserError: the folder is no run, another process's, or has no finished cell; or a scorer cannot be had.
    """
    spec = saved_spec(run)
    with _disk(run), open_store(run, spec) as store:
        records = [record for record in load_records(run) if record.status == "done"]
        if not records:
            raise UserError(f"{run} has no finished cell", "run the same sweep again")
        scorers = _run_scorers(records, asked or [text for text in spec.metric if text != NONE], device)
        made_again = partial(_made_again, spec, device, emit) if again else None
        audits = audit_run(run, records, scorers, emit, most, made_again)
        for record in records if spec.indifference is None else ():
            own = [one for one in audits if (one.model, one.dataset) == (record.config.model, record.config.dataset)]
            floors = {one.scorer: one.floor for one in own if same_scorer(record.scorers.get(one.scorer), one.identity)}
            about = {**record.scorers, **with_indifference({name: record.scorers[name] for name in floors}, floors)}
            if about != record.scorers:
                store.save(record.model_copy(update={"scorers": about}))
    return audits


def _made_again(
    spec: SweepSpec, device: str, emit: Emit, record: Record, prompts: Sequence[str], rows: Sequence[int]
) -> AbstractContextManager[dict[int, dict[int, Path]]]:
    return fewer_steps(spec, record, prompts, rows, device, emit)


def described(
    plan: Plan,
    folders: Mapping[Path, Made],
    scorers: Mapping[str, Scorers],
    store: Store,
    session: Session,
    *,
    again: bool = False,
) -> Iterator[Record]:
    """Score and describe the jobs of a plan, one record after the other; what is described already is kept.

    Args:
        folders: what `generate` returned for the plan's picture sets.
        scorers: by model.
        again: measure even what is there.
    """
    jobs = {job.id: job for job in plan.jobs}
    known = {job.id: store.done(job.id, session.damaged) for job in plan.jobs}
    manifests = {folder: pictures.manifest for folder, pictures in folders.items()}
    so_far = [known[job.id] or job.record() for job in plan.jobs]
    spec, emit = plan.spec, session.emit
    floors = Floors(plan.run, emit, audited=spec.audit, given=spec.indifference, again=again)
    for before, compared in score(plan.run, so_far, scorers, session.emit, manifests=manifests, again=again):
        job, measuring, kept = jobs[before.id], scorers[before.config.model], known[before.id] is not None
        if before.strategy_source and (note := code_change(before.strategy_source, job.strategy_source, job.id)):
            session.note(note)
        try:
            if error := job.error or (compared if isinstance(compared, Exception) else None):
                raise error
            assert isinstance(compared, Compared)
            _flag_scorers(compared, measuring, session)
            with no_exit():
                record = _described(job, compared, measuring, folders, kept, floors.of(compared, measuring))
            kept = record is before  # the very object: equal content that was described anew is written
        except Exception as error:
            if unwritable(error):
                raise
            record = _failed(job.record(), error, session.device)  # in place of nothing that is done
        if not kept:
            record = _saved(record, store, job, session)
        session.emit(CellFinished(record, kept))
        yield record


def _described(
    job: Job,
    compared: Compared,
    scorers: Scorers,
    folders: Mapping[Path, Made],
    known: bool,
    floors: Mapping[str, float],
) -> Record:
    """Return the job's record; the very one that is on disk where nothing in it would be new."""
    assert job.baseline
    if not (folders[job.folder].kept and folders[job.baseline.folder].kept):
        # new pictures: nothing that the old record says of scorers that are not asked for now holds
        compared = replace(compared, record=job.record())
    elif (
        known
        and not (compared.ours.new or compared.baseline.new)
        and scorers.measured(compared.record.scorers)
        and _is_of(compared, scorers)
    ):
        record = compared.record
        own = {name: record.scorers[name] for name in scorers.metrics}
        about = {**record.scorers, **with_indifference(own, floors)}
        return record if about == record.scorers else record.model_copy(update={"scorers": about})
    return describe(compared, scorers, components(job.source), timed=job.role == "sharing", floors=floors)


def _is_of(compared: Compared, scorers: Scorers) -> bool:
    """Return True where a record was made from these scores; what earlier versions made is believed."""
    ours, theirs = digests(compared.ours.scores), digests(compared.baseline.scores)
    record = compared.record
    sets = {
        record.baseline: compared.baseline.manifest.hash,
        record.images or f"cells/{record.id}": compared.ours.manifest.hash,
    }
    return all(sets.get(folder) == digest for folder, digest in record.picture_sets.items()) and all(
        record.scored.get(name, found := (ours[name], theirs[name])) == found for name in scorers.metrics
    )


def _saved(record: Record, store: Store, job: Job, session: Session) -> Record:
    """Write a record, or return one that says why it cannot be written: the other cells go on."""
    try:
        store.save(record)
    except OSError as error:
        if unwritable(error):
            raise
        return _failed(job.record(), error, session.device)
    return record


def _flag_scorers(compared: Compared, scorers: Scorers, session: Session) -> None:
    """Note once which libraries have other versions now than those that measured what is kept."""
    for scored in (compared.baseline, compared.ours):
        for name, identity in scorers.identities.items():
            then = scored.scores.scorers[name].get("packages", {})
            if changed := changed_versions(then, identity.get("packages", {})):
                session.note(f"scores that are kept were made with {changed}")


def _failed(record: Record, error: Exception, device: str) -> Record:
    if isinstance(error, UserError):
        failure = Failure(type="UserError", message=error.message, hint=error.hint)
    elif isinstance(error, OSError) and error.filename:
        hint = f"move it away, or see its permissions, and run the same command again: {error.filename}"
        failure = Failure(type=type(error).__name__, message=str(error.strerror), hint=hint)
    else:
        trace = "".join(traceback.format_exception(error))
        failure = Failure(type=type(error).__name__, message=str(error), traceback=trace)
    return record.model_copy(
        update={
            "status": "failed",
            "baseline": None,
            "images": None,
            "picture_sets": {},
            "scored": {},
            "control": False,
            "conditioned_on": None,
            "versions": versions(),
            "machine": machine(device),
            "error": failure,
        }
    )


def _disk(run: Path) -> AbstractContextManager[None]:
    return full_disk_told(run, "free some space and run the same command again: finished cells are kept")


def _run_scorers(records: Sequence[Record], asked: Sequence[str], device: str) -> dict[str, Scorers]:
    """Return the scorers of a run by model; their names are those that they have anywhere in the run."""
    known: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        for name, about in record.scorers.items():
            known.setdefault(name, []).append(about)
    by_model = {
        name: Scorers(_entry(name), asked, device, known)
        for name in dict.fromkeys(record.config.model for record in records)
    }
    for name, scorers in by_model.items():
        if not scorers.identities:
            raise UserError(f"there is nothing to score {name} by", "add for example --metric vqa=hf:OWNER/MODEL")
    return by_model


def _entry(name: str) -> ModelEntry | None:
    """Return a model of the catalogue, which need not be here any more."""
    try:
        return model(name)
    except UserError:
        return None
