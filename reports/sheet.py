"""A finished table of a report, before it is written as CSV, Markdown, LaTeX or on the terminal."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Entry:
    """A number as text, and its interval beside it."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.value} {self.interval}".rstrip()


@dataclass(frozen=True)
class Column:
    """A heading; whether the column is numeric, and whether it helps to name the row."""

    heading: str
    numeric: bool = True
    key: bool = False


def plain(heading: str) -> str:
    """Return a heading as it is compared: without its unit, in small letters.

    Examples:
        >>> plain("VQAScore win rate, %")
        'vqascore win rate'
    """
    return " ".join(heading.lower().removesuffix("%").rstrip(" ,").split())


@dataclass(frozen=True)
class Sheet:
    """A finished table.

    Attributes:
        columns: one for each entry of a row.
        rows: the entries of each row.
        data: the same and more in full precision, for programs.
        caption: the settings that all rows share.
        notes: methods of intervals and tests, and limits that a reader must know.
        groups: the group of each row; the terminal leaves a line between groups.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Entry]]
    data: "pd.DataFrame"
    caption: str = ""
    notes: Sequence[str] = ()
    groups: Sequence[Hashable] = ()

    def titled(self, title: str) -> "Sheet":
        """Return the table with this text before its caption; the same table where the text is empty."""
        return replace(self, caption=": ".join(filter(None, [title, self.caption]))) if title else self

    def only(self, columns: Sequence[str]) -> "Sheet":
        """Return the table with the columns of these headings, in this order; as it is where it has none of them.

        A heading need not be written with its unit (", %"), nor in its case. The data stay whole.
        """
        found = {plain(column.heading): i for i, column in reversed([*enumerate(self.columns)])}
        chosen = [found[plain(name)] for name in columns if plain(name) in found]
        if not chosen:
            return self
        rows = [[row[i] for i in chosen] for row in self.rows]
        return replace(self, columns=[self.columns[i] for i in chosen], rows=rows)

    @property
    def headings(self) -> list[str]:
        return [column.heading for column in self.columns]
