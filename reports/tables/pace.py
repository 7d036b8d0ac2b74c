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
    """Seconds of each model's first call and of a steady unit: a prompt, a denoiser evaluation, a picture, a score."""

    name = "pace"
    rank: ClassVar[int] = 21
    printed: ClassVar[bool] = False

    def sheet(self, run: RunView) -> Sheet | None:
        return pace(read_timeline(run.path).spans)


def pace(spans: Iterable[Span]) -> Sheet | None:
    """Return the table; None where no stage counted its units."""
    import pandas as pd

    model_paces = paces(spans)
    if not model_paces:
        return None
    columns = [
        Column("model", numeric=False, key=True),
        Column("stage", numeric=False, key=True),
        *(Column(heading) for heading in ("first call, s", "units in it", "steady unit, ms", "steady units a second")),
    ]
    rows = [
        [
            Entry(model_pace.model or MISSING),
            Entry(model_pace.stage),
            Entry(f"{model_pace.first:.3f}"),
            Entry(f"{model_pace.first_units:,} {UNITS[model_pace.stage]}"),
            Entry(MISSING if model_pace.steady is None else f"{1000 * model_pace.steady:,.2f}"),
            Entry(f"{1 / model_pace.steady:,.1f}" if model_pace.steady else MISSING),
        ]
        for model_pace in model_paces
    ]
    return Sheet(
        columns,
        rows,
        pd.DataFrame(map(asdict, model_paces)),
        "",
        NOTES,
        [model_pace.model for model_pace in model_paces],
    )


NOTES = [
    "first call: from the start of the stage, the first time that it ran, until its first units were done, without "
    "loading weights",
    "steady unit: mean over all units but the first ones of every call, whatever the batches",
]
