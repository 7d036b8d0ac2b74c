"""Files of prompts: .txt, .csv, .jsonl and .npy, as (line, text) pairs."""

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from common.errors import UserError, nearest
from generators.npy import read_npy

COLUMN = "prompt"
Rows = Iterator[tuple[str, str]]
Table = Iterator[tuple[str, dict[str, Any]]]


def read_rows(path: Path) -> Rows:
    """Return where each prompt of a file stands (``"line 3"``), and its text as it is there.

    .txt holds one prompt a line, .csv a column ``prompt``, .jsonl one object with ``prompt`` a line (these three in
    UTF-8), .npy a 1-D array of unicode text. Columns are found as people write them (`found_column`).

    Raises:
        UserError: the file cannot be read or is not of its kind; the line is named.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path} is no prompt file", "prompts are read from " + ", ".join(READERS))
    return reader(path)


def read_table(path: Path) -> Table:
    """Return where each prompt of a .csv or .jsonl file stands, and all columns of its row by name.

    Raises:
        UserError: as `read_rows`.
    """
    path = Path(path)
    if (reader := TABLES.get(path.suffix.lower())) is None:
        raise UserError(f"{path} is no table", "columns are read from " + ", ".join(TABLES))
    return reader(path)


def found_column(wanted: Collection[str], columns: Collection[str], where: str) -> str | None:
    """Return the one of a table's columns that has a wanted name; None if there is none.

    Capitals, spaces, underscores and hyphens make no difference, but a column that is written as it is wanted goes
    before others.

    Args:
        wanted: in small letters, of which there are no other characters.
        columns: of the table, as they are written there.
        where: the table, for errors.

    Raises:
        UserError: there are several.

    Examples:
        >>> found_column({"file", "filename"}, ["Prompt", "File_Name"], "p.csv")
        'File_Name'
    """
    alike = [column for column in columns if _plain(column) in wanted]
    found = [column for column in alike if column in wanted] or alike
    if len(found) > 1:
        listed = ", ".join(map(repr, found))
        raise UserError(f"{where} has several columns for one thing: {listed}", "keep the one that is meant")
    return found[0] if found else None


@lru_cache(maxsize=1000)
def _plain(column: str) -> str:
    return re.sub(r"[\s_-]+", "", column).casefold()


def _txt(path: Path) -> Rows:
    for number, line in enumerate(_lines(path), 1):
        yield f"line {number}", line


def _csv(path: Path) -> Table:
    reader = csv.DictReader(io.StringIO("\n".join(_lines(path))), strict=True)
    try:
        columns = list(reader.fieldnames or [])
        if columns and found_column({COLUMN}, columns, str(path)) is None:
            raise UserError(f"{path} has no column {COLUMN!r}", nearest(COLUMN, columns))
        for row in reader:
            where = f"line {reader.reader.line_num}"
            if None in row:
                raise UserError(f"{path}, {where} has more columns than the header", 'put "quotes" around commas')
            yield where, row
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.reader.line_num} is not CSV: {error}") from error


def _jsonl(path: Path) -> Table:
    for number, line in enumerate(_lines(path), 1):
        where = f"line {number}"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, {where} is not JSON: {error}") from error
        column = found_column({COLUMN}, entry, f"{path}, {where}") if isinstance(entry, dict) else None
        if column is None or not isinstance(entry[column], str):
            raise UserError(f"{path}, {where} has no text under {COLUMN!r}", 'write {"prompt": "a cat"}')
        yield where, entry


def _prompts_of(table: Callable[[Path], Table]) -> Callable[[Path], Rows]:
    """Return what reads the prompts of a table alone."""

    def read(path: Path) -> Rows:
        for where, row in table(path):
            column = found_column({COLUMN}, row, str(path))
            yield where, (row[column] if column else None) or ""

    return read


def _npy(path: Path) -> Rows:
    hint = "write it with numpy.save(path, numpy.array(prompts, dtype=str))"
    array = read_npy(path, hint)
    if array.dtype.kind != "U" or array.ndim != 1:
        raise UserError(f"{path} holds {array.ndim}-D {array.dtype}, not 1-D unicode text", hint)
    for number, text in enumerate(array.tolist(), 1):
        yield f"entry {number}", text


def _lines(path: Path) -> list[str]:
    """Return the file's lines, parted by newlines alone: other separators stay, to be refused as control characters."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line} is not UTF-8", "save the file as UTF-8") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


TABLES: dict[str, Callable[[Path], Table]] = {".csv": _csv, ".jsonl": _jsonl}
READERS: dict[str, Callable[[Path], Rows]] = {
    ".txt": _txt,
    **{suffix: _prompts_of(table) for suffix, table in TABLES.items()},
    ".npy": _npy,
}
