"""A table as text: for programs (CSV) and people (Markdown, terminal); for papers see `reports.latex`."""

import re
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, TypeVar

from reports.sheet import Entry, Sheet

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

T = TypeVar("T")
HEADING = 8
# What begins a formula in a spreadsheet, also after the control characters that it drops; and what is a number.
FORMULA, NUMBER = ("=", "+", "-", "@", "\t", "\r"), re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|-", re.IGNORECASE)
# What Markdown reads as more than text: what could open HTML, an entity, a link, code or emphasis, and what could open
# a block at the start of a line.
MARKUP = re.compile(r"[\\|`*~$]|<(?=[a-z/!?])|&(?=[#\w])|\](?=[(\[])|(?<!\w)_|_(?!\w)", re.IGNORECASE)
OPENING = re.compile(r"^(\d*)([\[#>+\-=.)])")


def to_csv(table: Sheet) -> str:
    """Return the table's data as CSV, every number in full precision; no text is a formula to a spreadsheet."""
    return str(table.data.map(harmless).to_csv(index=False))


def harmless(value: T) -> T | str:
    """Return a cell as it is; a text that a spreadsheet would compute or call up gets an apostrophe before it.

    Examples:
        >>> harmless("=HYPERLINK(1)"), harmless("-0.5"), harmless(-0.5), harmless("a = b")
        ("'=HYPERLINK(1)", '-0.5', -0.5, 'a = b')
    """
    if isinstance(value, str) and value.startswith(FORMULA) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def to_markdown(table: Sheet) -> str:
    """Return a pipe table between its caption and its notes; intervals stand beside their values."""
    lines = [table.headings, *([str(entry) for entry in row] for row in table.rows)]
    heading, *body = (f"| {' | '.join(map(markdown_text, line))} |" for line in lines)
    aligned = f"| {' | '.join('---:' if column.numeric else ':---' for column in table.columns)} |"
    notes = [f"- {markdown_line(note)}" for note in table.notes]
    return "\n".join([markdown_line(table.caption), "", heading, aligned, *body, "", *notes, ""])


def to_rich(table: Sheet, width: int | None = None) -> "Group":
    """Return the table for a terminal; no number is ever cut.

    Args:
        table: the table to show.
        width: the terminal's columns; where one table is wider, intervals go under their values, or the results are
            spread over several tables with the same rows. None: no limit.
    """
    from rich.console import Group
    from rich.text import Text

    layouts = [_fitting(table, between, width or 10_000) for between in (" ", "\n")]
    return Group(*min(layouts, key=len), *(Text(line) for line in [table.caption, *table.notes]))


def _fitting(table: Sheet, between: str, width: int) -> "list[Table]":
    """Return as few tables as fit, each starting with the columns that name the row."""
    from rich.console import Console

    console = Console(width=10_000)
    keys = [i for i, column in enumerate(table.columns) if column.key]
    tables: list[Table] = []
    shown = keys
    for i in (i for i, column in enumerate(table.columns) if not column.key):
        wider = _rich(table, [*shown, i], between)
        if tables and (shown == keys or console.measure(wider).maximum <= width):
            tables[-1], shown = wider, [*shown, i]
        else:
            tables.append(_rich(table, [*keys, i], between))
            shown = [*keys, i]
    return tables


def _rich(table: Sheet, columns: list[int], between: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    texts = [_texts([row[i] for row in table.rows], between) for i in columns]
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i, entries in zip(columns, texts, strict=True):
        heading = table.columns[i].heading
        words = heading.replace("-", "- ").split()
        lines = [line for entry in entries for line in entry.splitlines()]
        heading = "\n".join(wrap(heading, max([HEADING, *map(len, [*words, *lines])])))
        numeric = table.columns[i].numeric
        shown.add_column(Text(heading), justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for i, row in enumerate(zip(*texts, strict=True)):
        shown.add_row(*(Text(text) for text in row), end_section=table.groups[i : i + 1] != table.groups[i + 1 : i + 2])
    return shown


def _texts(entries: Sequence[Entry], between: str) -> list[str]:
    """Return the cells as text, with intervals of one width, so that values stand under each other."""
    broad = max((len(entry.interval) for entry in entries), default=0)
    return [f"{entry.value}{between}{entry.interval:>{broad}}" if broad else entry.value for entry in entries]


def markdown_text(text: str) -> str:
    """Return `text` on one line as Markdown that shows it literally, inside a line or a table's cell."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def markdown_line(text: str) -> str:
    """Return the same for the start of a line or of a list's item."""
    return OPENING.sub(r"\1\\\2", markdown_text(text))
