"""`bench sweep`: the same prompts with and without sharing, over a grid, with tables and figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import executors
from bench import options as o

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.screen import Screen
    from reports.render import Report
    from sweeps.executors.base import Executor
    from sweeps.grid import Cell
    from sweeps.references import Reference
    from sweeps.spec import SweepSpec

FAILED = 1


def sweep(
    context: typer.Context,
    tau: o.Taus = None,
    savings: o.Savings = None,
    model: o.Models = None,
    dataset: o.Datasets = None,
    prompts: o.PromptFile = None,
    prompt: o.Prompts = None,
    limit: o.Limit = None,
    strategy: o.Strategies = None,
    features: o.Features = None,
    schedule: o.Schedules = None,
    combiner: o.Combiners = None,
    noise: o.Noises = None,
    official: o.Official = None,
    steps: o.Steps = None,
    seed: o.Seeds = None,
    scheduler: o.Schedulers = None,
    guidance: o.Guidances = None,
    denoiser_cache: o.DenoiserCaches = None,
    negative_prompt: o.NegativePrompt = None,
    height: o.Height = None,
    width: o.Width = None,
    prior_steps: o.PriorSteps = None,
    prior_guidance: o.PriorGuidance = None,
    prior_seed: o.PriorSeed = None,
    others: o.Others = None,
    dtype: o.Dtype = None,
    metric: o.Metrics = None,
    another_seed: Annotated[
        bool | None,
        typer.Option(
            "--another-seed/--no-another-seed",
            help="Hold standard generation against itself with another seed: the win rate that means nothing. On.",
        ),
    ] = None,
    fewer_steps: Annotated[
        bool | None,
        typer.Option(
            "--fewer-steps/--no-fewer-steps",
            help="Also spend each tau's node-steps on standard generation with fewer steps. Off, but in the presets.",
        ),
    ] = None,
    device: o.Device = None,
    batch_size: o.BatchSize = None,
    offload: o.Offload = None,
    channels_last: o.ChannelsLast = None,
    compilation: o.Compilation = None,
    autocast: o.Autocast = None,
    threads: o.Threads = None,
    isolate: o.Isolate = None,
    save_every: o.SaveEvery = None,
    energy: Annotated[
        bool | None, typer.Option("--energy", help="Measure what an NVIDIA accelerator takes, through NVML.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A sweep in the box; flags win over it.")] = None,
    spec: Annotated[Path | None, typer.Option(help="A YAML file that says the same as flags; flags win.")] = None,
    name: Annotated[str | None, typer.Option(help="The run's name; by default it follows from the sweep.")] = None,
    out: o.Out = Path("runs"),
    dry_run: o.DryRun = False,
    rescore: Annotated[bool, typer.Option("--rescore", help="Score again what is there; make no image.")] = False,
    tracking_uri: o.TrackingUri = None,
    mlflow: o.Mlflow = True,
    system_metrics: Annotated[
        bool, typer.Option("--system-metrics", help="Also log what processor, memory, disk and accelerator do.")
    ] = False,
    executor: executors.Name = "local",
    address: executors.Address = None,
    workers: executors.Workers = None,
    store: executors.Store = None,
) -> None:
    """Generate the same prompts with and without sharing, score both, and say what sharing saved and cost.

    Axes take several values: repeat the option or separate values with commas. The same command continues a sweep
    that was interrupted.
    """
    asked = _spec(preset, spec, o.given(context.params))
    folder = out / o.checked_name(name or asked.default_name())
    uri = o.tracking(tracking_uri, out, mlflow)
    where = executors.chosen(executor, address, workers, store)
    if carry_out(asked, folder, uri, dry_run=dry_run, rescore=rescore, system_metrics=system_metrics, executor=where):
        raise typer.Exit(FAILED)


def carry_out(
    asked: "SweepSpec",
    folder: Path,
    uri: str | None,
    *,
    dry_run: bool = False,
    rescore: bool = False,
    system_metrics: bool = False,
    tables: "Sequence[str]" = (),
    executor: "Executor | None" = None,
) -> bool:
    """Run a sweep in `folder` as the command does: what is seen, its tables, its places and its time.

    Args:
        asked: the sweep.
        folder: new, or of the same sweep.
        uri: where MLflow is; None: nowhere.
        dry_run: print the cells and their cost, and make nothing.
        rescore: measure all images again; none is made.
        system_metrics: log the machine's use to MLflow.
        tables: those to print; all unless given.
        executor: where plans are denoised; in this process unless given.

    Returns:
        Whether a cell failed.
    """
    from bench.results import print_costs, print_places, print_tables, seconds_line
    from bench.screen import screen
    from sweeps.cost import picture_bytes
    from sweeps.levels import levelled, ways
    from sweeps.predict import predict
    from sweeps.references import with_references
    from sweeps.runner import check_scorers, check_sweep

    where = o.device_of(asked.device)
    with screen() as seen:
        with seen.stage("identify"):
            shared = ways(asked, where)
            check_scorers(asked, shared, where)
        sharing = levelled(asked, shared, folder, device=where, emit=seen, keep=not dry_run)
        cells = with_references(sharing, another_seed=asked.another_seed, fewer_steps=asked.fewer_steps)
        if dry_run:
            check_sweep(asked, cells, folder, where)
            predicted = predict(cells, folder, where, seen)
        else:
            failed, report = _run(asked, cells, folder, where, seen, rescore, uri, system_metrics, executor)
    if dry_run:
        print_costs(predicted, picture_bytes(cells), folder, together=not asked.alone)
        return False
    print_tables(report, tables)
    print_places(folder, report, uri)
    typer.echo(f"time     {seconds_line(seen.seconds())}")
    return failed


def _run(
    spec: "SweepSpec",
    cells: "list[Cell | Reference]",
    folder: Path,
    device: str,
    seen: "Screen",
    rescore: bool,
    uri: str | None,
    system_metrics: bool,
    executor: "Executor | None",
) -> "tuple[bool, Report]":
    """The cells, then tables and figures, then what MLflow gets of them: all from the records that are on disk.

    Returns:
        Whether a cell failed now, which need not be what its record says; the report.
    """
    from bench.publish import publish
    from reports.tracking import MlflowTracker
    from sweeps.events import CellFinished, Event, Note, SweepStarted
    from sweeps.record import load_records
    from sweeps.runner import run_sweep

    tracker = MlflowTracker(uri, lambda line: seen(Note(line)), system_metrics=system_metrics) if uri else None

    def emit(event: Event) -> None:
        seen(event)
        if tracker and isinstance(event, SweepStarted):
            prompts = {cell.source.prompts.name: cell.source.prompts.prompts for cell in event.cells}
            tracker.sweep_started(event.spec.model_dump(mode="json"), prompts, event.run)
        elif tracker and isinstance(event, CellFinished) and not (event.kept and event.record.error):
            tracker.cell_finished(event.record)

    made = run_sweep(spec, cells, folder, device=device, emit=emit, rescore=rescore, executor=executor)
    records = load_records(folder)
    with seen.stage("report"):
        report = publish(folder, records)
    for note in report.notes:
        seen(Note(note))
    if tracker:
        with seen.stage("track"):
            tracker.sweep_finished(folder, records)
    return any(record.error for record in made), report


def _spec(preset: str | None, path: Path | None, flags: dict[str, Any]) -> "SweepSpec":
    from sweeps.spec import make_spec, read_preset, read_yaml

    return make_spec([read_preset(preset) if preset else {}, read_yaml(path) if path else {}, flags])
