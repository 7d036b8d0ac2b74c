"""`bench sweep`: the same prompts with and without sharing, over a grid, with tables and figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import executors
from bench import options as o
from bench.costs import HERE, Priced, priced
from bench.documents import print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.results import DryRun
    from bench.screen import Screen
    from reports.tracking import MlflowTracker
    from reusebench import Run
    from sweeps.events import SweepStarted
    from sweeps.executors.base import Executor
    from sweeps.spec import SweepSpec

FAILED = 1


@priced
def begin(
    adapt: "Callable[[list[Mapping[str, Any]]], list[Mapping[str, Any]]]" = list,
    tables: "Sequence[str]" = (),
    settle: "Callable[[SweepSpec], SweepSpec] | None" = None,
    carry: "Callable[..., bool] | None" = None,
    *,
    spec: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A YAML file of these settings, such as a run's sweep.yaml; flags override it.",
            rich_help_panel="What to make",
        ),
    ] = None,
    executor: executors.Name = "local",
    address: executors.Address = None,
    workers: executors.Workers = None,
    store: executors.Store = None,
    devices: executors.Devices = None,
    rescore: Annotated[
        bool, typer.Option("--rescore", help="Score the images again; make none.", rich_help_panel="What to score")
    ] = False,
    name: Annotated[str | None, o.name_of("run")] = None,
    out: o.Out = Path("runs"),
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the cells and what they cost; make nothing.", rich_help_panel=o.LEAVE),
    ] = False,
    tracking_uri: o.TrackingUri = None,
    experiment: o.Experiment = None,
    mlflow: o.Mlflow = True,
    system_metrics: Annotated[
        bool,
        typer.Option(
            "--system-metrics",
            help="Also log the use of processor, memory, disk and GPU to MLflow.",
            rich_help_panel=o.LEAVE,
        ),
    ] = False,
    as_json: o.Json = False,
    pricing: Priced = HERE,
    **settings: Any,
) -> None:
    """Run the sweep that the options of a command say; exit with 1 where a cell failed.

    Args:
        adapt: from the settings of the preset and of the file, to the layers that stand beneath the flags.
        tables: those to print; all unless given.
        settle: from the spec that was asked for, to the one that is run.
        carry: what runs it, as `carry_out` does unless given.
        settings: of a spec, as flags.
    """
    from sweeps.continuing import run_name
    from sweeps.spec import make_spec, read_preset, read_yaml

    flags = executors.of_devices(o.given(settings), devices)
    layers: list[Mapping[str, Any]] = [read_preset(flags["preset"])] if "preset" in flags else []
    asked = make_spec([*adapt([*layers, *([read_yaml(spec)] if spec else [])]), flags])
    asked = settle(asked) if settle else asked
    failed = (carry or carry_out)(
        asked,
        out / (o.checked_name(name) if name else run_name(asked, out)),
        o.tracking(tracking_uri, out, mlflow),
        dry_run=dry_run,
        rescore=rescore,
        system_metrics=system_metrics,
        experiment=experiment,
        tables=tables,
        executor=executors.chosen(executor, address, workers, store, devices),
        pricing=pricing,
        as_json=as_json,
    )
    if failed:
        raise typer.Exit(FAILED)


@o.spec_options(begin)
def sweep(**options: Any) -> None:
    """Generate the same prompts with and without sharing, score both, and say what sharing saved and cost.

    Most settings take several values, and every combination is a cell: repeat the option, or separate values with
    commas. The same command continues a sweep that was interrupted.
    """
    begin(**options)


def carry_out(
    asked: "SweepSpec",
    folder: Path,
    uri: str | None,
    *,
    dry_run: bool = False,
    rescore: bool = False,
    system_metrics: bool = False,
    experiment: str | None = None,
    tables: "Sequence[str]" = (),
    executor: "Executor | None" = None,
    pricing: Priced = HERE,
    as_json: bool = False,
    silent: bool = False,
) -> bool:
    """Run a sweep in `folder` as the command does, and print its tables, its places and its time, unless `silent`.

    The options are those of `begin`; `uri` is where MLflow is, None for nowhere.

    Returns:
        True where a cell failed.
    """
    from bench.results import print_answer, print_costs, print_places, print_tables, seconds_line, swept
    from bench.screen import screen
    from sweeps.machine import checked_device
    from sweeps.plan import Plan

    if dry_run:
        print_costs(_planned(asked, folder, executor, pricing), as_json=as_json)
        return False
    with screen() as seen:
        device = checked_device(asked.device)
        tracker = tracker_of(uri, seen, system_metrics, experiment)

        def began(event: "SweepStarted") -> None:
            plan = Plan(event.spec, event.run, tuple(event.jobs))
            pricing.announce(plan.picture_sets, device, seen, folder.parent, spec=event.spec)

        run = run_shown(asked, folder, seen, rescore, tracker, executor, began=began)
    assert run.report
    seconds = seen.seconds()
    tracked = uri if tracker and tracker.worked else None
    if silent:
        return bool(run.failed)
    if as_json:
        print_json(swept(run, tracked, seconds))
        return bool(run.failed)
    print_tables(run.report, tables)
    print_answer(run.report)
    print_places(folder, run.report, tracked)
    paid = pricing.paid(sum(seconds.values()), device)
    typer.echo(f"time     {seconds_line(seconds)}{paid}")
    return bool(run.failed)


def _planned(asked: "SweepSpec", folder: Path, executor: "Executor | None", pricing: Priced) -> "DryRun":
    """Return what a sweep will do and cost; nothing is made."""
    import reusebench
    from bench.results import DryRun
    from bench.screen import screen
    from sweeps.audit import short_copies
    from sweeps.events import Note

    with screen() as seen:
        planned = reusebench.plan(
            asked, folder=folder, emit=seen, executor=executor, absent=lambda line: seen(Note(line))
        )
        copies = short_copies(planned.jobs, planned.scorers) if asked.audit else 0
        costs = planned.inner.costs(planned.session)
        bill = pricing.bill(planned.inner.picture_sets, planned.device, folder.parent, spec=asked)
    return DryRun(planned.inner, costs, bill, None if asked.alone else planned.inner.united(), copies)


def tracker_of(
    uri: str | None, seen: "Screen", system_metrics: bool = False, experiment: str | None = None
) -> "MlflowTracker | None":
    """Return what logs a run to MLflow; None where there is to be none."""
    from reports.tracking import MlflowTracker
    from sweeps.events import Note

    if not uri:
        return None
    return MlflowTracker(uri, lambda line: seen(Note(line)), system_metrics=system_metrics, experiment=experiment)


def run_shown(
    spec: "SweepSpec",
    folder: Path,
    seen: "Screen",
    rescore: bool,
    tracker: "MlflowTracker | None",
    executor: "Executor | None",
    *,
    delta: float | None = None,
    began: "Callable[[SweepStarted], None]" = lambda event: None,
) -> "Run":
    """Run the sweep, then write its report, then what MLflow gets of it: all from the records that are on disk.

    `began` hears, before any picture is made, which jobs there are; `delta` is the report's.
    """
    import reusebench
    from common.files import full_disk_told, watched
    from sweeps.events import CellFinished, Event, Note, SweepStarted

    def emit(event: Event) -> None:
        seen(event)
        if isinstance(event, SweepStarted):
            began(event)
        if tracker and isinstance(event, SweepStarted):
            prompts = {job.source.prompts.name: job.source.prompts.prompts for job in event.jobs}
            with seen.stage("track"):
                tracker.sweep_started(event.spec.model_dump(mode="json"), prompts, event.run)
        elif tracker and isinstance(event, CellFinished) and not (event.kept and event.record.error):
            with seen.stage("track"):
                tracker.cell_finished(event.record)

    with watched(folder), full_disk_told(folder, "free some space and run the same command again: it continues"):
        run = reusebench.sweep(spec, folder=folder, emit=emit, rescore=rescore, executor=executor, reports=False)
        with seen.stage("report"):
            report = reusebench.report(run, delta=delta)
        for note in report.notes:
            seen(Note(note))
        if tracker:
            with seen.stage("track"):
                tracker.sweep_finished(folder, run.records)
        seen.check()
    return run
