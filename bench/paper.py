"""`bench paper`: the paper's tables and figures: listed, planned, made again, compared with what is published."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from bench.completion import completer
from bench.documents import print_json
from bench.hub import hub_answers
from bench.paper_plan import plan
from bench.voice import note, voice

if TYPE_CHECKING:
    from generators.model_entry import ModelEntry
    from reports.paper import Item
    from reports.sheet import Sheet
    from sweeps.spec import SweepSpec

FAILED, MISSING = 1, 2
AS_PUBLISHED, MINI = "as published", "miniature"
EMBEDDED = "embedded:"

paper = typer.Typer(help="The paper's tables and figures: list, plan, run, compare.", no_args_is_help=True)
paper.command("plan", epilog="Example: bench paper plan table1 --gpu a100 --price 1.5")(plan)

ItemName = Annotated[
    str, typer.Argument(metavar="ITEM", help="A name of `bench paper list`.", autocompletion=completer("items"))
]


@paper.command("list", epilog="Example: bench paper list")
def list_items(as_json: o.Json = False) -> None:
    """List the tables and figures of the paper that can be made again, and which of them run here."""
    from reports.paper import items

    rows: list[dict[str, Any]] = []
    for name, item in items().items():
        lacking = {which: list(missing(_spec(item, miniature=which == MINI))) for which in (AS_PUBLISHED, MINI)}
        rows.append(
            {
                "name": name,
                "what": item.title,
                "preset": item.preset,
                "study": item.study,
                "source": item.source,
                "published": [row.model_dump(exclude_none=True) for row in item.rows],
                "missing": {which: [f"{what}: {why}" for what, why in needs] for which, needs in lacking.items()},
            }
        )
    if as_json:
        print_json(rows)
        return
    from bench.results import columns, stdout

    table = columns(("item", "what", "preset", "published in", "numbers", "runs here"), fold=True)
    for row in rows:
        count = sum(len(published["published"]) for published in row["published"])
        runs = ", ".join(which for which, needs in row["missing"].items() if not needs)
        place = row["source"].partition(", ")[2]
        table.add_row(row["name"], row["what"], row["preset"], place, str(count or "none"), runs or "no")
    stdout().print(table)


@paper.command("run", epilog="Example: bench paper run table1 --miniature --limit 8")
@o.spec_options(only=("limit", "device"))
def run(
    name: ItemName,
    miniature: Annotated[
        bool, typer.Option("--miniature", help="Use the embedded models and prompt sets in place of the paper's.")
    ] = False,
    out: o.Out = Path("runs"),
    tracking_uri: o.TrackingUri = None,
    experiment: o.Experiment = None,
    mlflow: o.Mlflow = True,
    as_json: o.Json = False,
    **settings: Any,
) -> None:
    """Make a table or figure of the paper again, and compare it with the published one.

    What is missing on this machine is said before anything runs. The same command continues a run that was
    interrupted.
    """
    from bench.sweep import carry_out
    from reports.paper import item as get_item

    item = get_item(name)
    spec = _spec(item, miniature=miniature, **settings)
    if lacking := list(missing(spec, ask=True)):
        _say_missing(item, lacking)
        raise typer.Exit(MISSING)
    folder = out / "-".join([item.preset, *["miniature"] * miniature, *[str(spec.limit)] * bool(settings["limit"])])
    if item.study:
        _study(item, spec, folder, as_json=as_json)
        return
    uri = o.tracking(tracking_uri, out, mlflow)
    failed = carry_out(spec, folder, uri, experiment=experiment, silent=as_json)
    tables([folder], None, as_json)
    if failed:
        raise typer.Exit(FAILED)


@paper.command("tables", epilog="Example: bench paper tables runs/paper-table1-miniature")
def tables(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished run folders.")],
    out: Annotated[Path | None, o.folder("Where the tables go.", "report/tables of the first run")] = None,
    as_json: o.Json = False,
) -> None:
    """Compare the results of finished runs with the published ones, and test the differences."""
    from bench.results import sheet_rows, stdout
    from reports.base import RunView
    from reports.formats import to_rich
    from reports.paper import items
    from reports.paper_table import matching
    from reports.render import REPORT
    from sweeps.store import saved_spec

    views: list[RunView] = [RunView.of(folder) for folder in runs]
    for what in [what for view in views for what in view.missing]:
        note(what)
    presets = {saved_spec(folder).preset for folder in runs}
    known = list(items().values())
    compared = matching(views, [one for one in known if one.preset in presets] or known)
    folder = out or runs[0] / REPORT / "tables"
    console = stdout()
    for name, sheet in compared.items():
        _write(sheet, folder / f"paper-{name}")
        if as_json:
            continue
        console.print(to_rich(sheet, console.width))
        console.print(f"written  {folder}/paper-{name}.csv, .md, .tex\n", soft_wrap=True)
    if as_json:
        print_json({"folder": folder, "tables": {name: sheet_rows(sheet) for name, sheet in compared.items()}})


def _write(sheet: "Sheet", stem: Path) -> None:
    from common.files import atomic_write
    from reports.formats import to_csv, to_markdown
    from reports.latex import to_latex

    contents = {"csv": to_csv(sheet), "md": to_markdown(sheet), "tex": to_latex(sheet, stem.name)}
    for suffix, content in contents.items():
        atomic_write(stem.with_name(f"{stem.name}.{suffix}"), content)


def _spec(item: "Item", *, miniature: bool, **more: Any) -> "SweepSpec":
    from sweeps.spec import make_spec, read_preset

    preset: Mapping[str, Any] = read_preset(item.preset)
    return make_spec([item.mini(preset) if miniature else preset, {"preset": item.preset}, more])


def missing(spec: "SweepSpec", *, ask: bool = False) -> Iterator[tuple[str, str]]:
    """Yield what a sweep needs that this machine does not have, and what to do: weights, prompt sets, a GPU, scorers.

    With `ask` the hub is asked, if it answers, for what it hosts; else only what is here counts.
    """
    online = ask and hub_answers()

    import torch

    from bench.listings import not_here
    from generators.catalogue import model
    from generators.prompts import known_set
    from sweeps.machine import unused_card

    entries = [model(name, spec.variant) for name in spec.model]
    for entry in entries:
        if reason := entry.unavailable() if online else not_here(entry):
            if ask and not online and not _embedded(entry):
                own = f"or bench sweep --preset {spec.preset} --model FOLDER"
                reason = f"on the Hugging Face hub, which does not answer; {own}"
            yield f"weights of {entry.name}", reason
    for name in spec.dataset:
        if reason := known_set(name).unavailable():
            yield f"prompt set {name}", reason
    real = [entry.name for entry in entries if not _embedded(entry)]
    if real and spec.device is None and not torch.cuda.is_available():
        why = unused_card()
        there = f"; there is a card, but {why}" if why else ""
        yield "a GPU", f"{', '.join(real)} would take weeks on this CPU{there}; `--device cpu` if that is meant"
    yield from dict(need for entry in entries for need in _scorers(spec, entry, ask)).items()


def _scorers(spec: "SweepSpec", entry: "ModelEntry", ask: bool) -> Iterator[tuple[str, str]]:
    from common.errors import UserError
    from sweeps.scorers import Scorers

    try:
        scorers = Scorers(entry, spec.metric, spec.device or "cpu")
    except UserError as error:
        yield "scorers", str(error)
        return
    for name, metric in scorers.metrics.items():
        try:
            _ = metric.identity() if ask else getattr(metric, "backend", None)
        except UserError as error:
            yield f"scorer {name}", str(error)


def _embedded(entry: "ModelEntry") -> bool:
    return all(source.startswith(EMBEDDED) for source in entry.sources.values())


def _say_missing(item: "Item", lacking: list[tuple[str, str]]) -> None:
    lines = [f"{item.name} cannot run here as published; missing:"]
    lines += [f"  {what}: {why}" for what, why in lacking]
    lines += [f"with the embedded models instead: bench paper run {item.name} --miniature"]
    for line in lines:
        voice().error(line)


def _study(item: "Item", spec: "SweepSpec", folder: Path, *, as_json: bool) -> None:
    """Run the study of an item, then draw its figures."""
    from bench.results import print_places, reported
    from bench.screen import screen
    from reports.publish import publish
    from studies.base import get_study
    from sweeps.events import Note
    from sweeps.machine import checked_device
    from sweeps.record import load_records

    where = checked_device(spec.device)
    with screen() as seen:
        get_study(str(item.study)).make(spec, folder, device=where, emit=seen)
        records = load_records(folder) if (folder / "cells").is_dir() else []
        with seen.stage("report"):
            report = publish(folder, records)
        for note in report.notes:
            seen(Note(note))
    if as_json:
        found = reported(folder, report)
        print_json({**found, "notes": [*found["notes"], *item.notes]})
        return
    print_places(folder, report)
    for line in item.notes:
        typer.echo(f"note: {line}")
