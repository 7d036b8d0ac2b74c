"""Write a run's report: ``report/tables``, ``report/figures``, ``report/report.md`` and the page, from its records."""

import errno
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from common.files import (
    atomic_write,
    exchange_folder,
    path_beside,
    read_sealed,
    sha256_file,
    unwritable,
    write_sealed,
)
from common.plugins import no_exit
from metrics.parity import DELTA
from reports.base import Figure, RunView, Table, figures, file_name, tables
from reports.sheet import Sheet
from reports.style import lacking_note
from sweeps.record import Record, check_file

REPORT, FILES = "report", "files.json"


@dataclass
class Report:
    """The files that were written of a view, its tables, and notes that a reader must know.

    `folder` is where they are; `sheets` are the tables that the terminal shows, `every` are all of them; a note says
    what may not be compared, what is missing, or what could not be written and why; `lacking` are letters that no font
    here has.
    """

    folder: Path = Path(REPORT)
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
    """Write the report of a view, of one run or of several, as the folder ``report`` of its path.

    It is written beside and then exchanged: whole, and without what an earlier one had and this one has not. Files that
    no report has written stay.

    Raises:
        UserError: something that is no folder stands there.
        OSError: it cannot be written, as where the disk is full; then what was there stays.
    """
    folder = view.path / REPORT
    beside = path_beside(folder)
    report = Report(view=view, folder=beside, notes=view.remarks)
    try:
        beside.mkdir(parents=True)
        _write_into(view, report)
        _keep_others(folder, beside)
        _write_files(beside, [*report.tables, *report.figures, *filter(None, (report.markdown, report.page))])
        exchange_folder(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    report.tables, report.figures = (
        [folder / path.relative_to(beside) for path in paths] for paths in (report.tables, report.figures)
    )
    report.markdown, report.page = (
        path and folder / path.relative_to(beside) for path in (report.markdown, report.page)
    )
    report.folder = folder
    return report


def add_to_report(run: Path, paths: Sequence[Path]) -> None:
    """Note that these files of a run's report were written anew."""
    folder = run / REPORT
    try:
        known = [folder / name for name in read_sealed(folder / FILES)[0]["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return  # a report of an earlier version, which keeps no hashes
    _write_files(folder, [*known, *paths])


def damaged_report(run: Path) -> list[str]:
    """Return a sentence on every file of a run's report that is not what was written.

    Nothing can be said of reports of earlier versions.
    """
    folder = run / REPORT
    try:
        files = dict(read_sealed(folder / FILES)[0]["files"])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        return [f"{folder / FILES} is damaged"]
    damaged = []
    for name, digest in files.items():
        try:
            check_file(folder / name, digest)
        except UserError as error:
            damaged.append(error.message)
    return damaged


def _write_files(folder: Path, paths: Sequence[Path]) -> None:
    """Write the hashes of a report's files into it."""
    files = {path.relative_to(folder).as_posix(): sha256_file(path) for path in paths if path.is_file()}
    write_sealed(folder / FILES, {"files": dict(sorted(files.items()))})


def _keep_others(old: Path, new: Path) -> None:
    """Take the files of an old report along that no report has written: a user's, or those of another command."""
    try:
        ours = {*read_sealed(old / FILES)[0]["files"], FILES}
    except (OSError, ValueError, KeyError, TypeError):  # of an earlier version, or damaged: names tell
        ours = {name for name in _names(old) if _is_ours(name)}
    for name in _names(old):
        target = new / name
        if name not in ours and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(old / name, target, follow_symlinks=False)


def _names(folder: Path) -> list[str]:
    """Return the relative names of all files in a folder."""
    files = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def _is_ours(name: str) -> bool:
    """Return True where a report of an earlier version may have written a file of this name."""
    folder, _, file = name.rpartition("/")
    stem, _, suffix = file.rpartition(".")
    if folder == "tables":
        return suffix in ("csv", "md", "tex") and stem in tables()
    if folder == "figures":
        return suffix in ("png", "svg") and any(stem == known or stem.startswith(f"{known}-") for known in figures())
    return name in ("index.html", "report.md", FILES)


def _write_into(view: RunView, report: Report) -> None:
    """Write everything into the report's folder."""
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


def _write_page(view: RunView, report: Report) -> None:
    from reports.page.write import NAME, write_page

    try:
        notes = [
            note for note in report.notes if note in view.missing or note not in view.remarks
        ]  # the page shows remarks in a place of their own
        page = write_page([view], report.folder / NAME, report.every, notes)
    except Exception as error:  # plug-ins may raise anything; the files that are written stay
        if unwritable(error):
            raise
        report.notes.append(f"no {NAME}: {_reason(error)}")
    else:
        report.page = page.path
        report.notes += page.damaged


def _write_markdown(view: RunView, report: Report) -> None:
    from reports.markdown import NAME, markdown

    path = report.folder / NAME
    try:
        atomic_write(path, markdown(view, report.figures, path.parent))
    except Exception as error:  # plug-ins may raise anything; the files that are written stay
        if unwritable(error):
            raise
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
        path = report.folder / "tables" / f"{table.name}.{suffix}"
        atomic_write(path, content)
        report.tables.append(path)


def _write_figure(figure: Figure, view: RunView, report: Report) -> None:
    from reports.style import entitle, save, theme

    for stem, part in _parts(figure, view):
        try:
            with theme(), no_exit():
                if drawing := figure.draw(part):
                    entitle(drawing, part.title)
                    report.figures += save(drawing, report.folder / "figures" / stem, report.lacking)
        except Exception as error:  # a plug-in may raise anything, and the other figures do not depend on it
            if unwritable(error):
                raise
            report.notes.append(f"no figure {stem}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """Return why something is left out of a report; a full disk is raised, for it leaves out anything."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise error
    return str(error) if isinstance(error, UserError | OSError) else f"{type(error).__name__}: {error}"


def _parts(figure: Figure, view: RunView) -> Iterator[tuple[str, RunView]]:
    if not figure.per_series:
        yield figure.name, view
        return
    for series in view.series:
        yield f"{figure.name}-{file_name(series.name)}" if series.name else figure.name, series
