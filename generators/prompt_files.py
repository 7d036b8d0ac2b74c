"""Files of prompts: .txt, .csv, .jsonl and .npy, as (line, text) pairs."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from common.errors import UserError, nearest
from common.files import input_file, parse_json
from generators.npy import read_npy

COLUMN = "prompt"
Rows = Iterator[tuple[str, str]]


def read_rows(path: Path) -> Rows:
    """Return where each prompt of a file stands (``"line 3"``), and its text as it is there.

    .txt holds one prompt a line, .csv a column ``prompt``, .jsonl one object with ``prompt`` a line (these three in
    UTF-8), .npy a 1-D array of unicode text.

    Raises:
        UserError: the file cannot be read or is not of its kind; the line is named.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path} is no prompt file", "prompts are read from " + ", ".join(READERS))
    return reader(path)


def _txt(path: Path) -> Rows:
    for number, line in enumerate(_lines(path), 1):
        yield f"line {number}", line


def _csv(path: Path) -> Rows:
    reader = csv.DictReader(io.StringIO("\n".join(_lines(path))), strict=True)
    try:
        columns = list(reader.fieldnames or [])
        if columns and COLUMN not in columns:
            raise UserError(f"{path} has no column {COLUMN!r}", nearest(COLUMN, columns))
        for row in reader:
            where = f"line {reader.reader.line_num}"
            if None in row:
                raise UserError(f"{path}, {where} has more columns than the header", 'put "quotes" around commas')
            yield where, row[COLUMN] or ""
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.reader.line_num} is not CSV: {error}") from error


def _jsonl(path: Path) -> Rows:
    for number, line in enumerate(_lines(path), 1):
        where = f"line {number}"
        try:
            entry = parse_json(line)
        except ValueError as error:
            raise UserError(f"{path}, {where} is not JSON: {error}") from error
        if not isinstance(entry, dict) or not isinstance(entry.get(COLUMN), str):
            raise UserError(f"{path}, {where} has no text under {COLUMN!r}", 'write {"prompt": "a cat"}')
        yield where, entry[COLUMN]


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
        raw = input_file(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line} is not UTF-8", "save the file as UTF-8") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


READERS: dict[str, Callable[[Path], Rows]] = {".txt": _txt, ".csv": _csv, ".jsonl": _jsonl, ".npy": _npy}
