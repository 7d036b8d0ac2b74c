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

    @property
    def headings(self) -> list[str]:
        return [column.heading for column in self.columns]
