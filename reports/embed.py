"""Parts of a report inside a Markdown file of one's own, between two comments; what is around them stays.

``<!-- report:begin NAME -->`` starts a place for the run folder of that name, ``<!-- report:end -->`` ends it. After
the name may follow which parts: ``answer``, ``table``, ``rows`` (what a row means), ``made`` (what made it), or the
name of a figure, say ``<!-- report:begin demo answer quality_savings -->``; without any, the answer, the table and the
figure of quality against savings.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from common.errors import UserError, nearest
from common.files import atomic_write
from reports.base import RunView, figures
from reports.formats import markdown_line
from reports.markdown import FIRST, answer_part, figure_name, picture, provenance, rows_part, table_part

BEGIN = re.compile(r"^<!-- report:begin (?P<name>\S+)(?P<parts>(?: \S+)*) -->$")
END = "<!-- report:end -->"
USUAL = ("answer", "table", FIRST)


def embed(view: RunView, name: str, pictures: Sequence[Path], file: Path, keep: Path | None = None) -> list[Path]:
    """Replace what stands between the markers for this run.

    Args:
        view: of one run or of several.
        name: by which the markers call it: the run folder's.
        pictures: the figures' files, as `reports.render` wrote them.
        file: the Markdown file, which must have such markers.
        keep: the folder that the pictures are copied into as ``<name>-<figure>.png``, so that the file does not depend
            on the run folder; None: they are linked where they are.

    Returns:
        The files whose content is new; with nothing new to say, none.

    Raises:
        UserError: the file cannot be read, has no markers for this run, one without an end, or asks for a part that
            this run does not have.
    """
    changed: list[Path] = []
    if fill(file, name, lambda part: _part(part, view, name, pictures, file, keep, changed), USUAL):
        changed.append(file)
    return changed


def fill(file: Path, name: str, part: Callable[[str], str], usual: Sequence[str]) -> bool:
    """Replace what stands between the markers of that name; whether the file's content is new.

    Args:
        part: the Markdown of one of the parts that a marker asks for.
        usual: those that a marker without any asks for.

    Raises:
        UserError: as `embed`.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}", "give a Markdown file that is there") from error
    lines = text.split("\n")
    for begin, end, parts in reversed(_places(text, name, file)):
        content = "\n\n".join(map(part, parts or usual))
        lines[begin + 1 : end] = ["", *content.split("\n"), ""]
    if (new := "\n".join(lines)) == text:
        return False
    atomic_write(file, new)
    return True


def _places(text: str, name: str, file: Path) -> list[tuple[int, int, Sequence[str]]]:
    """Of the markers of this name, the lines of the first and the last, and which parts are asked for."""
    found: list[tuple[int, int, Sequence[str]]] = []
    others: list[str] = []
    begun: tuple[int, re.Match[str]] | None = None
    for number, line in enumerate(text.split("\n")):
        begins = BEGIN.match(line.rstrip())
        if begins and begun:
            break
        if begins:
            begun = number, begins
        elif begun and line.rstrip() == END:
            if begun[1]["name"] == name:
                found.append((begun[0], number, begun[1]["parts"].split()))
            others.append(begun[1]["name"])
            begun = None
    if begun:
        raise UserError(
            f"{file}, line {begun[0] + 1}: {begun[1][0]} has no end", f"write {END} on a line of its own below it"
        )
    if not found:
        has = f"; it has some for {', '.join(dict.fromkeys(others))}" if others else ""
        raise UserError(
            f"{file} has no place for {name}{has}",
            f"write the lines <!-- report:begin {name} --> and {END} where the report should stand",
        )
    return found


def _part(
    part: str, view: RunView, name: str, pictures: Sequence[Path], file: Path, keep: Path | None, changed: list[Path]
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
    found = [path for path in pictures if path.suffix == ".png" and figure_name(path, known) == part]
    if not found:
        every = ["answer", "table", "rows", "made", *dict.fromkeys(figure_name(path, known) or "" for path in pictures)]
        hint = nearest(part, every)
        raise UserError(f"{file} asks for {part!r}, which the report of {name} does not have", hint)
    kept = {path: _kept(path, name, keep, changed) for path in found}
    return "\n\n".join(picture(view, path, known[part], file.parent, kept[path]) for path in found)


def _kept(path: Path, name: str, keep: Path | None, changed: list[Path]) -> Path:
    if keep is None:
        return path
    copy, content = keep / f"{name}-{path.name}", path.read_bytes()
    if not copy.is_file() or copy.read_bytes() != content:
        atomic_write(copy, content)
        changed.append(copy)
    return copy
