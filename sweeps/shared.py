"""What all workers of a sweep read: prompts' conditioning in one place, a row at a time, wherever that place is."""

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from generators.conditioning import Conditioning

LENGTH = 8  # bytes of a safetensors file that say how long its header is
HINT = "give --store a folder all workers see, or a URL that fsspec reads (s3:// needs s3fs, gs:// gcsfs)"


def publish(path: Path, name: str, store: str | None) -> str:
    """The URL of a file that workers can read.

    Args:
        path: the file.
        name: of its content: what is there under that name is not written again.
        store: a URL of a folder; None: they read `path` itself.

    Raises:
        UserError: the store cannot be written.
    """
    if store is None:
        return str(path.resolve())
    url = f"{store.rstrip('/')}/{name}"
    try:
        system, target = _system(url)
        if not system.exists(target):
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            beside = f"{target}.{uuid.uuid4().hex}"
            system.put_file(str(path), beside)
            system.mv(beside, target)
    except (OSError, ImportError, ValueError) as error:
        raise UserError(f"cannot write to the store {store}: {error}", HINT) from error
    return url


def read_rows(url: str, rows: "NDArray[np.int64]") -> "Conditioning":
    """These rows of a stored conditioning, in ascending order; of the file, nothing else but its header is read.

    The layout is safetensors': the header's length, the header in JSON, and the tensors, row after row.

    Raises:
        UserError: it cannot be read.
    """
    import numpy as np
    import torch

    from generators.conditioning import STREAM, Conditioning

    try:
        system, path = _system(url)
        length = int.from_bytes(system.cat_file(path, 0, LENGTH), "little")
        header = json.loads(system.cat_file(path, LENGTH, LENGTH + length))
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        tensors = {}
        for name, about in header.items():
            if name in (STREAM, "__metadata__"):
                continue
            start, (n, *shape) = LENGTH + length + about["data_offsets"][0], about["shape"]
            size = (about["data_offsets"][1] - about["data_offsets"][0]) // n
            begins, ends = (
                [start + int(run[0]) * size for run in runs],
                [start + int(run[-1] + 1) * size for run in runs],
            )
            content = b"".join(system.cat_ranges([path] * len(runs), begins, ends, on_error="raise"))
            values = np.frombuffer(bytearray(content), dtype="<f4").reshape(len(rows), *shape)
            tensors[name] = torch.from_numpy(values)
    except (OSError, ImportError, ValueError, KeyError) as error:
        raise UserError(f"a worker cannot read {url}: {error}", HINT) from error
    return Conditioning(tensors)


def _system(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    system, path = url_to_fs(url)
    return system, path
