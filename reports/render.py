"""Write a run's report: ``report/tables``, ``report/figures``, ``report/report.md`` and the page, from its records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from common.files import atomic_write
from common.plugins import no_exit
from metrics.parity import DELTA
from reports.base import Figure, RunView, Table, figures, file_name, tables
from reports.sheet import Sheet
from reports.style import lacking_note
from sweeps.record import Record

REPORT = "report"


@dataclass
class Report:
    """The files that were written of a view, its tables, and notes that a reader must know.

    `sheets` are the tables that the terminal shows, `every` are all of them; a note says what may not be compared, or
    what could not be written and why; `lacking` are letters that no font here has.
    """

    sheets: list[Sheet] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    figures: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    markdown: Path | None = None
    page: Path | None = None
    every: dict[str, Sheet] = field(default_factory=dict)
    view: RunView | None = None
    lacking: set[str] = field(default_factory=set)


def write_report(
    run: Path, records: Sequence[Record] | None = None, delta: float = DELTA, indifference: float | None = None
) -> Report:
    """Write every table (CSV, Markdown, LaTeX) and every figure (PNG, SVG, PDF) that has something to show.

    Args:
        run: the run folder.
        records: its records, as `load_records` returns them; read unless given.
        delta: the non-inferiority margin: how far below 1/2 a win rate may lie and still count as parity.
        indifference: half the width of every scorer's zone, in place of what the records say.

    Returns:
        The files. A table or figure that fails, say for a damaged file of the run, is left out with a note.

    Raises:
        UserError: the folder is no run, or a record in it is damaged.
    """
    return write_view(RunView.of(run, records, delta, indifference))


def write_view(view: RunView) -> Report:
    """Write the report of a view, of one run or of several, into the folder ``report`` of its path."""
    report = Report(view=view, notes=view.remarks)
    for name, table in tables().items():
        if reason := table.unavailable():
            report.notes.append(f"no table {name}: {reason}")
        else:
            _write_table(table(), view, report)
    for name, figure in figures().items():
        if reason := figure.unavailable():
            report.notes.append(f"no figure {name}: {reason}")
        elif view.records or not figure.of_records:
            _write_figure(figure(), view, report)
    if report.lacking:
        report.notes.append(lacking_note(report.lacking))
    _write_markdown(view, report)
    _write_page(view, report)
    return report


def _write_page(view: RunView, report: Report) -> None:
    from reports.page.write import NAME, write_page

    try:
        notes = [
            note for note in report.notes if note not in view.remarks
        ]  # the page shows remarks in a place of their own
        page = write_page([view], view.path / REPORT / NAME, report.every, notes)
    except Exception as error:  # plug-ins may raise anything; the files that are written stay
        report.notes.append(f"no {NAME}: {_reason(error)}")
    else:
        report.page = page.path


def _write_markdown(view: RunView, report: Report) -> None:
    from reports.markdown import NAME, markdown

    path = view.path / REPORT / NAME
    try:
        atomic_write(path, markdown(view, report.figures, path.parent))
    except Exception as error:  # plug-ins may raise anything; the files that are written stay
        report.notes.append(f"no {NAME}: {_reason(error)}")
    else:
        report.markdown = path


def _write_table(table: Table, view: RunView, report: Report) -> None:
    from reports.formats import to_csv, to_markdown
    from reports.latex import to_latex

    try:
        with no_exit():
            sheet = table.sheet(view)
        if sheet is None:
            return
        sheet = sheet.titled(view.title).only(view.columns)
        contents = {"csv": to_csv(sheet), "md": to_markdown(sheet), "tex": to_latex(sheet, table.name)}
    except Exception as error:  # a plug-in may raise anything, and the other tables do not depend on it
        report.notes.append(f"no table {table.name}: {_reason(error)}")
        return
    report.sheets += [sheet] if table.printed else []
    report.every[table.name] = sheet
    for suffix, content in contents.items():
        path = view.path / REPORT / "tables" / f"{table.name}.{suffix}"
        atomic_write(path, content)
        report.tables.append(path)


def _write_figure(figure: Figure, view: RunView, report: Report) -> None:
    from reports.style import entitle, save, theme

    for stem, part in _parts(figure, view):
        try:
            with theme(), no_exit():
                if drawing := figure.draw(part):
                    entitle(drawing, part.title)
                    report.figures += save(drawing, view.path / REPORT / "figures" / stem, report.lacking)
        except Exception as error:  # a plug-in may raise anything, and the other figures do not depend on it
            report.notes.append(f"no figure {stem}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, UserError | OSError) else f"{type(error).__name__}: {error}"


def _parts(figure: Figure, view: RunView) -> Iterator[tuple[str, RunView]]:
    if not figure.per_series:
        yield figure.name, view
        return
    for series in view.series:
        yield f"{figure.name}-{file_name(series.name)}" if series.name else figure.name, series
