"""Ready prompt embeddings from a file, to plan with no model at all."""

import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import input_file
from generators.npy import read_npy
from generators.strategies.base import checked

PREFERRED = "image_embeds"
LARGE = 256 << 20  # bytes
TORCH_ALONE = ("BF16", "F8", "F4")  # safetensors' types that NumPy has not


def load_embeddings(path: Path, n_prompts: int | None = None) -> NDArray[np.floating]:
    """Return the embeddings in a .npy, .parquet or .safetensors file, [N, D], in the precision that they have there.

    Of several tensors in a .safetensors file, or columns of lists in a .parquet file, ``image_embeds`` is meant. Large
    .npy and .parquet files become memory maps.

    Args:
        n_prompts: how many there must be, if prompts go with them.

    Raises:
        UserError: the file cannot be read, does not say which tensor is meant, holds something else than
            [N, D] floating-point numbers with directions to compare, or another number of them.
    """
    path = Path(path)
    readers = {".npy": _npy, ".parquet": _parquet, ".safetensors": _safetensors}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path} is no embeddings file", "embeddings are read from " + ", ".join(readers))
    features = checked(readers[path.suffix.lower()](input_file(path, most=sys.maxsize)), str(path))
    if n_prompts is not None and len(features) != n_prompts:
        raise UserError(f"{path} holds {len(features)} embeddings for {n_prompts} prompts", "give one row a prompt")
    return features


def _npy(path: Path) -> NDArray[Any]:
    hint = "write it with numpy.save(path, embeddings), float32 [prompts, dimensions]"
    if not path.is_file() or path.stat().st_size < LARGE:
        return read_npy(path, hint)
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no plain .npy array: {error}", hint) from error


def _parquet(path: Path) -> NDArray[Any]:
    """Read batch by batch; a large array goes into a file of its own that vanishes with it."""
    import pyarrow as pa
    from pyarrow import parquet

    if not path.is_file():
        raise UserError(f"cannot read {path}: no such file")
    try:
        with parquet.ParquetFile(path) as stored:
            name = _column(path, stored.schema_arrow)
            embeddings: NDArray[Any] | None = None
            start = 0
            for batch in stored.iter_batches(columns=[name]):
                rows = _matrix(path, name, batch.column(0))
                if embeddings is None:
                    embeddings = _empty((stored.metadata.num_rows, rows.shape[1]), rows.dtype)
                if rows.shape[1] != embeddings.shape[1]:
                    raise UserError(f"{path}: after row {start}, {name} has lists of other lengths")
                embeddings[start : start + len(rows)] = rows
                start += len(rows)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"cannot read {path}: {error}", "it may be damaged; write it again") from error
    return np.empty((0, 0)) if embeddings is None else embeddings


def _column(path: Path, schema: Any) -> str:
    import pyarrow as pa

    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    names = [field.name for field in schema if any(is_list(field.type) for is_list in lists)]
    if PREFERRED not in names and len(names) != 1:
        raise UserError(
            f"{path} has {', '.join(names) or 'no'} columns of lists", f"name that of the embeddings {PREFERRED!r}"
        )
    return PREFERRED if PREFERRED in names else str(names[0])


def _matrix(path: Path, name: str, column: Any) -> NDArray[Any]:
    from pyarrow import compute

    values, lengths = column.flatten(), compute.unique(compute.list_value_length(column)).to_pylist()
    if column.null_count or values.null_count or len(lengths) != 1:
        raise UserError(f"{path}: {name} has nulls, or lists of different lengths", "give every prompt one embedding")
    embeddings: NDArray[Any] = values.to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return embeddings


def _empty(shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array to fill, on disk if it is large."""
    if shape[0] * shape[1] * dtype.itemsize < LARGE:
        return np.empty(shape, dtype)
    with TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def _safetensors(path: Path) -> NDArray[Any]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"cannot read {path}: no such file")
    try:
        with safe_open(path, framework="np") as stored:
            names = list(stored.keys())
            if PREFERRED not in names and len(names) != 1:
                raise UserError(f"{path} holds {', '.join(names) or 'nothing'}", f"name the embeddings {PREFERRED!r}")
            name = PREFERRED if PREFERRED in names else names[0]
            dtype = stored.get_slice(name).get_dtype()
            array: NDArray[Any] | None = None if dtype.startswith(TORCH_ALONE) else stored.get_tensor(name)
        if array is None:
            with safe_open(path, framework="pt") as stored:
                array = stored.get_tensor(name).float().numpy()
    except (NotImplementedError, AttributeError, TypeError) as error:  # what torch raises of a type without values
        raise UserError(f"{path} has embeddings of the type {dtype}, which cannot be read", "store float32") from error
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot read {path}: {error}", "it may be damaged; write it again") from error
    return array
