"""Records as a pandas frame, one row a cell, and which of their axes differ."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sweeps.record import Asked, Record

AXES = tuple(name for name in Asked.model_fields if name != "tau")
WIN_RATE = ".win_rate"


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row a cell, failed ones too, in the records' order and full precision.

    Columns: ``id``, ``status``, the axes, what the plan and the FLOP count say (shares from 0 to 1), every figure
    as ``<figure>``, ``<figure>_low``, ``<figure>_high``, seconds in all and by stage, and the error of failed cells.
    """
    rows = [row(record) for record in records]
    columns = dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)
    return pd.DataFrame(rows, columns=pd.Index(columns))


def figure_names(records: Sequence[Record]) -> list[str]:
    """Every figure that some record has, in the order in which records first name them."""
    return list(dict.fromkeys(name for record in records for name in record.figures))


def paired_metrics(names: Sequence[str]) -> list[str]:
    """The metrics among these figures' that compare ours with standard prompt by prompt: they have a win rate."""
    return [name.removesuffix(WIN_RATE) for name in names if name.endswith(WIN_RATE)]


def varying_axes(records: Sequence[Record]) -> list[str]:
    """The axes, tau apart, on which these records differ."""
    return [name for name in AXES if len({getattr(record.asked, name) for record in records}) > 1]


def shared_axes(records: Sequence[Record]) -> dict[str, Any]:
    """The axes, tau apart, on which these records agree, with their value."""
    varying = varying_axes(records)
    return {name: getattr(records[0].asked, name) for name in AXES if name not in varying} if records else {}


def seconds(record: Record) -> float | None:
    """How long the cell took; None if that was not recorded."""
    return sum(record.timings.values()) if record.timings else None


def row(record: Record) -> dict[str, Any]:
    """The cell's row of `frame`, by column; columns that do not apply to it are absent."""
    cells: dict[str, Any] = {"id": record.id, "status": record.status, **record.asked.model_dump()}
    cells["tau"] = float(record.asked.tau)
    if record.plan:
        cells |= record.plan.model_dump()
    if flops := record.flops:
        cells |= {"flops": flops.total, "standard_flops": flops.standard_total, "flop_savings": flops.savings}
        cells |= {f"flops.{name}": value for name, value in flops.components.items()}
    for name, figure in record.figures.items():
        cells[name] = figure.value
        if figure.low is not None and figure.high is not None:
            cells |= {f"{name}_low": figure.low, f"{name}_high": figure.high}
    cells["seconds"] = seconds(record)
    cells |= {f"seconds.{stage}": value for stage, value in record.timings.items()}
    if record.error:
        cells["error"] = f"{record.error.type}: {record.error.message}"
    return cells
