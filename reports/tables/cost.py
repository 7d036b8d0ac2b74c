"""Savings counted in several ways: denoiser evaluations, FLOPs, seconds, energy."""

from collections.abc import Callable
from typing import ClassVar, TypeAlias

from reports.base import RunView, Table
from reports.frame import SHARED, frame, shared_axes, varying_axes, wall_savings
from reports.labels import Label, axis_text
from reports.sheet import Column, Entry, Sheet
from sweeps.record import EQUAL, Record

Value: TypeAlias = Callable[[Record], float | None]

SHARE, RATIO, SECONDS = Label("", "fraction"), Label("", "score"), Label("", "score")
LEAST = 0.01  # of steps saved: a ratio to less than that is all rounding


class Cost(Table):
    """Savings in steps, in FLOPs, in seconds and in energy side by side, and the seconds of clustering and planning."""

    name = "cost"
    rank: ClassVar[int] = 5
    printed: ClassVar[bool] = False

    def sheet(self, run: RunView) -> Sheet | None:
        records = [*run.records, *(record for role in EQUAL for record in run.held_against(role))]
        if not any(wall_savings(record) is not None for record in records):
            return None
        measured: dict[str, tuple[Label, Value]] = {
            "steps saved, %": (SHARE, lambda record: record.plan.savings if record.plan else None),
            **({"NFE saved, %": (SHARE, _rows_saved)} if any(map(_rows_saved, records)) else {}),
            "FLOPs saved, %": (SHARE, lambda record: record.flops.savings if record.flops else None),
            "wall time saved, %": (SHARE, wall_savings),
            "wall/steps saved": (RATIO, _ratio),
            "clustering and planning, s": (SECONDS, _deciding),
        }
        if any(record.joules is not None for record in records):
            measured |= {"J an image": (RATIO, _joules), "energy saved, %": (SHARE, _energy_savings)}
        axes = varying_axes(records)
        columns = [
            *(Column(axis, numeric=False, key=True) for axis in axes),
            Column("tau", key=True),
            *map(Column, measured),
        ]
        rows = [
            [
                *(Entry(axis_text(getattr(record.config, axis))) for axis in axes),
                Entry(f"{record.config.tau:f}"),
                *(Entry(form.number(value(record))) for form, value in measured.values()),
            ]
            for record in records
        ]
        shared = [f"{name} {axis_text(value)}" for name, value in shared_axes(records).items()]
        groups = [record.config.model_copy(update={"tau": 0}) for record in records]
        notes = [*NOTES, *([SHARED] if any(record.shared_seconds for record in records) else [])]
        return Sheet(columns, rows, frame(records), ", ".join(shared), notes, groups)


NOTES = [
    "wall time: seconds of encoding, clustering, planning, denoising and decoding as this run measured them, whatever "
    "else its machine did; a reused baseline picture counts with the seconds that it took the baseline",
    "wall/steps saved: wall time saved over steps saved; 1 where time is saved as fully as denoiser evaluations are",
]


def _rows_saved(record: Record) -> float | None:
    return record.plan.nfe_savings if record.plan else None


def _ratio(record: Record) -> float | None:
    wall = wall_savings(record)
    return None if wall is None or not record.plan or record.plan.savings < LEAST else wall / record.plan.savings


def _deciding(record: Record) -> float | None:
    return sum(record.timings.get(stage, 0.0) for stage in ("cluster", "plan")) if record.timings else None


def _joules(record: Record) -> float | None:
    return None if record.joules is None or not record.plan else record.joules / record.made_prompts


def _energy_savings(record: Record) -> float | None:
    return None if record.joules is None or not record.baseline_joules else 1 - record.joules / record.baseline_joules
