"""Paired scores, shared against baseline, prompt by prompt: read from the score files of a run folder."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from metrics.base import OF_ATOMS
from metrics.scorer_audit import outside
from reports.frame import WIN_RATE
from sweeps.record import Record
from sweeps.scores import RESCORE as AGAIN
from sweeps.scores import read_table

Read: TypeAlias = Callable[[Path, str], NDArray[np.float64]]


def outcomes(run: Path, record: Record, metric: str, read: Read, *, zone: float | None = None) -> NDArray[np.float64]:
    """Return [N]: 1 where a prompt's shared picture scores better than the baseline's, -1 where worse, 0 for a tie.

    A difference within the zone of indifference is a tie: the scorer sees as much between a picture and a copy of it
    that nobody can tell from it. Claims, verdicts, crossings and rankings count wins here and nowhere else.

    Args:
        run, record, metric, read: as for `score_differences`.
        zone: half its width; the record's own unless given. 0 is the strict rule of published tables.
    """
    return outside(
        better(record, metric) * score_differences(run, record, metric, read),
        indifference(record, metric) if zone is None else zone,
    )


def indifference(record: Record, metric: str) -> float:
    """Return half the width of a scorer's zone of indifference; 0 for records that have none, as of old runs."""
    return float(record.scorers.get(metric, {}).get("indifference", 0.0))


def zone_note(records: Iterable[Record], metrics: Iterable[str]) -> list[str]:
    """Return the sentence that says which differences are ties in these records; none where every difference counts."""
    records = list(records)
    zones = {
        (metric, record.config.dataset, indifference(record, metric)): None
        for metric in metrics
        for record in records
        if indifference(record, metric)
    }
    widths = {width for *_, width in zones}
    if not widths:
        return []
    if len(widths) == 1:
        below = f"{widths.pop():.3g}"
    else:
        below = ", ".join(f"{width:.3g} ({metric} on {dataset})" for metric, dataset, width in zones)
    return [f"a tie: scores that differ by less than the scorer's floor, {below}; the table `audit` has it"]


def with_zone(records: Sequence[Record], zone: float | None) -> list[Record]:
    """Return the records with this zone of every scorer in place of their own; as they are where it is None."""
    if zone is None:
        return list(records)
    return [
        record.model_copy(
            update={"scorers": {name: {**about, "indifference": zone} for name, about in record.scorers.items()}}
        )
        for record in records
    ]


def score_differences(run: Path, record: Record, metric: str, read: Read) -> NDArray[np.float64]:
    """Return [N]: how much higher each prompt's shared picture scores than the baseline's.

    Args:
        run: the run folder.
        record: the record of a finished cell, with the metric's win rate.
        metric: one of its metrics.
        read: `metric_scores`, or the same with a cache: one baseline's scores serve many cells.

    Raises:
        UserError: a score file is missing or damaged, or does not give the record's win rate.
    """
    shared, baseline = read(record.scores(run), metric), read(record.baseline_scores(run), metric)
    if len(shared) == len(baseline):
        gaps = shared - baseline
        rate = 0.5 + better(record, metric) * np.sign(gaps).mean() / 2
        if abs(rate - record.results[f"{metric}{WIN_RATE}"].value) < 1e-9:
            return np.asarray(gaps)
    raise UserError(f"the {metric} scores of cell {record.id} do not give its win rate", AGAIN)


def metric_scores(path: Path, metric: str) -> NDArray[np.float64]:
    """Return the only column [N] of a score file that holds one number a prompt by this metric, parts left out.

    Raises:
        UserError: the file is missing or damaged, or the metric has no such column or several.
    """
    import pyarrow as pa

    def wanted(column: pa.Field) -> bool:
        of_metric = column.name.startswith(f"{metric}.") and not column.name.endswith(OF_ATOMS)
        return bool(of_metric and pa.types.is_floating(column.type))

    columns = read_table(path, wanted).columns
    if len(columns) != 1:
        raise UserError(f"{path} has {len(columns)} columns of one {metric} score a prompt, not one", AGAIN)
    values: NDArray[np.float64] = columns[0].to_numpy().astype(np.float64)
    return values


def is_score(name: str, values: NDArray[np.generic]) -> bool:
    """Return whether a measured column holds one score a picture: parts of a score are left out, and what is none."""
    return values.ndim == 1 and values.dtype.kind == "f" and not name.endswith(OF_ATOMS)


def better(record: Record, metric: str) -> int:
    """Return 1 where a higher score is better, -1 where a lower one is."""
    return 1 if record.scorers.get(metric, {}).get("higher_is_better", True) else -1
