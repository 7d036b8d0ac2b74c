"""What a table of a report holds, before it is written as CSV, Markdown, LaTeX or on the terminal."""

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
    """A heading, and whether the column holds numbers and whether it is one of those that name the row."""

    heading: str
    numeric: bool = True
    key: bool = False


@dataclass(frozen=True)
class Sheet:
    """A finished table.

    Attributes:
        columns: of every row.
        rows: an entry a column.
        data: the same and more in full precision, for programs.
        caption: what all rows have in common.
        notes: how intervals were made, and what a reader must know.
        groups: of each row, what it belongs with; where that changes, the terminal leaves a line.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Entry]]
    data: "pd.DataFrame"
    caption: str = ""
    notes: Sequence[str] = ()
    groups: Sequence[Hashable] = ()

    def titled(self, title: str) -> "Sheet":
        """With this before the caption; no title changes nothing."""
        return replace(self, caption=": ".join(filter(None, [title, self.caption]))) if title else self

    @property
    def headings(self) -> list[str]:
        return [column.heading for column in self.columns]
