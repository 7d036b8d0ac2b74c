"""Files of prompts as people have them: one a line, tables, JSON, parquet and NumPy arrays."""

import codecs
import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from common.errors import UserError, nearest
from common.files import input_file, parse_json
from generators.npy import read_npy

# What people call the column of prompts, without capitals, spaces, underscores and hyphens. The first group that a
# table has a column of decides: whoever writes `prompt` means it, whatever else is there, while a caption, a text and a
# description beside each other may each be meant.
PROMPTS = (
    {"prompt"},
    {"prompts"},
    {"textprompt", "prompttext", "positiveprompt", "inputprompt", "imageprompt", "fullprompt"},
    {"caption", "captions", "text", "texts", "description", "descriptions", "sentence", "sentences"},
)
SEEDS = {"seed", "seeds"}
NEGATIVE_PROMPTS = {"negativeprompt", "negativeprompts", "negprompt"}
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
NAMED = re.compile(r"sep=(.)")  # the first line that spreadsheets write to say so
QUOTED = re.compile(r'"(?:[^"]|"")*"')
SEED = re.compile(r"(\d+)(?:\.0*)?")  # a table in which some have none has the others as 7.0
MOST_SEED = 2**63 - 1
MARKS = {  # UTF-32 first: its mark begins as UTF-16's does
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
# Show nothing and change what a text encoder reads: zero width space and no-break space, word joiner, soft hyphen
# anywhere; joiners (U+200C, U+200D) where they join nothing, which is after a space or a letter of ASCII. Emoji and
# Persian or Indic words keep theirs.
NOTHING = re.compile("[\u200b\ufeff\u2060\u00ad]|(?<![^\\x00-\\x7f\\s])[\u200c\u200d]+")
SHOWN = 8  # columns that a note names


@dataclass(frozen=True)
class PromptTable:
    """The prompts of a file, N of them, and what stands beside them.

    Attributes:
        where: the place of each, as ``line 3``.
        prompts: the texts, as they are there.
        columns: of a table, every column of it, by name, as text.
        column: the name of the one that the prompts are; None where there are no columns.
        seeds: each prompt's own, None where its cell is empty; None: there is no such column.
        negative_prompts: likewise.
        notes: what a user should know of how the file was read.
    """

    where: tuple[str, ...]
    prompts: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    column: str | None = None
    seeds: tuple[int | None, ...] | None = None
    negative_prompts: tuple[str | None, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass
class _Read:
    """What a reader finds: texts, or columns of cells of any kind; `blank_ends`: lines, of which the last may be."""

    where: list[str]
    texts: list[str] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    blank_ends: bool = False

    def __post_init__(self) -> None:
        while self.blank_ends and self.where and not any(_text(cells[-1]).strip() for cells in self._all()):
            for cells in (self.where, *self._all()):
                cells.pop()

    def _all(self) -> list[list[Any]]:
        return list(self.columns.values()) or [self.texts]


def read_prompt_file(path: Path, column: str | None = None) -> PromptTable:
    """Return the prompts of a file, with its columns.

    ``.txt`` holds one prompt a line; ``.csv`` a table whose delimiter is found by its header, ``.tsv`` one with tabs;
    ``.jsonl`` an object a line; ``.json`` a list of texts or of objects, or an object of lists or of objects; and
    ``.parquet`` a table; ``.npy`` a 1-D array of unicode text. Text is in UTF-8, or in what a byte order mark says.
    Blank lines at the end count for nothing, and characters that show nothing are left out of prompts.

    Args:
        path: of the file.
        column: the name of the column that the prompts are, capitals and spaces aside; None: it is guessed.

    Raises:
        UserError: the file cannot be read or is not of its kind, the column is not there or several may be meant, or a
            seed is none; the line is named.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path} is no prompt file", "prompts are read from " + ", ".join(READERS))
    read = reader(path)
    columns = {name: tuple(map(_text, cells)) for name, cells in read.columns.items()}
    own = _prompt_column(columns, column, str(path))
    given = read.texts if own is None else _texts(read, own, path)
    prompts, count = mended(given)
    others = [name for name in columns if name != own]
    seeds, negatives = (found_column(names, others, str(path)) for names in (SEEDS, NEGATIVE_PROMPTS))
    negative_prompts, more = mended(columns[negatives]) if negatives else ((), 0)
    used = {"prompts": own, "seeds": seeds, "negative prompts": negatives}
    return PromptTable(
        where=tuple(read.where),
        prompts=tuple(prompts),
        columns=columns,
        column=own,
        seeds=_seeds(columns[seeds], read.where, path) if seeds else None,
        negative_prompts=tuple(text if text.strip() else None for text in negative_prompts) if negatives else None,
        notes=(*(f"{path}: {note}" for note in (*read.notes, *mended_note(count + more), *_told(used, columns))),),
    )


@dataclass(frozen=True)
class TextTable:
    """A table's cells as text.

    Attributes:
        where: the place of each row, as ``line 3``.
        columns: by name; a cell of nothing is empty, one that is no text is as JSON has it.
    """

    where: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]


def read_text_table(path: Path) -> TextTable:
    """Return the table in a file that may be any of `read_prompt_file` but ``.txt`` and ``.npy``.

    Raises:
        UserError: it cannot be read or is not of its kind.
    """
    kinds = {suffix: reader for suffix, reader in READERS.items() if suffix not in (".txt", ".npy")}
    if path.suffix.lower() not in kinds:
        raise UserError(f"{path} is no table", "tables are read from " + ", ".join(kinds))
    read = kinds[path.suffix.lower()](path)
    return TextTable(tuple(read.where), {name: tuple(map(_text, cells)) for name, cells in read.columns.items()})


def mended(texts: Iterable[str]) -> tuple[list[str], int]:
    """Return the texts without characters that show nothing, and how many of these there were.

    Examples:
        >>> mended([f"a red{chr(0x200B)} fox", "a family emoji: " + chr(0x200D).join(["👩", "👧"])])
        (['a red fox', 'a family emoji: 👩‍👧'], 1)
    """
    found = [NOTHING.subn("", text) for text in texts]
    return [text for text, _ in found], sum(count for _, count in found)


def mended_note(count: int) -> list[str]:
    """Return what a user is told of characters that were left out."""
    return [f"invisible characters (zero width, soft hyphens) left out: {count:,}"] if count else []


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
    alike = [column for column in columns if plain(column) in wanted]
    found = [column for column in alike if column in wanted] or alike
    if len(found) > 1:
        listed = ", ".join(map(repr, found))
        raise UserError(f"{where} has several columns for one thing: {listed}", "keep the one that is meant")
    return found[0] if found else None


@lru_cache(maxsize=1000)
def plain(column: str) -> str:
    """Return a column's name without what makes no difference.

    Examples:
        >>> plain(" Negative_Prompt ")
        'negativeprompt'
    """
    return re.sub(r"[\s_-]+", "", column).casefold()


def _prompt_column(columns: Collection[str], asked: str | None, where: str) -> str | None:
    """Return the column that is asked for, or the one that is meant."""
    if not columns:
        if asked is not None:
            raise UserError(f"{where} has no columns, so none called {asked!r}", "leave --column out")
        return None
    if asked is not None:
        return column_named(asked, columns, where)
    for names in PROMPTS:
        alike = [column for column in columns if plain(column) in names]
        exact = [column for column in alike if column in names] or alike
        if len(exact) > 1 or len(set(map(plain, alike))) > 1:
            raise UserError(
                f"{where} has several columns that may be the prompts: {_listed(alike)}", "say which: --column NAME"
            )
        if exact:
            return exact[0]
    if close := [column for column in columns if nearest("prompt", [column]).startswith("did you mean")]:
        raise UserError(f"{where} has no column 'prompt'; its columns: {_listed(columns)}", f"--column {close[0]!r}?")
    raise UserError(f"{where} has no column 'prompt'; its columns: {_listed(columns)}", "say which: --column NAME")


def column_named(asked: str, columns: Collection[str], where: str) -> str:
    """Return the column that is called so: as it is written or, where none is, but for capitals, spaces and the like.

    Raises:
        UserError: there is none, or there are several.

    Examples:
        >>> column_named("caption", ["ID", "Caption"], "p.csv")
        'Caption'
    """
    if asked in columns:
        return asked
    if not columns:
        raise UserError(f"{where} has no columns, so none called {asked!r}", "give a table: .csv, .jsonl, .parquet")
    if (found := found_column({plain(asked)}, columns, where)) is None:
        raise UserError(f"{where} has no column {asked!r}", nearest(asked, columns))
    return found


def _texts(read: _Read, column: str, path: Path) -> list[str]:
    """Return a column's cells, which are texts or nothing."""
    for where, cell in zip(read.where, read.columns[column], strict=True):
        if not isinstance(cell, str | None):
            raise UserError(f"{path}, {where} has no text under {column!r}", 'write {"prompt": "a cat"}')
    return [cell or "" for cell in read.columns[column]]


def _seeds(cells: Sequence[str], where: Sequence[str], path: Path) -> tuple[int | None, ...]:
    seeds: list[int | None] = []
    for place, cell in zip(where, cells, strict=True):
        known = SEED.fullmatch(cell.strip())
        if cell.strip() and (known is None or int(known[1]) > MOST_SEED):
            raise UserError(
                f"{path}, {place}: the seed {cell!r} is no whole number from 0 to 2^63 - 1",
                "mend it, leave it empty for the run's --seed, or give the column another name",
            )
        seeds.append(int(known[1]) if known else None)
    return tuple(seeds)


def _told(used: Mapping[str, str | None], columns: Collection[str]) -> list[str]:
    """Return the line that says which column is what, and which change nothing; none where nothing is to be said."""
    others = [name for name in columns if name not in used.values()]
    if not others and all(name in (None, "prompt") for name in used.values()):
        return []
    what = ", ".join(f"{what} are its column {name!r}" for what, name in used.items() if name is not None)
    return [what + (f"; no picture is generated from {_listed(others)}" if others else "")]


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(map(repr, list(names)[:SHOWN]))
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def _text(cell: Any) -> str:
    """Return a cell of any kind as text: nothing as nothing, what is no text as JSON."""
    if isinstance(cell, str):
        return cell
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    return json.dumps(cell, ensure_ascii=False, default=_plain_value).removeprefix('"').removesuffix('"')


def _plain_value(value: Any) -> str:
    """Return what JSON has no kind of: dates as they are written, and how long bytes are, pictures say."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)


def _txt(path: Path) -> _Read:
    lines, notes = _lines(path)
    return _Read([f"line {number}" for number in range(1, len(lines) + 1)], lines, notes=notes, blank_ends=True)


def _csv(path: Path) -> _Read:
    lines, notes = _lines(path)
    if lines and (named := NAMED.fullmatch(lines[0])):
        return _table(path, lines[1:], named[1], notes, before=1)
    return _table(path, lines, _delimiter(lines), notes)


def _tsv(path: Path) -> _Read:
    lines, notes = _lines(path)
    return _table(path, lines, "\t", notes)


def _delimiter(lines: Sequence[str]) -> str:
    """Return what parts the columns: of what the header holds, that with which all rows have as many cells."""
    held = [delimiter for delimiter in DELIMITERS if lines and delimiter in lines[0]]
    if len(held) < 2:
        return held[0] if held else ","

    def agreeing(delimiter: str) -> tuple[bool, int]:
        try:
            rows = [len(cells) for _, cells in _cells(lines, delimiter) if cells]
        except csv.Error:
            return False, 0
        return len(set(rows)) == 1, rows[0]

    return max(held, key=agreeing)


def _cells(lines: Sequence[str], delimiter: str) -> list[tuple[int, list[str]]]:
    """Return the last line of each row, from 1, and its cells.

    Files of tabs are often written without any quoting, and prompts begin with quotes (PartiPrompts has one): where all
    lines have as many cells as the header, a line is a row, and quotes count only around a whole cell.

    Raises:
        csv.Error: quotes do not match; its last argument is the line.
    """
    parted = [line.split(delimiter) if line else [] for line in lines]
    if delimiter == "\t" and parted and all(len(cells) in (0, len(parted[0])) for cells in parted):
        return [(number, [_unquoted(cell) for cell in cells]) for number, cells in enumerate(parted, 1)]
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise csv.Error(str(error), reader.line_num) from error


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if QUOTED.fullmatch(cell) else cell


def _table(path: Path, lines: Sequence[str], delimiter: str, notes: list[str], before: int = 0) -> _Read:
    """Return the columns of a delimited table; `before` is how many lines of the file came before these."""
    if not lines:
        return _Read([], notes=notes)
    try:
        (_, header), *rows = _cells(lines, delimiter)
    except csv.Error as error:
        what, line = error.args
        raise UserError(f"{path}, line {line + before} is not CSV: {what}") from error
    if not any(name.strip() for name in header):
        raise UserError(f"{path}, line {1 + before} is empty", "the first line names the columns")
    names = [name or f"column {number}" for number, name in enumerate(mended(header)[0], 1)]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{path} has several columns called {twice[0]!r}", "give each a name of its own")
    for line, cells in rows:
        if any(cell.strip() for cell in cells[len(names) :]):
            what = DELIMITERS.get(delimiter, repr(delimiter))
            raise UserError(
                f"{path}, line {line + before} has more columns than the header",
                f'put "quotes" around {what}' if delimiter != "\t" else "keep tabs out of the text",
            )
    columns = {name: [cells[at] if at < len(cells) else "" for _, cells in rows] for at, name in enumerate(names)}
    return _Read([f"line {line + before}" for line, _ in rows], columns=columns, notes=notes, blank_ends=True)


def _jsonl(path: Path) -> _Read:
    lines, notes = _lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise UserError(f"{path}, line {number} is empty", "remove it, or write an object there")
        try:
            entry = parse_json(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(entry, dict):
            raise UserError(f"{path}, line {number} has no text under 'prompt'", 'write {"prompt": "a cat"}')
        entries.append(entry)
    return _Read([f"line {number}" for number in range(1, len(lines) + 1)], columns=_columns(entries), notes=notes)


def _json(path: Path) -> _Read:
    text, notes = _decoded(path)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    hint = 'write ["a cat", "a dog"], [{"prompt": "a cat"}, ...] or {"prompt": ["a cat", "a dog"]}'
    if isinstance(content, dict):
        content, more = _held(content, path, hint)
        notes += more
    if isinstance(content, dict):
        return _Read(_entries(len(next(iter(content.values())))), columns=content, notes=notes)
    if not isinstance(content, list):
        raise UserError(f"{path} holds no list of prompts", hint)
    if content and all(isinstance(entry, dict) for entry in content):
        return _Read(_entries(len(content)), columns=_columns(content), notes=notes)
    for number, entry in enumerate(content, 1):
        if not isinstance(entry, str):
            raise UserError(f"{path}, entry {number} is no text", hint)
    return _Read(_entries(len(content)), content, notes=notes)


def _held(content: dict[str, Any], path: Path, hint: str) -> tuple[list[Any] | dict[str, list[Any]], list[str]]:
    """Return the entries or the columns that a JSON object holds, and notes of what is left out."""
    if content and all(isinstance(value, dict) for value in content.values()):
        if [entry.get("id") for entry in content.values()] == list(content):  # by ids that they say too: GenAI-Bench
            return list(content.values()), []
        name = "key" if any("id" in entry for entry in content.values()) else "id"
        return [{name: key, **entry} for key, entry in content.items()], []
    lists = {name: value for name, value in content.items() if isinstance(value, list)}
    if not lists:
        raise UserError(f"{path} holds no list of prompts", hint)
    lengths = {name: len(value) for name, value in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise UserError(f"{path} has lists of several lengths: {told}", "each has an entry for every prompt")
    beside = [name for name in content if name not in lists]
    notes = [f"what it says beside its lists is not used: {_listed(beside)}"] if beside else []
    first, *others = lists.values()
    alone = not others and all(isinstance(entry, dict) for entry in first)
    return (first if alone else lists), notes


def _entries(n: int) -> list[str]:
    return [f"entry {number}" for number in range(1, n + 1)]


def _columns(entries: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for entry in entries for name in entry)
    return {name: [entry.get(name) for entry in entries] for name in names}


def _parquet(path: Path) -> _Read:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(input_file(path))
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise UserError(
            f"cannot read {path}: {reason}", "write it again, say with pandas.DataFrame.to_parquet"
        ) from error
    if twice := [name for name, count in Counter(table.column_names).items() if count > 1]:
        raise UserError(f"{path} has several columns called {twice[0]!r}", "give each a name of its own")
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    return _Read([f"row {number}" for number in range(1, len(table) + 1)], columns=columns)


def _npy(path: Path) -> _Read:
    hint = "write it with numpy.save(path, numpy.array(prompts, dtype=str))"
    array = read_npy(path, hint)
    if array.dtype.kind != "U" or array.ndim != 1:
        raise UserError(f"{path} holds {array.ndim}-D {array.dtype}, not 1-D unicode text", hint)
    return _Read(_entries(len(array)), array.tolist())


def _lines(path: Path) -> tuple[list[str], list[str]]:
    """Return the file's lines and notes; newlines alone part them: other separators stay, to be refused in prompts."""
    text, notes = _decoded(path)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return (lines if lines[-1] else lines[:-1]), notes


def _decoded(path: Path) -> tuple[str, list[str]]:
    """Return the file's text, and notes of what its encoding is told by."""
    try:
        raw = input_file(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    coding = next((coding for mark, coding in MARKS.items() if raw.startswith(mark)), "utf-8")
    name = coding.removesuffix("-sig").upper()
    try:
        text = raw.decode(coding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        where = f"{path}, line {line}" if name == "UTF-8" else str(path)
        raise UserError(f"{where} is not {name}", "save the file as UTF-8") from error
    return text, [] if coding == "utf-8" else [f"its byte order mark ({name}) is no text, and left out"]


READERS: dict[str, Callable[[Path], _Read]] = {
    ".txt": _txt,
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".json": _json,
    ".parquet": _parquet,
    ".npy": _npy,
}
