"""Where a run's seconds went."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from reports.base import RunView, Table
from reports.durations import UNITS, Duration, attempts, durations
from reports.labels import MISSING, Label
from reports.sheet import Column, Entry, Sheet
from sweeps.timeline import Log, Span, read_timeline

if TYPE_CHECKING:
    import pandas as pd

SHARE = Label("", "fraction")
ALL = "all"
WHOLE = "the whole"


class Timeline(Table):
    """Where the run's seconds went, stage by stage, and how fast each went; of every attempt if there were several."""

    name = "timeline"
    rank: ClassVar[int] = 20
    printed: ClassVar[bool] = False

    def sheet(self, run: RunView) -> Sheet | None:
        log = read_timeline(run.path)
        return timeline(log) if log.spans else None


def timeline(log: Log) -> Sheet:
    """The table of a time line that has spans."""
    parts = attempts(log)
    groups = {str(number): durations(spans) for number, spans in parts.items()}
    if len(groups) > 1:
        groups[ALL] = durations(log.spans)
    last: Sequence[Span] = parts[max(parts)]
    notes = [
        "seconds: that the stage added to the whole; what it did beside other stages is a column of its own, if any did"
    ]
    if not any(span.stage == "report" for span in last):
        notes.append("drawing the report, and what comes after it, is not in it yet: `bench show RUN --time`")
    return stages(groups, notes)


def stages(groups: dict[str, list[Duration]], notes: Sequence[str]) -> Sheet:
    """A row a stage, group by group, each with its whole; groups are named where there are several."""
    several, beside = len(groups) > 1, any(each.beside for rows in groups.values() for each in rows)
    columns = [
        *([Column("attempt", key=True)] if several else []),
        Column("stage", numeric=False, key=True),
        *(Column(heading) for heading in ("calls", "seconds", "of the whole, %")),
        *([Column("beside others, s")] if beside else []),
        Column("units"),
        Column("units a second"),
    ]
    rows, marks = [], []
    for name, group in groups.items():
        total = sum(each.seconds for each in group)
        for each in [*group, Duration(WHOLE, total)]:
            rows.append(
                [
                    *([Entry(name)] if several else []),
                    Entry(each.stage),
                    Entry(MISSING if each.calls is None else f"{each.calls:,}"),
                    Entry(f"{each.seconds:.2f}"),
                    Entry(SHARE.number(each.seconds / total if total else None)),
                    *([Entry(f"{each.beside:.2f}")] if beside else []),
                    Entry(f"{each.units:,} {UNITS[each.stage]}" if each.units else MISSING),
                    Entry(MISSING if each.rate is None else f"{each.rate:,.1f}"),
                ]
            )
            marks.append(name)
    return Sheet(columns, rows, _data(groups), "", notes, marks)


def _data(groups: dict[str, list[Duration]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "attempt": name,
                "stage": each.stage,
                "calls": each.calls,
                "seconds": each.seconds,
                "beside": each.beside,
                "units": each.units,
                "units_a_second": each.rate,
            }
            for name, group in groups.items()
            for each in group
        ]
    )
