"""The scores of a folder's pictures, in one Parquet file that says which scorers measured which pictures.

It holds its own hashes, one a scorer: `read_table` returns no score that is not what was written.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from common.errors import UserError
from common.files import atomic_path, canonical_json, parse_json, sha256_text
from sweeps.record import SCORES

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Measured: TypeAlias = dict[str, NDArray[np.float64]]

HASHES, WHOLE = "hashes", "sha256"
# What the metadata of a file without hashes may hold: those of earlier versions, and what pandas writes.
OLD = {"scorers", "pictures", "pandas", "ARROW:schema"}
RESCORE = "run the same sweep again with --rescore"

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
    plain = parse_json(canonical_json(dict(now)))
    return all(known.get(name) == plain.get(name) for name in {*known, *plain} - RECORDED)


def write_scores(folder: Path, prompts: Sequence[str], scores: Scores, pictures: str) -> None:
    """Write ``<scorer>.<column>`` for every measured column; the first axis is the prompt, a second one a list.

    `pictures` is the hash of what was measured (`Manifest.hash`).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"prompt": pa.array(prompts, pa.string())}
    for scorer, values in scores.measured.items():
        columns |= {f"{scorer}.{name}": as_column(array) for name, array in values.items()}
    about = {"scorers": canonical_json(scores.scorers), "pictures": pictures, HASHES: canonical_json(digests(scores))}
    about[WHOLE] = _digest_of_all(about, list(prompts))
    table = pa.table(columns).replace_schema_metadata(about)
    with atomic_path(folder / SCORES) as beside:
        pq.write_table(table, beside)


def digests(scores: Scores) -> dict[str, str]:
    """Return by scorer one hash of everything that it measured."""
    return {scorer: _digest(columns) for scorer, columns in scores.measured.items()}


def read_scores(folder: Path, pictures: str, on_damage: "Callable[[str], None]" = lambda _: None) -> Scores:
    """Return the scores of the very pictures of this hash; none where the file is missing, damaged, or of others.

    `on_damage` hears of one that is damaged.
    """
    if not os.path.lexists(folder / SCORES):
        return Scores()
    try:
        table = read_table(folder / SCORES)
        about = _about(table)
        known = json.loads(about["scorers"])
        if about.get("pictures") != pictures:
            return Scores()
        return Scores({scorer: _columns(table, scorer) for scorer in known}, known)
    except (UserError, KeyError, ValueError, TypeError) as error:
        on_damage(error.message if isinstance(error, UserError) else f"the scores {folder / SCORES} are damaged")
        return Scores()


def read_table(path: Path, wanted: "Callable[[pa.Field], bool]" = lambda _: True) -> "pa.Table":
    """Return a score file as an Arrow table, verified by the hashes within, where it has them.

    Args:
        path: the file.
        wanted: which of its columns; all unless given.

    Raises:
        UserError: it is missing, damaged, or not what was written.
    """
    import pyarrow.parquet as pq

    _verify(path)
    try:
        with pq.ParquetFile(path) as file:
            return file.read([column.name for column in file.schema_arrow if wanted(column)])
    except Exception as error:  # damaged files fail in many ways
        raise _unreadable(path, error) from error


def check_scores(path: Path, expected: Mapping[str, str]) -> None:
    """Raise a UserError where a score file is damaged, or a scorer's hash is not the expected one.

    Args:
        path: the file.
        expected: by scorer, as `digests` gives them.
    """
    found = _verify(path) if expected else {}
    for scorer, digest in expected.items():
        if found.get(scorer) != digest:
            raise UserError(f"the {scorer} scores {path} are not those that the record was made from", RESCORE)


def _verify(path: Path) -> dict[str, str]:
    """Return the hashes of a score file's scorers, which it has; none where it is of an earlier version."""
    try:
        stat = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return _hashes(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@lru_cache(maxsize=4096)  # tables and figures ask for the same files again and again
def _hashes(path: Path, *_stat: int) -> dict[str, str]:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        about = _about(table)
        if WHOLE not in about:
            if not about.keys() <= OLD:
                raise ValueError("it has no whole hash")
            return {}
        scorers, hashes = json.loads(about["scorers"]), dict(json.loads(about[HASHES]))
        measured = {scorer: _columns(table, scorer) for scorer in scorers}
        names = {"prompt", *(f"{scorer}.{name}" for scorer, columns in measured.items() for name in columns)}
        whole = (
            about.keys() - {"ARROW:schema"} == {"scorers", "pictures", HASHES, WHOLE}
            and set(table.column_names) == names
            and about[WHOLE] == _digest_of_all(about, table["prompt"].to_pylist())
            and hashes == digests(Scores(measured))
        )
    except Exception as error:  # damaged files fail in many ways
        raise _unreadable(path, error) from error
    if not whole:
        raise UserError(f"the scores {path} are damaged: they are not what was written", RESCORE)
    return hashes


def _unreadable(path: Path, error: Exception) -> UserError:
    what = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    return UserError(f"cannot read the scores {path}: {what or type(error).__name__}", RESCORE)


def _about(table: Any) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}


def _digest(columns: "Measured") -> str:
    digest = hashlib.sha256()
    for name, values in sorted(columns.items()):
        digest.update(f"{name} {values.dtype.str} {list(values.shape)}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _digest_of_all(about: Mapping[str, str], prompts: list[str]) -> str:
    return sha256_text(canonical_json([about["scorers"], about["pictures"], about[HASHES], prompts]))


def scorers_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what measured any pictures of a folder, by scorer; nothing where its scores cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        known: dict[str, dict[str, Any]] = json.loads((pq.read_schema(folder / SCORES).metadata or {})[b"scorers"])
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return {}
    return known


def as_column(array: "NDArray[Any]") -> Any:
    """Return an Arrow array of what was measured, [N] or [N, D]."""
    import pyarrow as pa

    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])


def _columns(table: Any, scorer: str) -> "Measured":
    prefix = f"{scorer}."
    columns = {name.removeprefix(prefix): table[name] for name in table.column_names if name.startswith(prefix)}
    return {name: as_array(column.combine_chunks(), table.num_rows) for name, column in columns.items()}


def as_array(column: Any, rows: int) -> "NDArray[Any]":
    """Return what `as_column` was given, from an Arrow array of so many rows."""
    flat: NDArray[Any] = (column.flatten() if hasattr(column, "flatten") else column).to_numpy(zero_copy_only=False)
    return flat if len(flat) == rows else flat.reshape(rows, -1)
