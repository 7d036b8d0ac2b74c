"""Which way to share makes differences that a scorer tells from those that nobody sees."""

from typing import Any, ClassVar

from metrics.over_seeds import pool_outcomes
from reports.audits import BeyondFloor, beyond_floors
from reports.base import RunView, Table
from reports.frame import place, varying_axes, with_interval
from reports.labels import Label, axis_text, p_value, title
from reports.sheet import Column, Entry, Sheet

RATE, SCORE = Label("", "fraction"), Label("", "score")
NOTES = (
    "floor: score differences below it are ties, as edits that nobody sees make as large ones (table `audit`)",
    "within the floor: no more pairs are beyond it than such edits put there, 5% (p: one-sided, exact binomial; "
    "within the floor where p is 0.05 or more)",
    "worse, better: more pairs than that, and more of them on one side (two-sided p below 0.05, Tango's score test); "
    "either way: more pairs, on both sides",
    "not corrected for the number of rows; the strict win rate counts every difference, as published tables do",
)


class BeyondFloorTable(Table):
    """Pairs whose scores differ by more than the scorer's floor, and what they say."""

    name = "beyond_floor"
    rank: ClassVar[int] = 4

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        found, left_out = beyond_floors(run)
        if not found:
            return None
        axes = [axis for axis in varying_axes(run.records) if axis != "seed"]
        metrics = list(dict.fromkeys(one.metric for one in found))
        columns = [
            *([Column("metric", numeric=False, key=True)] if len(metrics) > 1 else []),
            *(Column(axis, numeric=False, key=True) for axis in axes),
            Column("tau", key=True),
            *map(Column, ("floor", "pairs", "higher/within/lower", "win rate beyond the floor, %", "strict, %", "p")),
            Column("pictures are", numeric=False),
        ]
        rows = [
            [
                *([Entry(title(one.metric))] if len(metrics) > 1 else []),
                *(Entry(axis_text(getattr(one.config, axis))) for axis in axes),
                Entry(f"{one.config.tau:f}"),
                Entry(SCORE.number(one.zone)),
                Entry(f"{one.outcomes.size:,}"),
                Entry("/".join(str(one.count(sign)) for sign in (1, 0, -1))),
                *(
                    Entry(RATE.number(rate.value), RATE.interval(rate))
                    for rate in (pool_outcomes(one.outcomes).estimate(), pool_outcomes(one.strict).estimate())
                ),
                Entry(p_value(one.p)),
                Entry(one.effect),
            ]
            for one in found
        ]
        caption = f"differences beyond the floor of {', '.join(map(title, metrics))}"
        return Sheet(columns, rows, pd.DataFrame(map(_row, found)), caption, [*NOTES, *left_out])


def _row(one: BeyondFloor) -> dict[str, Any]:
    return {
        "metric": one.metric,
        **{axis: value for axis, value in place(one.config).items() if axis != "seed"},
        "tau": float(one.config.tau),
        "seeds": " ".join(str(record.config.seed) for record in one.records),
        "floor": one.zone,
        "pairs": one.outcomes.size,
        "higher": one.count(1),
        "within": one.count(0),
        "lower": one.count(-1),
        **with_interval("win_rate_beyond", pool_outcomes(one.outcomes).estimate()),
        **with_interval("win_rate", pool_outcomes(one.strict).estimate()),
        "p": one.p,
        "effect": one.effect,
    }
