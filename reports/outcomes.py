"""Who scored higher, prompt by prompt, and by how much: read from the score files of a run folder."""

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
    """Of each prompt [N], 1 where ours scores better than standard, -1 where worse, 0 for a tie; see `differences`."""
    return np.asarray(better(record, metric) * np.sign(differences(run, record, metric, read)))


def differences(run: Path, record: Record, metric: str, read: Read) -> NDArray[np.float64]:
    """Of each prompt [N], by how much ours scores higher than standard.

    Args:
        run: the run folder.
        record: of a finished cell, with the metric's win rate.
        metric: which of its metrics.
        read: `metric_scores`, or the same with a memory: standard's scores serve many cells.

    Raises:
        UserError: a file of scores is missing or damaged, or is not what the record's win rate was made of.
    """
    ours, standard = read(record.scores(run), metric), read(record.standard_scores(run), metric)
    if len(ours) == len(standard):
        found = ours - standard
        rate = 0.5 + better(record, metric) * np.sign(found).mean() / 2
        if abs(rate - record.figures[f"{metric}{WIN_RATE}"].value) < 1e-9:
            return np.asarray(found)
    raise UserError(f"the {metric} scores of cell {record.id} do not give its win rate", AGAIN)


def metric_scores(path: Path, metric: str) -> NDArray[np.float64]:
    """The only column [N] in a file of scores that holds one number a prompt by this metric.

    Raises:
        UserError: the file is missing or damaged, or the metric has no such column or several.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            found = [
                name
                for name in schema.names
                if name.startswith(f"{metric}.") and pa.types.is_floating(schema.field(name).type)
            ]
            if len(found) != 1:
                raise UserError(f"{path} has {len(found)} columns of one {metric} score a prompt, not one", AGAIN)
            values: NDArray[np.float64] = file.read(found)[found[0]].to_numpy().astype(np.float64)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read the scores {path}: {' '.join(str(error).split())}", AGAIN) from error
    return values


def better(record: Record, metric: str) -> int:
    """1 where a higher score is better, -1 where a lower one is."""
    return 1 if record.scorers.get(metric, {}).get("higher_is_better", True) else -1
