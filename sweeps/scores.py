"""What the metrics measured of a folder's pictures, in one Parquet file that says whose scores of what they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from common.files import atomic_path, canonical_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Measured: TypeAlias = dict[str, NDArray[np.float64]]

SCORES = "scores.parquet"


def write_scores(
    folder: Path,
    prompts: tuple[str, ...],
    measured: Mapping[str, "Measured"],
    scorers: Mapping[str, dict[str, Any]],
    pictures: str,
) -> None:
    """Write ``<metric>.<column>`` for every measured column; the first axis is the prompt, a second one a list.

    Args:
        folder: whose pictures were measured.
        prompts: their texts.
        measured: by metric, its columns.
        scorers: by metric, the identity of what measured.
        pictures: the hash of the pictures.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"prompt": pa.array(prompts, pa.string())}
    for metric, values in measured.items():
        columns |= {f"{metric}.{name}": _column(array) for name, array in values.items()}
    about = {"scorers": canonical_json(dict(scorers)), "pictures": pictures}
    table = pa.table(columns).replace_schema_metadata(about)
    with atomic_path(folder / SCORES) as beside:
        pq.write_table(table, beside)


def read_scores(folder: Path, scorers: Mapping[str, dict[str, Any]], pictures: str) -> dict[str, "Measured"]:
    """The columns of the metrics that these very scorers measured of these very pictures; others are left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(folder / SCORES)
        about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        known = json.loads(about["scorers"])
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return {}
    if about.get("pictures") != pictures:
        return {}
    current = [metric for metric in scorers if known.get(metric) == json.loads(canonical_json(scorers[metric]))]
    return {metric: _columns(table, metric) for metric in current}


def _column(array: "NDArray[Any]") -> Any:
    import pyarrow as pa

    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])


def _columns(table: Any, metric: str) -> "Measured":
    prefix = f"{metric}."
    found = {name.removeprefix(prefix): table[name] for name in table.column_names if name.startswith(prefix)}
    return {name: _array(column.combine_chunks(), table.num_rows) for name, column in found.items()}


def _array(column: Any, rows: int) -> "NDArray[Any]":
    flat: NDArray[Any] = (column.flatten() if hasattr(column, "flatten") else column).to_numpy(zero_copy_only=False)
    return flat if len(flat) == rows else flat.reshape(rows, -1)
