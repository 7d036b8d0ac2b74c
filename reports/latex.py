"""A table for papers: floats that fit the column of a plain article, with booktabs rules and nothing else asked for."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from textwrap import wrap

from reports.sheet import Column, Entry, Sheet

LINE, LINES = 345.0, 50  # points and lines of the article class at 10 pt: other classes mostly have more room
SEPARATION = 3.0  # points on each side of a column
POINTS = 8.0  # of \footnotesize
KEYS = 0.45  # of a line, the most that the columns take which name the row
HEADING = 8  # letters, the least that a heading is wrapped to
LONG_WORD = 14  # letters, after which a word may be broken
# Widths of Computer Modern in em, where they differ from most letters'; the small sizes are somewhat wider.
WIDER = 1.0625
USUAL, WIDTHS = (
    0.556,
    {
        **dict.fromkeys("ijl.,;:'|![]`", 0.306),
        **dict.fromkeys("frst ()-/I", 0.395),
        **dict.fromkeys("0123456789aceogvxyz", 0.53),
        **dict.fromkeys("+=<>%&@mwMW—≥≤±×−", 1.0),
        **dict.fromkeys("ABCDEFGHJKLNOPQRSTUVXYZτ", 0.78),
    },
)
ESCAPED = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    # which the old encoding, LaTeX's default, prints as other letters
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\char34{}"}
    | {"≥": r"$\geq$", "≤": r"$\leq$", "±": r"$\pm$", "×": r"$\times$", "τ": r"$\tau$", "−": "$-$", "…": r"\dots{}"}
    | {"²": r"$^2$", "µ": r"$\mu$", "Δ": r"$\Delta$", "δ": r"$\delta$", "→": r"$\to$", "–": "--", "—": "---"}
)
CODE = re.compile(r"`([^`]+)`")
MINUS = re.compile(r"(?<![\w.)\]])-(?=\.?\d)")  # of a number, not of a range or a name
LATIN = re.compile(r"[\x00-\u017f‘’“”]*")


@dataclass(frozen=True)
class Panel:
    """Some columns of a table, by their numbers, and their widths in points; those that are boxed wrap their text."""

    columns: Sequence[int]
    widths: Sequence[float]
    boxed: Sequence[bool]


def to_latex(table: Sheet, name: str) -> str:
    r"""Return ``table`` environments with booktabs rules, caption, and label ``tab:<name>``; notes stand below.

    A table that is too wide for a line has its intervals under their values, or its results in several parts with the
    same rows; one that is too long goes on in another float. Text is escaped; what pdfLaTeX has no letters for is said
    in a comment.
    """
    stacked, panels = _panels(table)
    caption = table.caption[:1].upper() + table.caption[1:] or name.replace("_", " ").capitalize()
    below = [note.rstrip(".") for note in table.notes]
    notes = rf"\par\smallskip\parbox{{\linewidth}}{{\raggedright {escaped('. '.join(below))}.}}" if below else ""
    room = max(LINES // 4, LINES - 4 - ceil(_width(caption + ". ".join(below)) / LINE))
    floats: list[list[str]] = [[]]
    left = room
    for panel in panels:
        for rows, lines in _chunks(table, panel, stacked, room):
            if floats[-1] and lines > left:
                floats.append([])
                left = room
            floats[-1].append("\n".join(_tabular(table, panel, rows, stacked)))
            left -= lines
    parts = []
    for number, tabulars in enumerate(floats):
        again = r"\addtocounter{table}{-1}" + "\n" if number else ""
        head = f"{escaped(caption)}{' (continued)' if number else ''}"
        label = "" if number else f"\\label{{tab:{name}}}\n"
        last = notes + "\n" if notes and number == len(floats) - 1 else ""
        body = "\n\n\\medskip\n".join(tabulars)
        parts.append(
            f"\\begin{{table}}\n{again}\\centering\n\\caption{{{head}}}\n{label}\\footnotesize"
            f"\\setlength{{\\tabcolsep}}{{{SEPARATION:g}pt}}\n{body}\n{last}\\end{{table}}\n"
        )
    text = "\n".join(parts)
    if not LATIN.fullmatch(text):
        return (
            f"% letters that pdfLaTeX does not have: compile with XeLaTeX or LuaLaTeX, and a font that has them\n{text}"
        )
    return text


def escaped(text: str) -> str:
    r"""Return text that LaTeX prints as it is, in any encoding of its fonts.

    Examples:
        >>> escaped("p < 0.025, `--isolate`: -0.5 & 50%")
        'p \\textless{} 0.025, \\texttt{-{}-isolate}: $-$0.5 \\& 50\\%'
    """
    plain = MINUS.sub("−", " ".join(text.split())).replace("--", "-\0-")  # two hyphens, which would be a dash
    return CODE.sub(r"\\texttt{\1}", plain.translate(ESCAPED).replace("\0", "{}"))


def _panels(table: Sheet) -> tuple[bool, list[Panel]]:
    """Return as few parts as fit a line, each with the columns that name the row; whether intervals go below."""
    layouts = [(stacked, _fitting(table, stacked)) for stacked in (False, True)]
    return min(layouts, key=lambda layout: len(layout[1]))


def _fitting(table: Sheet, stacked: bool) -> list[Panel]:
    natural = [_column_width(table, i, stacked) for i in range(len(table.columns))]
    keys = [i for i, column in enumerate(table.columns) if column.key]
    if len(keys) == len(table.columns):
        keys = []
    of_keys = _shrunk([natural[i] for i in keys], KEYS * LINE)
    used = sum(of_keys) + 2 * SEPARATION * len(keys)
    widths = {**dict(enumerate(natural)), **dict(zip(keys, of_keys, strict=True))}
    panels: list[list[int]] = []
    taken = LINE
    for i in (i for i in range(len(table.columns)) if i not in keys):
        widths[i] = min(widths[i], LINE - used - 2 * SEPARATION)
        if taken + widths[i] + 2 * SEPARATION > LINE:
            panels.append([*keys])
            taken = used
        panels[-1].append(i)
        taken += widths[i] + 2 * SEPARATION
    return [
        Panel(each, [widths[i] for i in each], [widths[i] < natural[i] for i in each])
        for each in panels or [[*range(len(table.columns))]]
    ]


def _shrunk(widths: Sequence[float], most: float) -> list[float]:
    """Return widths whose sum is at most so much, the widest cut to one width.

    Examples:
        >>> _shrunk([10, 50, 90], 100)
        [10, 45.0, 45.0]
    """
    left, shrunk = most, dict(enumerate(widths))
    for number, (i, width) in enumerate(sorted(enumerate(widths), key=lambda each: each[1])):
        shrunk[i] = min(width, left / (len(widths) - number))
        left -= shrunk[i]
    return [shrunk[i] for i in range(len(widths))]


def _column_width(table: Sheet, i: int, stacked: bool) -> float:
    cells = [part for row in table.rows for part in _lines(row[i], stacked)]
    return max(map(_width, [*cells, *_heading(table, i, stacked)]), default=0)


def _heading(table: Sheet, i: int, stacked: bool) -> list[str]:
    """Return the lines of a heading, no longer than the column is anyway."""
    heading = table.columns[i].heading
    cells = [len(part) for row in table.rows for part in _lines(row[i], stacked)]
    longest = max([HEADING, *map(len, heading.replace("-", "- ").split()), *cells])
    return wrap(heading, min(longest, 3 * HEADING)) or [""]


def _lines(entry: Entry, stacked: bool) -> list[str]:
    return [entry.value, entry.interval] if stacked else [str(entry)]


def _width(text: str) -> float:
    """Return about how wide a text is in points, rather too wide than too narrow."""
    return POINTS * WIDER * sum(WIDTHS.get(letter, USUAL if letter < "\u0250" else 1.0) for letter in text)


def _height(table: Sheet, panel: Panel, row: Sequence[Entry], stacked: bool) -> int:
    """Return the lines that a row takes."""
    boxes = [
        ceil(1.15 * _width(str(row[i])) / width)
        for i, width, boxed in zip(panel.columns, panel.widths, panel.boxed, strict=True)
        if boxed
    ]
    return max([1, *boxes]) + (stacked and any(row[i].interval for i in panel.columns))


def _chunks(table: Sheet, panel: Panel, stacked: bool, room: int) -> Iterator[tuple[list[int], int]]:
    """Yield rows by their numbers, as many as a float has room for, and the lines that they take with the heading."""
    head = 2 + max(len(_heading(table, i, stacked)) for i in panel.columns)
    rows: list[int] = []
    lines = head
    for i, row in enumerate(table.rows):
        height = _height(table, panel, row, stacked)
        if rows and lines + height > room:
            yield rows, lines
            rows, lines = [], head
        rows.append(i)
        lines += height
    yield rows, lines


def _tabular(table: Sheet, panel: Panel, rows: Sequence[int], stacked: bool) -> Iterator[str]:
    columns = [table.columns[i] for i in panel.columns]
    yield rf"\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in columns)}}}"
    yield r"\toprule"
    headings = zip(panel.columns, columns, panel.widths, panel.boxed, strict=True)
    yield _row(
        _boxed(" ".join(_heading(table, i, stacked)), width) if boxed else _stack(_heading(table, i, stacked), column)
        for i, column, width, boxed in headings
    )
    yield r"\midrule"
    groups = [table.groups[i] if i < len(table.groups) else None for i in rows]
    for i, ends in zip(rows, [*(one != other for one, other in pairwise(groups)), False], strict=False):
        entries = [table.rows[i][column] for column in panel.columns]
        apart = [stacked and not boxed for boxed in panel.boxed]
        cells = [entry.value if below else str(entry) for entry, below in zip(entries, apart, strict=True)]
        yield _row(
            _boxed(cell, width) if boxed else escaped(cell)
            for cell, width, boxed in zip(cells, panel.widths, panel.boxed, strict=True)
        )
        under = [entry.interval if below else "" for entry, below in zip(entries, apart, strict=True)]
        if any(under):
            yield _row(map(escaped, under))
        if ends:
            yield r"\addlinespace"
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _row(cells: Iterable[str]) -> str:
    # a row that begins with a bracket would be read as an argument of the line's end before it
    row = " & ".join(cells)
    return f"{'{}' if row.startswith('[') else ''}{row} \\\\"


def _stack(lines: Sequence[str], column: Column) -> str:
    if len(lines) == 1:
        return escaped(lines[0])
    side, stacked = "r" if column.numeric else "l", r" \\ ".join(map(escaped, lines))
    return rf"\shortstack[{side}]{{{stacked}}}"


def _boxed(text: str, width: float) -> str:
    """Return a text in a box of this width, words that are longer than it broken."""
    words = [
        r"\allowbreak{}".join(map(escaped, _pieces(word))) if _width(word) > width / 2 else escaped(word)
        for word in text.split()
    ]
    return rf"\parbox[t]{{{width:.0f}pt}}{{\raggedright\strut {' '.join(words)}\strut}}"


def _pieces(word: str) -> list[str]:
    return [word[start : start + LONG_WORD // 2] for start in range(0, len(word), LONG_WORD // 2)]
