"""Records as a pandas frame, one row a cell, and the axes on which they differ."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from metrics.statistics import Estimate
from sweeps.record import CellConfig, Record, Result

AXES = tuple(name for name in CellConfig.model_fields if name != "tau")
WIN_RATE = ".win_rate"
SHARED = (
    "wall time saved is not given: a cell's seconds are its share of what was denoised together, or not warmed up; "
    "--isolate measures it"
)
MAKING = ("encode", "cluster", "plan", "denoise", "decode", "write", "reused")


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row a cell, failed ones too, in the records' order and full precision.

    Columns: ``id``, ``status``, ``role``, the axes, plan and FLOP counts (savings from 0 to 1), every result as
    ``<result>``, ``<result>_low``, ``<result>_high``, seconds in all and by stage, the share of them saved, joules, and
    the error of failed cells.
    """
    rows = [row(record) for record in records]
    columns = dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)
    return pd.DataFrame(rows, columns=pd.Index(columns))


def result_names(records: Sequence[Record]) -> list[str]:
    """Return the name of every result that some record has, in the order in which records first name them."""
    return list(dict.fromkeys(name for record in records for name in record.results))


def paired_metrics(names: Sequence[str]) -> list[str]:
    """Return the metrics that compare shared and baseline pictures prompt by prompt: those with a win rate."""
    return [name.removesuffix(WIN_RATE) for name in names if name.endswith(WIN_RATE)]


def difference_result(record: Record, metric: str) -> str | None:
    """Return the name of the metric's mean paired difference among a record's results; None where it has none."""
    names = (name for name in record.results if name.startswith(f"{metric}."))
    return next((name for name in names if name.endswith("_difference")), None)


def with_interval(name: str, estimate: Result | Estimate | None) -> dict[str, float | None]:
    """Return ``<name>``, ``<name>_low``, ``<name>_high`` of a row."""
    ends = (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def axes_of(places: Iterable[CellConfig]) -> tuple[str, ...]:
    """Return the axes of these places but for tau: `AXES`, after those that a view of several runs adds."""
    names = dict.fromkeys(name for place in places for name in type(place).model_fields)
    return (*(name for name in names if name not in CellConfig.model_fields), *AXES)


def varying_axes(records: Sequence[Record]) -> list[str]:
    """Return the axes but for tau on which these records differ; not those that follow from the variation."""
    varying = _differing(record.config for record in records)
    if "variation" not in varying:
        return varying
    alike: dict[str, list[CellConfig]] = {}
    for record in records:
        alike.setdefault(record.config.variation, []).append(record.config)
    within = {name for places in alike.values() for name in _differing(places)}
    return [name for name in varying if name == "variation" or name in within]


def shared_axes(records: Sequence[Record]) -> dict[str, Any]:
    """Return the axes but for tau on which these records agree, with their value; defaults are left out."""
    if not records:
        return {}
    varying = _differing(record.config for record in records)
    defaults = {name: axis.default for name, axis in CellConfig.model_fields.items()}
    return {
        name: value
        for name, value in place(records[0].config).items()
        if name not in varying and value != defaults.get(name)
    }


def _differing(places: Iterable[CellConfig]) -> list[str]:
    places = list(places)
    return [name for name in axes_of(places) if len({getattr(place, name) for place in places}) > 1]


def place(asked: CellConfig) -> dict[str, Any]:
    """Return the value on every axis but for tau."""
    return {name: getattr(asked, name) for name in axes_of([asked])}


def seconds(record: Record) -> float | None:
    """Return the seconds that the cell took; None where that was not recorded."""
    return sum(record.timings.values()) if record.timings else None


def wall_savings(record: Record) -> float | None:
    """Return the share of the baseline's seconds that this cell saved; None where that was not measured.

    Counted is what makes pictures: encoding the prompts, clustering, planning, denoising, decoding. Prompts are encoded
    once for both, and baseline pictures are reused where they are the same: each counts in full for the cell too. Of a
    sample it is not known: what all prompts share is spread over fewer.
    """
    baseline = sum(record.baseline_timings.get(stage, 0.0) for stage in MAKING)
    if not baseline or not record.timings or record.shared_seconds or record.sample:
        return None
    once = {"encode": record.baseline_timings.get("encode", 0.0)}
    return 1 - sum({**once, **record.timings}.get(stage, 0.0) for stage in MAKING) / baseline


def row(record: Record) -> dict[str, Any]:
    """Return the cell's row of `frame`, by column; columns that do not apply to it are absent."""
    cells: dict[str, Any] = {"id": record.id, "status": record.status, "role": record.role, **place(record.config)}
    cells["tau"] = float(record.config.tau)
    if record.plan:
        cells |= record.plan.model_dump() | {"nfe_savings": record.plan.nfe_savings}
    if record.sample:
        cells["made_prompts"] = record.made_prompts
    if flops := record.flops:
        cells |= {"flops": flops.total, "standard_flops": flops.baseline_total, "flop_savings": flops.savings}
        cells |= {f"flops.{name}": value for name, value in flops.components.items()}
    for name, figure in record.results.items():
        cells[name] = figure.value
        if figure.low is not None and figure.high is not None:
            cells |= {f"{name}_low": figure.low, f"{name}_high": figure.high}
    cells |= {"seconds": seconds(record), "wall_savings": wall_savings(record)}
    cells |= {"joules": record.joules, "standard_joules": record.baseline_joules}
    cells |= {f"seconds.{stage}": value for stage, value in record.timings.items()}
    if record.error:
        cells["error"] = f"{record.error.type}: {record.error.message}"
    return cells
