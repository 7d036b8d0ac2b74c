"""What a run says of pictures whose paths parted: how alike pairs are, by the share of the steps that they shared."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from generators.sharing.parting import shared_steps
from generators.sharing.plan import SharingPlan
from metrics.split_similarity import BANDS, Band, split_similarity
from reports.base import RunView
from sweeps.record import Record

PLAN = "plan.npz"


@dataclass(frozen=True)
class Split:
    """A cell whose prompts shared, as one metric's embeddings see it.

    Attributes:
        record: the cell's.
        column: ``<metric>.<column>``, where the embeddings are in its scores.
        bands: its pairs.
    """

    record: Record
    column: str
    bands: tuple[Band, ...]

    @property
    def figure(self) -> str:
        """The name of the metric's figure for the similarity of all pairs."""
        return f"{self.column}_similarity"


def splits(series: RunView) -> list[Split]:
    """Of every cell of a series in which prompts shared, and every metric that embeds pictures; ask through `once`.

    Raises:
        UserError: a cell's plan or scores are missing or damaged.
    """
    read, found = cache(embeddings), []
    for record in series.records:
        if not record.plan or not record.plan.savings:
            continue
        ours, standard = read(record.scores(series.path)), read(record.standard_scores(series.path))
        columns = [column for column in ours if column in standard]
        if not columns:
            continue
        plan = SharingPlan.load(record.folder(series.path) / PLAN)
        shared = shared_steps(plan)
        for column in columns:
            bands = split_similarity(standard[column], ours[column], shared, plan.steps)
            found.append(Split(record, column, tuple(bands)))
    return found


def embeddings(path: Path) -> dict[str, NDArray[np.float64]]:
    """By ``<metric>.<column>``, the embeddings [N, D] in a file of scores.

    Raises:
        UserError: the file is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def is_row(kind: Any) -> bool:
        return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind))

    try:
        with pq.ParquetFile(path) as file:
            names = [each.name for each in file.schema_arrow if is_row(each.type)]
            columns = file.read(names)
        return {
            name: columns[name].combine_chunks().flatten().to_numpy().astype(np.float64).reshape(columns.num_rows, -1)
            for name in names
        }
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(
            f"cannot read the scores {path}: {' '.join(str(error).split())}", "run the same sweep again with --rescore"
        ) from error


def band_name(band: Band) -> str:
    """``none``, ``0-20``, ...: the share of the steps, in percent."""
    width = 100 // BANDS
    return f"{width * (band.number - 1)}-{width * band.number}" if band.number else "none"
