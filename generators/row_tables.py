"""Rows of named tensors where they lie: in memory, or in a safetensors file, of which only rows asked for are read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.errors import UserError
from common.files import parse_json

Integers = NDArray[np.int64]

STREAM = ".stream"  # the tensor of a file that is no prompt's
LENGTH = 8  # bytes of a safetensors file that say how long its header is
LONGEST = 100_000_000  # bytes of a header, as safetensors itself has it
DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


class Table(ABC):
    """Named tensors with the same number of rows.

    Attributes:
        shapes: of one row, by name.
        dtypes: by name, as they are kept.
    """

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, torch.dtype]

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def read(self, names: Sequence[str], rows: Integers) -> dict[str, Tensor]:
        """Return these rows, [n, ...], of the tensors of these names, in the dtypes in which they are kept.

        Args:
            names: some of them.
            rows: int [n], in any order, with repeats.

        Raises:
            UserError: they cannot be read.
        """


class Held(Table):
    """Rows in main memory.

    Raises:
        ValueError: tensors differ in their number of rows, or are on an accelerator.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        lengths = {name: len(tensor) for name, tensor in tensors.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"conditioning tensors need one row a prompt, got {lengths}")
        for name, tensor in tensors.items():
            if tensor.device.type != "cpu" or tensor.dtype not in DTYPES.values():
                raise ValueError(f"conditioning {name!r} is {tensor.dtype} on {tensor.device}, no numbers on the CPU")
        self.tensors = dict(tensors)
        self.shapes = {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()}
        self.dtypes = {name: tensor.dtype for name, tensor in tensors.items()}

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def read(self, names: Sequence[str], rows: Integers) -> dict[str, Tensor]:
        if np.array_equal(rows, np.arange(len(self))):
            return {name: self.tensors[name] for name in names}
        places = torch.from_numpy(rows)
        return {name: self.tensors[name][places] for name in names}


@dataclass(frozen=True, eq=False)
class Stored(Table):
    """Rows in a safetensors file: the length of its header, the header in JSON, and the tensors, row after row.

    Attributes:
        url: of the file: a path, or what fsspec reads.
        begins: by name, the place of the tensor's first byte.
        count: the number of rows.
    """

    url: str
    begins: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, torch.dtype]
    count: int

    @classmethod
    def opened(cls, url: str | Path) -> tuple[Self, Tensor | None]:
        """Return the file's rows and its `STREAM`, if it has one; nothing else but its header is read.

        Raises:
            UserError: it cannot be read, or is no such file.
        """
        from fsspec.core import url_to_fs

        url = str(url)
        try:
            system, path = url_to_fs(url)
            length = int.from_bytes(system.cat_file(path, 0, LENGTH), "little")
            if not 0 < length <= LONGEST:
                raise ValueError(f"a header of {length} bytes")
            header = parse_json(system.cat_file(path, LENGTH, LENGTH + length))
            header.pop("__metadata__", None)
            begin = LENGTH + length
            if (size := system.size(path)) != begin + max(about["data_offsets"][1] for about in header.values()):
                raise ValueError(f"{size} bytes, which are not those that its header names")
            own = header.pop(STREAM, None)
            stream = None
            if own is not None:
                content = system.cat_file(path, *(begin + offset for offset in own["data_offsets"]))
                stream = torch.frombuffer(bytearray(content), dtype=DTYPES[own["dtype"]]).reshape(own["shape"])
            counts = {about["shape"][0] for about in header.values()}
            if len(counts) != 1:
                raise ValueError(f"tensors of {sorted(counts)} rows")
            table = cls(
                url,
                {name: begin + about["data_offsets"][0] for name, about in header.items()},
                {name: tuple(about["shape"][1:]) for name, about in header.items()},
                {name: DTYPES[about["dtype"]] for name, about in header.items()},
                counts.pop(),
            )
        except (OSError, ImportError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise _unreadable(url, error) from error
        return table, stream

    def __len__(self) -> int:
        return self.count

    def read(self, names: Sequence[str], rows: Integers) -> dict[str, Tensor]:
        ascending, places = np.unique(rows, return_inverse=True)
        runs = np.split(ascending, np.flatnonzero(np.diff(ascending) != 1) + 1) if len(ascending) else []
        found, ranges, targets = dict[str, Tensor](), list[tuple[int, int]](), list[memoryview]()
        for name in names:
            tensor = torch.empty(len(ascending), *self.shapes[name], dtype=self.dtypes[name])
            size, at = prod(self.shapes[name]) * tensor.itemsize, 0
            content = tensor.reshape(-1).view(torch.uint8).numpy().data
            for run in runs:
                begin = self.begins[name] + int(run[0]) * size
                ranges.append((begin, begin + len(run) * size))
                targets.append(content[at : at + len(run) * size])
                at += len(run) * size
            found[name] = tensor
        try:
            _fill(self.url, ranges, targets)
        except (OSError, ImportError, ValueError) as error:
            raise _unreadable(self.url, error) from error
        if np.array_equal(ascending, rows):
            return found
        return {name: tensor[torch.from_numpy(places.reshape(-1))] for name, tensor in found.items()}


def _fill(url: str, ranges: Sequence[tuple[int, int]], targets: Sequence[memoryview]) -> None:
    """Read these bytes of a file into memory; of one on this machine without a copy between."""
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    system, path = url_to_fs(url)
    if isinstance(system, LocalFileSystem):
        with Path(path).open("rb", buffering=0) as file:
            for (begin, _), target in zip(ranges, targets, strict=True):
                file.seek(begin)
                done = 0
                while done < len(target):
                    got = file.readinto(target[done:])
                    if not got:
                        raise ValueError("it ends before its rows do")
                    done += got
        return
    begins, ends = [begin for begin, _ in ranges], [end for _, end in ranges]
    contents = system.cat_ranges([path] * len(ranges), begins, ends, on_error="raise")
    for content, target in zip(contents, targets, strict=True):
        target[:] = content


def _unreadable(url: str, error: Exception) -> UserError:
    return UserError(
        f"cannot read the conditioning in {url}: {error}",
        "if it is damaged, delete it and run the same command again; a worker needs a --store that it can read",
    )
