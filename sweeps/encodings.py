"""Prompts' conditioning on disk: whole, or encoded again; and where workers elsewhere read it, a row at a time."""

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from common.errors import UserError
from common.files import atomic_write, canonical_json, parse_json, sha256_file, sha256_text
from generators.conditioning import STREAM, Conditioning

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONDITIONING, ENCODING = "conditioning.safetensors", "encoding.json"
LENGTH = 8  # bytes of a safetensors file that say how long its header is
HINT = "give --store a folder all workers see, or a URL that fsspec reads (s3:// needs s3fs, gs:// gcsfs)"


class Encoding(BaseModel):
    """The manifest of a folder's conditioning, which is complete when this is there, and whole when its hash agrees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    notes: list[str] = Field(default_factory=list)
    seal: str | None = None  # the hash of these two, which files of earlier versions lack

    def sealed(self) -> "Encoding":
        """Return it with its own hash."""
        return self.model_copy(update={"seal": sha256_text(canonical_json([self.sha256, self.notes]))})


def load_encoding(folder: Path | None, on_damage: Callable[[str], None]) -> tuple[Conditioning, list[str]] | None:
    """Return the conditioning in `folder` and its notes for records; None if it is not there, or not whole.

    `on_damage` hears of a file that is damaged or missing.
    """
    if not folder or not (folder / ENCODING).exists():
        return None
    path = folder / CONDITIONING
    try:
        encoding = Encoding.model_validate_json((folder / ENCODING).read_text(encoding="utf-8"))
        if encoding.seal not in (None, encoding.sealed().seal) or sha256_file(path) != encoding.sha256:
            raise ValueError("its hash is not what was written")
        return Conditioning.load(path), encoding.notes
    except (OSError, ValueError, UserError):
        on_damage(f"{path} is damaged or missing")
        return None


def save_encoding(conditioning: Conditioning, notes: Sequence[str], folder: Path) -> None:
    """Write conditioning and its notes into `folder`, where `load_encoding` reads them; the manifest comes last."""
    path, manifest = folder / CONDITIONING, folder / ENCODING
    manifest.unlink(missing_ok=True)
    conditioning.save(path)
    encoding = Encoding(sha256=sha256_file(path), notes=list(notes)).sealed()
    atomic_write(manifest, encoding.model_dump_json(indent=1) + "\n")


def publish(path: Path, name: str, store: str | None) -> str:
    """Return a URL of the file that all workers can read, copying it into the store if there is one.

    Args:
        name: its name in the store, which stands for its content: what is there is not written again.
        store: a URL of a folder; None: they read `path` itself.

    Raises:
        UserError: the store cannot be written.
    """
    if store is None:
        return str(path.resolve())
    from fsspec.core import url_to_fs

    url = f"{store.rstrip('/')}/{name}"
    try:
        system, target = url_to_fs(url)
        if not system.exists(target):
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            beside = f"{target}.{uuid.uuid4().hex}"
            system.put_file(str(path), beside)
            system.mv(beside, target)
    except (OSError, ImportError, ValueError) as error:
        raise UserError(f"cannot write to the store {store}: {error}", HINT) from error
    return url


def read_rows(url: str, rows: "NDArray[np.int64]") -> "Conditioning":
    """Return these rows of a stored conditioning; of the file, nothing else but its header is read.

    The layout is safetensors': the header's length, the header in JSON, and the tensors, row after row.

    Args:
        url: of a safetensors file, as `publish` returns it.
        rows: int [n], never falling.

    Raises:
        UserError: it cannot be read.
    """
    import numpy as np
    import torch
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
        length = int.from_bytes(system.cat_file(path, 0, LENGTH), "little")
        header = parse_json(system.cat_file(path, LENGTH, LENGTH + length))
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        tensors = {}
        for name, about in header.items():
            if name in (STREAM, "__metadata__"):
                continue
            start, (n, *shape) = LENGTH + length + about["data_offsets"][0], about["shape"]
            size = (about["data_offsets"][1] - about["data_offsets"][0]) // n
            begins = [start + int(run[0]) * size for run in runs]
            ends = [start + int(run[-1] + 1) * size for run in runs]
            content = b"".join(system.cat_ranges([path] * len(runs), begins, ends, on_error="raise"))
            values = np.frombuffer(bytearray(content), dtype="<f4").reshape(len(rows), *shape)
            tensors[name] = torch.from_numpy(values)
    except (OSError, ImportError, ValueError, KeyError) as error:
        raise UserError(f"a worker cannot read {url}: {error}", HINT) from error
    return Conditioning(tensors)
