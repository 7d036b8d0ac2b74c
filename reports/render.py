"""Writes a run's report: ``report/tables`` and ``report/figures``, made anew from its records."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from common.files import atomic_write, sha256_text
from reports.base import Figure, RunView, figures
from sweeps.record import Record, load_records

REPORT = "report"
LONGEST = 80


@dataclass
class Report:
    """What was written, and what could not be and why."""

    tables: list[Path] = field(default_factory=list)
    figures: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write_report(run: Path, records: Sequence[Record] | None = None) -> Report:
    """Write the tables (CSV, Markdown, LaTeX) and every figure (PNG, SVG) that has something to show.

    Args:
        run: the run folder.
        records: its records, as `load_records` gives them; read where they are not given.

    Returns:
        The files. A figure that fails, say for a damaged file of the run, is left out, with a note that says why.

    Raises:
        UserError: the folder is no run, or a record in it is damaged.
    """
    records = load_records(run) if records is None else records
    report = Report(tables=write_tables(run / REPORT / "tables", records))
    view = RunView.of(run, records)
    for name, figure in figures().items():
        if reason := figure.unavailable():
            report.notes.append(f"no figure {name}: {reason}")
        elif view.records:
            _write_figure(figure(), view, report)
    return report


def write_tables(folder: Path, records: Sequence[Record]) -> list[Path]:
    """Write ``summary.csv``, ``.md`` and ``.tex`` into `folder`."""
    from reports.formats import to_csv, to_latex, to_markdown
    from reports.tables import summary

    table = summary(records)
    contents = {"csv": to_csv(records), "md": to_markdown(table), "tex": to_latex(table)}
    paths = {folder / f"summary.{suffix}": content for suffix, content in contents.items()}
    for path, content in paths.items():
        atomic_write(path, content)
    return list(paths)


def _write_figure(figure: Figure, view: RunView, report: Report) -> None:
    from reports.style import save, theme

    for stem, part in _parts(figure, view):
        try:
            with theme():
                if drawing := figure.draw(part):
                    report.figures += save(drawing, view.path / REPORT / "figures" / stem)
        except Exception as error:  # a plug-in may raise anything, and the other figures do not depend on it
            told = str(error) if isinstance(error, UserError | OSError) else f"{type(error).__name__}: {error}"
            report.notes.append(f"no figure {stem}: {told}")


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
