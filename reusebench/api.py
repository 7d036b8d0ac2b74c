"""The functions. Each takes what the one before returned, or a spec's settings, and does what is missing."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from common.errors import UserError
from reusebench.run import Plan, Run
from sweeps.events import Emit, Event, Note, stage
from sweeps.spec import SweepSpec, make_spec, read_yaml

if TYPE_CHECKING:
    from metrics.scorer_audit import ScorerAudit
    from reports.render import Report
    from sweeps.executors.base import Executor

RUNS = Path("runs")
StrPath: TypeAlias = str | os.PathLike[str]
# A sweep to plan: a spec, its settings, a YAML file, or nothing where settings are given as keywords.
SpecLike: TypeAlias = SweepSpec | Mapping[str, Any] | str | os.PathLike[str] | None


def plan(
    spec: SpecLike = None,
    *,
    folder: StrPath | None = None,
    device: str | None = None,
    emit: Emit | None = None,
    executor: "Executor | None" = None,
    absent: Callable[[str], None] | None = None,
    **settings: Any,
) -> Plan:
    """Return what a sweep will do and cost. Prompts are encoded and clustered; no picture is made, nothing is written.

    Args:
        spec: the sweep: a `SweepSpec`, a mapping of its settings, or the path of a YAML file with them.
        folder: the run folder, ``runs/<name>`` unless given; conditioning that is there is not computed again.
        device: a torch device; ``cuda`` where there is one unless given.
        emit: hears progress and notes; notes go to the logger ``reusebench`` unless given.
        executor: where groups of jobs will be denoised; in this process unless given.
        absent: hears of scorers that cannot run on this machine now, and the plan is then without them: to see what a
            sweep will do elsewhere. They are refused unless it is given.
        settings: settings of the spec, which win: ``model="mini-sd", prompt=["a fox", ...], tau="0..2"``.

    Raises:
        UserError: a name, value, model, prompt set or metric cannot be had; the message says which and what to do.

    Examples:
        >>> import reusebench as rb
        >>> planned = rb.plan(model="mini-kandinsky", prompt=["a red fox", "a red wolf"], tau=1)  # doctest: +SKIP
        >>> planned.frame()[["role", "tau", "nfe", "savings"]]  # doctest: +SKIP
    """
    from sweeps.continuing import continued
    from sweeps.plan import check, plan_sweep
    from sweeps.session import Session

    spec = _spec(spec, settings)
    run, device = _folder(folder, spec), _device(device or spec.device)
    emit = emit or _log
    with stage(emit, "identify"):
        spec = continued(spec, run, device)
        cells, scorers = check(spec, run, device, absent)
    session = Session.of(spec, device, emit, executor)
    inner = plan_sweep(spec, cells, run, session, scorers=scorers, keep=False)
    return Plan(spec, run, device, inner, session, cells, scorers, executor)


def generate(plan: Plan | SpecLike = None, **more: Any) -> Run:
    """Make the pictures of a plan, and of its baselines, that are not in its folder yet; nothing is scored.

    Args:
        plan: what `plan` returned, or what it takes.
        more: as for `plan`, where no plan is given.

    Raises:
        UserError: as `plan`, or another process holds the folder.
    """
    from sweeps.passes import generated

    planned = _planned(plan, more)
    inner, folders = generated(planned.spec, planned.cells, planned.folder, planned.session, planned.scorers)
    whole = Plan(planned.spec, planned.folder, planned.device, inner, planned.session, planned.cells, planned.scorers)
    return Run(planned.folder, plan=whole, made=folders)


def score(
    run: Run | StrPath,
    *,
    metric: str | Sequence[str] = (),
    device: str | None = None,
    emit: Emit | None = None,
    again: bool = False,
    audit: bool | None = None,
    indifference: float | None = None,
) -> Run:
    """Measure a run's pictures where that was not done yet, and describe them in records; no picture is made.

    Args:
        run: what `generate` or `sweep` returned, or a run folder with records.
        metric: the scorers, as ``vqa``, ``clip_diversity:images=all``, ``vqa=CHECKPOINT``; those of the sweep's
            spec unless given.
        device: where they run.
        emit: as for `plan`.
        again: measure even what is there.
        audit: also measure which score differences mean nothing; as the sweep's spec unless given.
        indifference: score differences below it are ties in claims; likewise.

    Returns:
        The run; `Run.failed` are the records that could not be scored.

    Raises:
        UserError: a scorer cannot be had, the folder is no run, or another process holds it.
    """
    from sweeps.passes import described_pictures, rescore

    run = run if isinstance(run, Run) else Run(Path(run))
    asked = [metric] if isinstance(metric, str) else list(metric)
    if run.plan and not asked and audit is None and indifference is None:
        planned = run.plan
        records = described_pictures(planned.inner, run.made, planned.scorers, planned.session, again=again)
        return Run(run.folder, failed=[record for record in records if record.error])
    failures = rescore(
        run.folder, asked, _device(device), emit or _log, again=again, audit=audit, indifference=indifference
    )
    return Run(run.folder, failed=[record for record, _ in failures])


def audit(
    folder: Run | StrPath,
    *,
    prompts: StrPath | None = None,
    column: str | None = None,
    metric: str | Sequence[str] = (),
    limit: int = 120,
    fewer_steps: bool = False,
    out: StrPath | None = None,
    device: str | None = None,
    emit: Emit | None = None,
) -> "list[ScorerAudit]":
    """Return what scorers can be trusted to tell of the pictures of a run, or of a folder: its audits, with verdicts.

    Pictures and edited copies of them are scored; no copy is kept. In a run, the baseline's pictures are audited, the
    run keeps the audits, and its records get the scorers' floors.

    Args:
        folder: a run or its folder, or any folder of pictures.
        prompts: a file of the prompts of a folder of pictures.
        column: of the prompts, where that file is a table; it is guessed unless given.
        metric: the scorers, as for `score`; those of the sweep's spec unless given.
        limit: the most pictures of a prompt set that are edited, evenly from first to last.
        fewer_steps: also make a run's baseline pictures with a half and a quarter of the steps, as damage.
        out: where the audits of a folder of pictures go; ``audits/<its name>`` unless given.
        device: where they run.
        emit: as for `plan`.

    Returns:
        One audit a scorer, model and prompt set; `ScorerAudit.verdict` says it in sentences.

    Raises:
        UserError: a scorer cannot be had, a picture cannot be read, or the folder is no run and no prompts are given.

    Examples:
        >>> import reusebench as rb
        >>> (found,) = rb.audit("runs/demo", metric="vqa")  # doctest: +SKIP
        >>> found.trusted, found.verdict  # doctest: +SKIP
    """
    from reusebench.auditing import audit_pictures
    from sweeps import passes

    asked, place = [metric] if isinstance(metric, str) else list(metric), _device(device)
    if prompts is None and column is not None:
        raise TypeError("`column` is of a file of `prompts`, and none is given")
    if prompts is None:
        run = folder.folder if isinstance(folder, Run) else Path(folder)
        return passes.audit(run, asked, place, emit or _log, most=limit, again=fewer_steps)
    if isinstance(folder, Run):
        raise TypeError("a run knows its prompts: leave `prompts` out")
    if fewer_steps:
        raise UserError("pictures of a folder cannot be made again with fewer steps", "audit a run for that")
    pictures = Path(folder)
    told = emit or _log
    return audit_pictures(pictures, Path(prompts), column, Path(out) if out else None, asked, place, told, limit)


def report(run: Run | StrPath, *, delta: float | None = None, indifference: float | None = None) -> "Report":
    """Write a run's tables, figures and page from its records, and return them.

    Args:
        run: a run or its folder.
        delta: how far below one half a win rate may lie and still be parity; 0.05 unless given.
        indifference: score differences below it are ties in claims, verdicts and rankings; what the run recorded unless
            given, and 0 for the strict rule.

    Raises:
        UserError: the folder is no run. A record that is damaged is left out, and the report's notes name it.
    """
    from metrics.parity import DELTA
    from reports.publish import publish
    from sweeps.record import read_run
    from sweeps.store import saved_spec

    run = run if isinstance(run, Run) else Run(Path(run))
    saved_spec(run.folder)
    records = read_run(run.folder).records if (run.folder / "cells").is_dir() else []
    run.report = publish(run.folder, records, DELTA if delta is None else delta, indifference)
    return run.report


def sweep(
    spec: SpecLike = None,
    *,
    folder: StrPath | None = None,
    device: str | None = None,
    emit: Emit | None = None,
    executor: "Executor | None" = None,
    rescore: bool = False,
    reports: bool = True,
    **settings: Any,
) -> Run:
    """Make the same prompts with and without sharing, score both, and say what sharing saved and cost.

    The same call continues a sweep that was interrupted, and keeps what is done.

    Args:
        spec: as for `plan`.
        folder: as for `plan`.
        device: as for `plan`.
        emit: as for `plan`.
        executor: as for `plan`.
        rescore: measure all pictures again; none is made again.
        reports: write tables, figures and the page.
        settings: as for `plan`.

    Returns:
        The run; `Run.failed` are the cells that failed.

    Raises:
        UserError: as `plan`, another process holds the folder, or the disk is full.

    Examples:
        >>> import reusebench as rb
        >>> run = rb.sweep(model="mini-kandinsky", prompt=["a red fox", "a red wolf"], tau=1)  # doctest: +SKIP
        >>> run.images()[0].size  # doctest: +SKIP
        (64, 64)
    """
    from sweeps import passes

    spec = _spec(spec, settings)
    run = Run(_folder(folder, spec))
    device = _device(device or spec.device)
    records = passes.sweep(spec, run.folder, device=device, emit=emit or _log, rescore=rescore, executor=executor)
    run.failed = [record for record in records if record.error]
    if reports:
        report(run)
    return run


def _spec(spec: SpecLike, settings: Mapping[str, Any]) -> SweepSpec:
    if isinstance(spec, SweepSpec):
        layers: list[Mapping[str, Any]] = [spec.model_dump(exclude_unset=True)]
    elif isinstance(spec, Mapping):
        layers = [spec]
    else:
        layers = [read_yaml(Path(spec))] if spec is not None else [{}]
    return spec if isinstance(spec, SweepSpec) and not settings else make_spec([*layers, settings])


def _folder(folder: StrPath | None, spec: SweepSpec) -> Path:
    if folder is not None:
        return Path(folder)
    from sweeps.continuing import run_name

    return RUNS / run_name(spec, RUNS)


def _planned(plan_or_spec: Plan | SpecLike, more: Mapping[str, Any]) -> Plan:
    if isinstance(plan_or_spec, Plan):
        if more:
            raise TypeError(f"a plan is complete: {', '.join(more)} cannot be changed; plan again")
        return plan_or_spec
    return plan(plan_or_spec, **more)


def _device(asked: str | None) -> str:
    """Return the requested device, else the best there is.

    Raises:
        UserError: this machine has none such.
    """
    from sweeps.machine import checked_device

    return checked_device(asked)


def _log(event: Event) -> None:
    """Log notes by the logger ``reusebench``; progress is not logged."""
    if isinstance(event, Note):
        logging.getLogger("reusebench").info(event.text)
