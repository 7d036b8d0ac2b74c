"""Writes a run's report: ``report/tables`` and ``report/figures``, made anew from its records."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from common.files import atomic_write, sha256_text
from metrics.parity import DELTA
from reports.base import Figure, RunView, Table, figures, tables
from reports.sheet import Sheet
from sweeps.record import Record

REPORT = "report"
LONGEST = 80


@dataclass
class Report:
    """What was written, the tables that the terminal shows, and what could not be written and why."""

    sheets: list[Sheet] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    figures: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write_report(run: Path, records: Sequence[Record] | None = None, delta: float = DELTA) -> Report:
    """Write every table (CSV, Markdown, LaTeX) and every figure (PNG, SVG) that has something to show.

    Args:
        run: the run folder.
        records: its records, as `load_records` gives them; read where they are not given.
        delta: how far below 1/2 a win rate may lie and still be called parity.

    Returns:
        The files. A table or figure that fails, say for a damaged file of the run, is left out, with a note that says
        why.

    Raises:
        UserError: the folder is no run, or a record in it is damaged.
    """
    view, report = RunView.of(run, records, delta), Report()
    for name, table in tables().items():
        if reason := table.unavailable():
            report.notes.append(f"no table {name}: {reason}")
        else:
            _write_table(table(), view, report)
    for name, figure in figures().items():
        if reason := figure.unavailable():
            report.notes.append(f"no figure {name}: {reason}")
        elif view.records:
            _write_figure(figure(), view, report)
    return report


def _write_table(table: Table, view: RunView, report: Report) -> None:
    from reports.formats import to_csv, to_latex, to_markdown

    try:
        if (sheet := table.sheet(view)) is None:
            return
        contents = {"csv": to_csv(sheet), "md": to_markdown(sheet), "tex": to_latex(sheet, table.name)}
    except Exception as error:  # a plug-in may raise anything, and the other tables do not depend on it
        report.notes.append(f"no table {table.name}: {_told(error)}")
        return
    report.sheets += [sheet] if table.printed else []
    for suffix, content in contents.items():
        path = view.path / REPORT / "tables" / f"{table.name}.{suffix}"
        atomic_write(path, content)
        report.tables.append(path)


def _write_figure(figure: Figure, view: RunView, report: Report) -> None:
    from reports.style import save, theme

    for stem, part in _parts(figure, view):
        try:
            with theme():
                if drawing := figure.draw(part):
                    report.figures += save(drawing, view.path / REPORT / "figures" / stem)
        except Exception as error:  # a plug-in may raise anything, and the other figures do not depend on it
            report.notes.append(f"no figure {stem}: {_told(error)}")


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, UserError | OSError) else f"{type(error).__name__}: {error}"


def _parts(figure: Figure, view: RunView) -> Iterator[tuple[str, RunView]]:
    if not figure.per_series:
        yield figure.name, view
        return
    for series in view.series:
        yield f"{figure.name}-{file_name(series.name)}" if series.name else figure.name, series


def file_name(series: str) -> str:
    """A series' name as part of a file's; a hash stands in for what a file's name cannot hold."""
    plain = series.replace(", ", "--")
    safe = re.sub(r"[^\w.-]+", "-", plain)[:LONGEST]
    return safe if safe == plain else f"{safe}-{sha256_text(series)[:8]}"
