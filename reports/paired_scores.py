"""Paired scores, shared against baseline, prompt by prompt: read from the score files of a run folder."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from reports.frame import WIN_RATE
from sweeps.record import Record

Read: TypeAlias = Callable[[Path, str], NDArray[np.float64]]

AGAIN = "run the same sweep again with --rescore"


def outcomes(run: Path, record: Record, metric: str, read: Read) -> NDArray[np.float64]:
    """Return [N]: 1 where a prompt's shared picture scores better than the baseline's, -1 where worse, 0 for a tie."""
    return np.asarray(better(record, metric) * np.sign(score_differences(run, record, metric, read)))


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
    """Return the only column [N] of a score file that holds one number a prompt by this metric.

    Raises:
        UserError: the file is missing or damaged, or the metric has no such column or several.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            columns = [
                name
                for name in schema.names
                if name.startswith(f"{metric}.") and pa.types.is_floating(schema.field(name).type)
            ]
            if len(columns) != 1:
                raise UserError(f"{path} has {len(columns)} columns of one {metric} score a prompt, not one", AGAIN)
            values: NDArray[np.float64] = file.read(columns)[columns[0]].to_numpy().astype(np.float64)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read the scores {path}: {' '.join(str(error).split())}", AGAIN) from error
    return values


def better(record: Record, metric: str) -> int:
    """Return 1 where a higher score is better, -1 where a lower one is."""
    return 1 if record.scorers.get(metric, {}).get("higher_is_better", True) else -1
