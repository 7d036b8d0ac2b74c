"""`bench report`: the page, tables and figures of one run, made anew from its records, or of several compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import options as o
from bench.documents import print_json
from bench.voice import note
from common.errors import UserError, nearest

if TYPE_CHECKING:
    from reports.base import RunView
    from reports.render import Report


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="A run folder; several are compared.")],
    delta: Annotated[
        float,
        typer.Option(
            min=0, max=0.49, metavar="X", help="How far below 0.5 a win rate may lie and still count as parity."
        ),
    ] = 0.05,
    indifference: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="X",
            help="Score differences below this are ties in claims, verdicts and rankings; 0 for the strict rule.",
            show_default="what the run recorded",
        ),
    ] = None,
    out: Annotated[
        Path | None, o.folder("Where a comparison of several runs goes.", "runs/compare-NAMES", panel=None)
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report as Markdown into this file too.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="HEADING;...",
            help="Show these columns of tables alone, in this order; headings have commas, so semicolons part them. "
            "The CSV files keep all.",
            show_default="all",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL=NAME", help="Call a model by another name in all of it; repeat it for more."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: o.Json = False,
) -> None:
    """Write a run's page, tables and figures again and print the tables; or compare several runs.

    Runs that cannot be compared, for example because their prompts or scorers differ, are refused, and the difference
    is named. Where a difference must be known, such as another number of steps or another machine, the tables say so.
    """
    import webbrowser

    from bench.results import print_answer, print_places, print_tables, reported

    labels, shown = _labels(label or []), [name for name in (columns or "").split(";") if name.strip()]
    if len(runs) == 1:
        folder, written = _one(runs[0], delta, indifference, out, labels, shown)
    else:
        folder, written = _several(runs, delta, indifference, out, labels, shown)
    _refuse_unknown(shown, written)
    for line in written.notes:
        note(line)
    if markdown and written.view:
        _write_markdown(written.view, written.figures, markdown)
    if as_json:
        print_json({**reported(folder, written), "written": markdown})
    else:
        print_tables(written)
        print_answer(written)
        print_places(folder, written)
        if markdown and written.view:
            typer.echo(f"written  {markdown}")
    if show and written.page and not webbrowser.open(written.page.resolve().as_uri()):
        note("no browser was found to open the page with")


def _labels(texts: Sequence[str]) -> dict[str, str]:
    """Return what models are to be called, by their names.

    Raises:
        UserError: a text says no such pair.
    """
    labels = {}
    for text in texts:
        model, equals, name = (part.strip() for part in text.partition("="))
        if not (model and equals and name):
            raise UserError(f"--label {text} names no model and label", "write --label MODEL=NAME")
        labels[model] = name
    return labels


def _refuse_unknown(columns: Sequence[str], written: "Report") -> None:
    """Raise a UserError for a column that no table has: it was left out of nothing."""
    from reports.sheet import plain

    known = {plain(heading): heading for sheet in written.every.values() for heading in sheet.headings}
    for name in columns:
        if plain(name) not in known:
            hint = "semicolons part columns" if "," in name else nearest(plain(name), known)
            raise UserError(f"no table of this run has a column {name.strip()!r}", hint)


def _one(
    run: Path,
    delta: float,
    indifference: float | None,
    out: Path | None,
    labels: Mapping[str, str],
    columns: Sequence[str],
) -> "tuple[Path, Report]":
    from bench.results import UNCHECKED
    from reports.publish import publish
    from sweeps.record import read_run
    from sweeps.store import saved_spec
    from sweeps.timeline import NAME as TIMELINE

    if out:
        raise UserError("--out is for several runs", "a run's report goes into its own folder")
    saved_spec(run)
    found = read_run(run)
    if not found.checked:
        note(UNCHECKED)
    elif found.records and not (run / TIMELINE).exists():
        note("no time line was kept of this run, or it is gone: the page shows none")
    return run, publish(run, found.records, delta, indifference, labels, columns)


def _several(
    runs: list[Path],
    delta: float,
    indifference: float | None,
    out: Path | None,
    labels: Mapping[str, str],
    columns: Sequence[str],
) -> "tuple[Path, Report]":
    from reports.base import file_name
    from reports.render import write_view
    from reports.run_comparison import compare, run_names
    from sweeps.record import SPEC
    from sweeps.store import saved_spec

    for run in runs:
        saved_spec(run)
    folder = out or Path("runs") / file_name(f"compare-{'-'.join(run_names(runs))}")
    if (folder / SPEC).exists():
        raise UserError(f"{folder} is a run folder", "choose another --out")
    return folder, write_view(compare(runs, folder, delta, indifference).shown(labels, columns))


def _write_markdown(view: "RunView", figures: Sequence[Path], file: Path) -> None:
    from common.files import atomic_write
    from reports.markdown import markdown

    atomic_write(file, markdown(view, figures, file.parent))
