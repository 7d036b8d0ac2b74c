"""Write parts of a run's report into a Markdown file, between two comments; the text around them stays.

    python scripts/embed_report.py runs/demo README.md --pictures docs/pictures

``<!-- report:begin NAME -->`` starts a place for the run folder of that name, ``<!-- report:end -->`` ends it. After
the name may follow which parts: ``answer``, ``table``, ``rows`` (what the columns mean), ``made`` (provenance), or the
name of a figure, say ``<!-- report:begin demo answer quality_savings -->``; without any, the answer, the table and the
figure of quality against savings. The run's report is written anew first.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from common.errors import UserError, nearest
from common.files import atomic_write
from metrics.parity import DELTA
from reports.base import RunView, figures
from reports.formats import markdown_line
from reports.markdown import FIRST, answer_part, figure_name, picture, provenance, rows_part, table_part
from reports.publish import publish
from sweeps.record import load_records

BEGIN = re.compile(r"^<!-- report:begin (?P<name>\S+)(?P<parts>(?: \S+)*) -->$")
END = "<!-- report:end -->"
DEFAULT_PARTS = ("answer", "table", FIRST)


def embed(
    view: RunView, name: str, pictures: Sequence[Path], file: Path, picture_folder: Path | None = None
) -> list[Path]:
    """Replace the lines between the markers of one run.

    Args:
        view: of one run or of several.
        name: the name in the markers, the run folder's.
        pictures: the figures' files, as `reports.render` wrote them.
        file: the Markdown file, which must have such markers.
        picture_folder: the folder that the pictures are copied into as ``<name>-<figure>.png``, so that the file does
            not depend on the run folder; None links them where they are.

    Returns:
        The files whose content is new; none where nothing has changed.

    Raises:
        UserError: the file cannot be read, has no markers for this run, one without an end, or asks for a part that
            this run does not have.
    """
    changed: list[Path] = []
    if fill(file, name, lambda part: _part(part, view, name, pictures, file, picture_folder, changed), DEFAULT_PARTS):
        changed.append(file)
    return changed


def fill(file: Path, name: str, part: Callable[[str], str], default_parts: Sequence[str]) -> bool:
    """Replace the lines between the markers of this name; return True where the file's content is new.

    Args:
        file: the Markdown file.
        name: the name in the markers.
        part: gives the Markdown of one of the parts that a marker asks for.
        default_parts: those that a marker without any asks for.

    Raises:
        UserError: as `embed`.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}", "give a Markdown file that is there") from error
    lines = text.split("\n")
    for begin, end, parts in reversed(_places(text, name, file)):  # from below, so that line numbers above stay right
        content = "\n\n".join(map(part, parts or default_parts))
        lines[begin + 1 : end] = ["", *content.split("\n"), ""]
    if (new_text := "\n".join(lines)) == text:
        return False
    atomic_write(file, new_text)
    return True


def _places(text: str, name: str, file: Path) -> list[tuple[int, int, Sequence[str]]]:
    """Return, for each pair of markers of this name, the two line numbers and the parts that are asked for."""
    places: list[tuple[int, int, Sequence[str]]] = []
    names: list[str] = []
    opened: tuple[int, re.Match[str]] | None = None
    for number, line in enumerate(text.split("\n")):
        begin = BEGIN.match(line.rstrip())
        if begin and opened:
            break
        if begin:
            opened = number, begin
        elif opened and line.rstrip() == END:
            if opened[1]["name"] == name:
                places.append((opened[0], number, opened[1]["parts"].split()))
            names.append(opened[1]["name"])
            opened = None
    if opened:
        raise UserError(
            f"{file}, line {opened[0] + 1}: {opened[1][0]} has no end", f"write {END} on a line of its own below it"
        )
    if not places:
        others = f"; it has some for {', '.join(dict.fromkeys(names))}" if names else ""
        raise UserError(
            f"{file} has no place for {name}{others}",
            f"write the lines <!-- report:begin {name} --> and {END} where the report should stand",
        )
    return places


def _part(
    part: str,
    view: RunView,
    name: str,
    pictures: Sequence[Path],
    file: Path,
    picture_folder: Path | None,
    changed: list[Path],
) -> str:
    known = figures()
    if part == "answer":
        return answer_part(view)
    if part == "table":
        return table_part(view)
    if part == "rows":
        return "\n".join(f"- {row}" for row in rows_part(view))
    if part == "made":
        return "\n".join(f"- {markdown_line(line)}" for line in provenance(view))
    wanted = [path for path in pictures if path.suffix == ".png" and figure_name(path, known) == part]
    if not wanted:
        parts = ["answer", "table", "rows", "made", *dict.fromkeys(figure_name(path, known) or "" for path in pictures)]
        raise UserError(f"{file} asks for {part!r}, which the report of {name} does not have", nearest(part, parts))
    copies = {path: _copied(path, name, picture_folder, changed) for path in wanted}
    return "\n\n".join(picture(view, path, known[part], file.parent, copies[path]) for path in wanted)


def _copied(path: Path, name: str, folder: Path | None, changed: list[Path]) -> Path:
    if folder is None:
        return path
    copy, content = folder / f"{name}-{path.name}", path.read_bytes()
    if not copy.is_file() or copy.read_bytes() != content:
        atomic_write(copy, content)
        changed.append(copy)
    return copy


def main(argv: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    options.add_argument("file", type=Path, metavar="FILE.md", help="a Markdown file with places for it")
    options.add_argument("--pictures", type=Path, metavar="DIR", help="copy the figures here; linked unless given")
    options.add_argument("--delta", type=float, default=DELTA, help="as of bench report (default: %(default)s)")
    arguments = options.parse_args(argv)
    try:
        report = publish(arguments.run, load_records(arguments.run), arguments.delta)
        assert report.view is not None
        name = arguments.run.resolve().name
        changed = embed(report.view, name, report.figures, arguments.file, arguments.pictures)
    except UserError as error:
        sys.exit(f"{error.message}: {error.hint}" if error.hint else error.message)
    print(*[f"written  {path}" for path in changed] or ["nothing is new"], sep="\n")


if __name__ == "__main__":
    main()
