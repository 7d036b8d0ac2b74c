"""Read-only arrays, which stay what they were checked to be, and .npz files of arrays."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from common.errors import UserError
from common.files import atomic_path


def read_only(values: ArrayLike, dtype: DTypeLike, what: str) -> NDArray[Any]:
    """Return a read-only copy of 1-D `values` as `dtype`.

    Args:
        values: [n].
        dtype: of the copy.
        what: what an error calls them.

    Raises:
        UserError: they are not 1-D, or not of that kind (fractions where integers belong).

    Examples:
        >>> read_only([2, 2, -1], np.int64, "a tree's parents").flags.writeable
        False
        >>> read_only([0.5], np.int64, "a tree's parents")
        Traceback (most recent call last):
        common.errors.UserError: a tree's parents must be 1-D int64, not 1-D float64
    """
    array = np.asarray(values)
    if array.ndim != 1 or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise UserError(f"{what} must be 1-D {np.dtype(dtype)}, not {array.ndim}-D {array.dtype}")
    copy = array.astype(dtype)
    copy.setflags(write=False)
    return copy


def write_npz(path: Path, kind: str, arrays: Mapping[str, ArrayLike]) -> None:
    """Write `arrays` to `path`, marked as being of this `kind`; the file is whole or absent."""
    with atomic_path(Path(path)) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **{"kind": np.asarray(kind), **arrays})  # type: ignore[arg-type]


def read_npz(path: Path, kind: str) -> dict[str, NDArray[Any]]:
    """Return the arrays that `write_npz` wrote; nothing is ever unpickled.

    Raises:
        UserError: the file cannot be read, is damaged, or is of another kind.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
            stored_kind = str(arrays.pop("kind"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, AttributeError, LookupError, EOFError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path} is damaged or no {kind} file", "remove it and run again to make it anew") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged", "remove it and run again to make it anew") from error
    if stored_kind != kind:
        raise UserError(f"{path} is a {stored_kind!r} file, not {kind!r}", "remove it and run again to make it anew")
    return arrays
