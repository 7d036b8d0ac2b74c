"""Similarity of pairs of pictures by the share of denoising that they had in common before their paths parted."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from generators.sharing.parting import shared_steps
from generators.sharing.plan import SharingPlan
from metrics.base import OF_PROMPTS
from metrics.split_similarity import BANDS, Band, split_similarity
from reports.base import RunView
from sweeps.record import Record
from sweeps.scores import read_table

PLAN = "plan.npz"


@dataclass(frozen=True)
class Split:
    """A cell whose prompts shared, seen by one metric's embeddings.

    Attributes:
        record: the cell's record.
        column: ``<metric>.<column>``, the place of the embeddings in its scores.
        bands: its pairs of pictures, by the share of steps that they had in common.
    """

    record: Record
    column: str
    bands: tuple[Band, ...]

    @property
    def figure(self) -> str:
        """The name of the metric's result for the similarity of all pairs."""
        return f"{self.column}_similarity"


def splits(series: RunView) -> list[Split]:
    """Return one split for every cell of a series in which prompts shared and every metric that embeds pictures.

    Call it as `series.once(splits)`.

    Raises:
        UserError: a cell's plan or scores are missing or damaged.
    """
    read, series_splits = cache(embeddings), []
    for record in series.records:
        if not record.plan or not record.plan.savings or not record.scorers:  # nothing was scored: there is no file
            continue
        shared_columns, baseline_columns = read(record.scores(series.path)), read(record.baseline_scores(series.path))
        columns = [
            column for column in shared_columns if column in baseline_columns and not column.endswith(OF_PROMPTS)
        ]
        if not columns:
            continue
        plan = SharingPlan.load(record.artifact(series.path, PLAN))
        shared = shared_steps(plan, record.sample.rows if record.sample else None)
        for column in columns:
            bands = split_similarity(baseline_columns[column], shared_columns[column], shared, plan.steps)
            series_splits.append(Split(record, column, tuple(bands)))
    return series_splits


def embeddings(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the embeddings [N, D] in a score file, of pictures and of prompts, by ``<metric>.<column>``.

    Raises:
        UserError: the file is missing or damaged.
    """
    import pyarrow as pa

    def is_row(column: pa.Field) -> bool:
        return bool(pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type))

    table = read_table(path, is_row)
    return {
        name: table[name].combine_chunks().flatten().to_numpy().astype(np.float64).reshape(table.num_rows, -1)
        for name in table.column_names
    }


def band_name(band: Band) -> str:
    """Return the band's share of the steps in percent: ``none``, ``0-20``, ..."""
    width = 100 // BANDS
    return f"{width * (band.number - 1)}-{width * band.number}" if band.number else "none"
