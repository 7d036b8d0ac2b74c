"""Runs a sweep's cells: what is done and whole is kept, what is not is made, and one cell's failure is its own."""

import traceback
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from common.errors import UserError
from sweeps.energy import Joules, meter
from sweeps.events import CellFinished, CellStarted, Emit, Note, SweepStarted
from sweeps.executors.base import Executor
from sweeps.executors.local import Local
from sweeps.families import Families
from sweeps.grid import Cell
from sweeps.machine import machine, versions
from sweeps.record import Failure, Record
from sweeps.references import Reference, with_references
from sweeps.scoring import Scorers
from sweeps.source_run import Context, SourceRun
from sweeps.spec import SweepSpec
from sweeps.store import disk_full, open_store, refuse_another, refuse_others
from sweeps.unions import kind, make_together


def run_sweep(
    spec: SweepSpec,
    cells: Sequence[Cell | Reference],
    folder: Path,
    *,
    device: str,
    emit: Emit,
    rescore: bool = False,
    executor: Executor | None = None,
) -> list[Record]:
    """Give every cell a record in the run folder `folder`.

    Args:
        spec: what the cells came from.
        cells: those of one source together.
        folder: new, or of the same sweep: then what is there is kept.
        device: a torch device.
        emit: hears everything.
        rescore: measure all images again; none is made again.
        executor: where plans are denoised; in this process unless given.

    Returns:
        One record a cell, in order; those that failed say why.

    Raises:
        UserError: the folder is another process's or another sweep's, a metric cannot run, or the disk is full.
    """
    scorers = check_sweep(spec, cells, folder, device)
    families = Families(device, spec.offload, _meter(device, emit) if spec.energy else None, spec.acceleration(device))
    executor = executor or Local()
    try:
        with open_store(folder, spec) as store, executor.opened(spec, device, emit):
            emit(SweepStarted(folder, spec, cells))
            context = Context(
                store, families, scorers, device, spec.batch_size, emit, rescore, executor, spec.alone, spec.save_every
            )
            return list(_records(context, cells))
    except Exception as error:
        if disk_full(error):
            raise UserError(
                f"the disk that holds {folder} is full",
                "free some space and run the same command again: finished cells are kept",
            ) from error
        raise


def check_sweep(spec: SweepSpec, cells: Sequence[Cell | Reference], folder: Path, device: str) -> dict[str, Scorers]:
    """Refuse before a sweep starts what would stop it; arguments are those of `run_sweep`.

    Returns:
        By model, its scorers, whose checkpoints are here.

    Raises:
        UserError: the folder is another sweep's, or a metric cannot run.
        OSError: the folder cannot be written.
    """
    refuse_another(folder, spec)
    sharing = [cell for cell in cells if isinstance(cell, Cell)]
    every = with_references(sharing, another_seed=True, fewer_steps=True)
    refuse_others(folder, {cell.id: cell.identity for cell in every})
    with TemporaryDirectory(dir=next(place for place in (folder, *folder.parents) if place.exists())):
        pass
    return check_scorers(spec, cells, device)


def check_scorers(spec: SweepSpec, cells: Sequence[Cell | Reference], device: str) -> dict[str, Scorers]:
    """By model, its scorers, whose checkpoints are here.

    Raises:
        UserError: a metric cannot run.
    """
    entries = {cell.source.entry.name: cell.source.entry for cell in cells}
    scorers = {name: Scorers(entry, spec.metric, device) for name, entry in entries.items()}
    for each in scorers.values():
        _ = each.identities
    return scorers


def _meter(device: str, emit: Emit) -> Joules | None:
    try:
        return meter(device)
    except UserError as error:
        emit(Note(f"{error.message} ({error.hint})"))
        return None


def _records(context: Context, cells: Sequence[Cell | Reference]) -> Iterator[Record]:
    for _, group in groupby(cells, key=lambda cell: kind(cell.source)):
        alike = [(source, list(its)) for source, its in groupby(group, key=lambda cell: cell.source)]
        context.runs.clear()
        if context.together:
            pending = [each for source, its in alike for each in context.run(source).pending(its)]
            make_together(pending, context.store.folder, context.emit)
        for source, same_source in alike:
            run = context.run(source)
            for place, cell in enumerate(same_source):
                context.emit(CellStarted(cell))
                if context.executor.ahead:
                    run.ahead(same_source[place : place + 1 + context.executor.ahead])
                record, kept = _guarded(context, run, cell)
                context.emit(CellFinished(record, kept))
                yield record


def _guarded(context: Context, run: SourceRun, cell: Cell | Reference) -> tuple[Record, bool]:
    """The cell's record, saved unless it was there; a failure is a record too, and replaces none that is done."""
    try:
        record, kept = run.record(cell)
    except Exception as error:
        if disk_full(error):
            raise
        record, kept = _failed(cell, error, context.device), context.store.done(cell.id) is not None
    if not kept:
        context.store.save(record)
    return record, kept


def _failed(cell: Cell | Reference, error: Exception, device: str) -> Record:
    if isinstance(error, UserError):
        failure = Failure(type="UserError", message=error.message, hint=error.hint)
    else:
        trace = "".join(traceback.format_exception(error))
        failure = Failure(type=type(error).__name__, message=str(error), traceback=trace)
    return Record(
        id=cell.id,
        status="failed",
        role=cell.role,
        asked=cell.asked,
        identity=cell.identity,
        versions=versions(),
        machine=machine(device),
        error=failure,
    )
