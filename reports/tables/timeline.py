"""The seconds of a run, stage by stage."""

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
WHOLE = "total"


class Timeline(Table):
    """The run's seconds, stage by stage, and how fast each went; by attempt if there were several."""

    name = "timeline"
    rank: ClassVar[int] = 20
    printed: ClassVar[bool] = False

    def sheet(self, run: RunView) -> Sheet | None:
        log = read_timeline(run.path)
        return timeline(log) if log.spans else None


def timeline(log: Log) -> Sheet:
    """Return the table of a timeline that has spans."""
    parts = attempts(log)
    groups = {str(number): durations(spans) for number, spans in parts.items()}
    if len(groups) > 1:
        groups[ALL] = durations(log.spans)
    last: Sequence[Span] = parts[max(parts)]
    notes = ["seconds: those that the stage added to the total; seconds beside other stages have their own column"]
    if not any(span.stage == "report" for span in last):
        notes.append("drawing the report and later stages are not included yet: see `bench show RUN --time`")
    return stages(groups, notes)


def stages(groups: dict[str, list[Duration]], notes: Sequence[str]) -> Sheet:
    """Return a row for each stage, group by group, each with its whole; groups are named where there are several."""
    named, beside = len(groups) > 1, any(duration.beside for rows in groups.values() for duration in rows)
    columns = [
        *([Column("attempt", key=True)] if named else []),
        Column("stage", numeric=False, key=True),
        *(Column(heading) for heading in ("calls", "seconds", "share, %")),
        *([Column("beside others, s")] if beside else []),
        Column("units"),
        Column("units a second"),
    ]
    rows, marks = [], []
    for name, group in groups.items():
        total = sum(duration.seconds for duration in group)
        for duration in [*group, Duration(WHOLE, total)]:
            rows.append(
                [
                    *([Entry(name)] if named else []),
                    Entry(duration.stage),
                    Entry(MISSING if duration.calls is None else f"{duration.calls:,}"),
                    Entry(f"{duration.seconds:.2f}"),
                    Entry(SHARE.number(duration.seconds / total if total else None)),
                    *([Entry(f"{duration.beside:.2f}")] if beside else []),
                    Entry(f"{duration.units:,} {UNITS[duration.stage]}" if duration.units else MISSING),
                    Entry(MISSING if duration.rate is None else f"{duration.rate:,.1f}"),
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
                "stage": duration.stage,
                "calls": duration.calls,
                "seconds": duration.seconds,
                "beside": duration.beside,
                "units": duration.units,
                "units_a_second": duration.rate,
            }
            for name, group in groups.items()
            for duration in group
        ]
    )
