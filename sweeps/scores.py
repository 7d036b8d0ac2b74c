"""The scores of a folder's pictures, in one Parquet file that says which scorers measured which pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from common.files import atomic_path, canonical_json
from sweeps.record import SCORES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Measured: TypeAlias = dict[str, NDArray[np.float64]]

# Of a scorer's identity, what is recorded and does not decide whether its scores are used again.
RECORDED = {
    *("name", "metric", "checkpoint", "packages", "device", "notes"),
    *("figures", "higher_is_better", "probability", "indifference"),
}


@dataclass
class Scores:
    """By scorer (see `Scorers`), the columns that were measured and the identity of what measured them."""

    measured: dict[str, "Measured"] = field(default_factory=dict)
    scorers: dict[str, dict[str, Any]] = field(default_factory=dict)


def same_scorer(known: Mapping[str, Any] | None, now: Mapping[str, Any]) -> bool:
    """Return True where two identities are those of one scorer, wherever it is loaded from, with whichever packages.

    Examples:
        >>> same_scorer({"weights": "ab12", "device": "cuda"}, {"weights": "ab12", "device": "cpu"})
        True
        >>> same_scorer({"weights": "ab12"}, {"weights": "cd34"})
        False
    """
    if known is None:
        return False
    plain = json.loads(canonical_json(dict(now)))
    return all(known.get(name) == plain.get(name) for name in {*known, *plain} - RECORDED)


def write_scores(folder: Path, prompts: Sequence[str], scores: Scores, pictures: str) -> None:
    """Write ``<scorer>.<column>`` for every measured column; the first axis is the prompt, a second one a list.

    `pictures` is the hash of what was measured (`Manifest.hash`).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"prompt": pa.array(prompts, pa.string())}
    for scorer, values in scores.measured.items():
        columns |= {f"{scorer}.{name}": _column(array) for name, array in values.items()}
    about = {"scorers": canonical_json(scores.scorers), "pictures": pictures}
    table = pa.table(columns).replace_schema_metadata(about)
    with atomic_path(folder / SCORES) as beside:
        pq.write_table(table, beside)


def read_scores(folder: Path, pictures: str) -> Scores:
    """Return the scores of the very pictures of this hash; none where the file is missing, damaged, or of others."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(folder / SCORES)
        about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        known = json.loads(about["scorers"])
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return Scores()
    if about.get("pictures") != pictures:
        return Scores()
    return Scores({scorer: _columns(table, scorer) for scorer in known}, known)


def scorers_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what measured any pictures of a folder, by scorer; nothing where its scores cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        known: dict[str, dict[str, Any]] = json.loads((pq.read_schema(folder / SCORES).metadata or {})[b"scorers"])
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return {}
    return known


def _column(array: "NDArray[Any]") -> Any:
    import pyarrow as pa

    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])


def _columns(table: Any, scorer: str) -> "Measured":
    prefix = f"{scorer}."
    columns = {name.removeprefix(prefix): table[name] for name in table.column_names if name.startswith(prefix)}
    return {name: _array(column.combine_chunks(), table.num_rows) for name, column in columns.items()}


def _array(column: Any, rows: int) -> "NDArray[Any]":
    flat: NDArray[Any] = (column.flatten() if hasattr(column, "flatten") else column).to_numpy(zero_copy_only=False)
    return flat if len(flat) == rows else flat.reshape(rows, -1)
