"""First calls apart from steady ones."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import ClassVar

from reports.base import RunView, Table
from reports.durations import UNITS, paces
from reports.labels import MISSING
from reports.sheet import Column, Entry, Sheet
from sweeps.timeline import Span, read_timeline


class Pace(Table):
    """What each model's first call took, and a steady one: a prompt encoded, a node-step, a picture, a score."""

    name = "pace"
    rank: ClassVar[int] = 21
    printed: ClassVar[bool] = False

    def sheet(self, run: RunView) -> Sheet | None:
        return pace(read_timeline(run.path).spans)


def pace(spans: Iterable[Span]) -> Sheet | None:
    """The table; None where no stage counted its units."""
    import pandas as pd

    found = paces(spans)
    if not found:
        return None
    columns = [
        Column("model", numeric=False, key=True),
        Column("stage", numeric=False, key=True),
        *(Column(heading) for heading in ("first call, s", "of", "then a unit, ms", "units a second")),
    ]
    rows = [
        [
            Entry(each.model or MISSING),
            Entry(each.stage),
            Entry(f"{each.first:.3f}"),
            Entry(f"{each.first_units:,} {UNITS[each.stage]}"),
            Entry(MISSING if each.steady is None else f"{1000 * each.steady:,.2f}"),
            Entry(f"{1 / each.steady:,.1f}" if each.steady else MISSING),
        ]
        for each in found
    ]
    return Sheet(columns, rows, pd.DataFrame(map(asdict, found)), "", NOTES, [each.model for each in found])


NOTES = [
    "first call: from where the stage began, the first time that it ran, until its first units were done; weights were "
    "loaded before",
    "then a unit: mean of all units but the first ones of every call, whatever the batches",
]
