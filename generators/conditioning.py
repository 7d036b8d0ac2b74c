"""The conditioning that a family feeds its denoiser, a row a prompt, read from where it lies when a node needs it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from common.files import atomic_path
from generators.combiners.base import MASK, Members, get_combiner
from generators.row_tables import STREAM, Held, Integers, Stored, Table

if TYPE_CHECKING:
    from generators.sharing.plan import SharingPlan

# Bytes of float32 rows that are read at once: a cluster of more is combined chunk by chunk. No machine's memory decides
# it, as the last bit of a sum may follow from it.
CHUNK = 2**28
WIDE = 4  # bytes of a float32


class Conditioning:
    """Named tensors whose first axis is the prompt, in the dtypes in which they were made; whoever reads gets float32.

    Args:
        tensors: held in memory; ``NAME.mask`` [N, L], if there is one, says which positions of ``NAME`` [N, L, ...]
            hold. Or tables of the same names, one behind the other.
        stream: uint8, the state of the generator that all prompts' noise was drawn from, where it was one
            (the noise policy ``official``), after the last of them.

    Attributes:
        shapes: of one row, by name; sequences under a mask are as long as the longest, padded behind.

    Raises:
        ValueError: tensors do not belong together.

    Examples:
        >>> prompts = Conditioning({"pooled": torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.bfloat16)})
        >>> len(prompts), prompts.shapes, prompts.row_bytes
        (3, {'pooled': (1,)}, 2)
        >>> prompts.taken([2, 0, 2]).tensors["pooled"].flatten().tolist()
        [3.0, 1.0, 3.0]
    """

    def __init__(self, tensors: Mapping[str, Tensor] | Sequence[Table], stream: Tensor | None = None) -> None:
        tables = (Held(tensors),) if isinstance(tensors, Mapping) else tuple(tensors)
        self.shapes = _shapes(tables)
        self.stream = stream
        self._tables = tables
        self._at: Integers | None = None  # the row of the tables behind each other that each prompt's is; None: its own

    def __len__(self) -> int:
        return sum(map(len, self._tables)) if self._at is None else len(self._at)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, all tensors, as it is kept."""
        dtypes = self._tables[0].dtypes
        return sum(prod(shape) * dtypes[name].itemsize for name, shape in self.shapes.items())

    @property
    def wide_bytes(self) -> int:
        """Bytes of one row, all tensors, as it is combined and fed to a denoiser: in float32."""
        return WIDE * sum(map(prod, self.shapes.values()))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All rows at once, float32: of few prompts."""
        return dict(self.read(np.arange(len(self))))

    def taken(self, rows: ArrayLike) -> Self:
        """Return the conditioning of these rows, in that order; nothing is read yet.

        Args:
            rows: int [n], repeats allowed.

        Raises:
            ValueError: there are no such rows.
        """
        rows = np.asarray(rows, dtype=np.int64).reshape(-1)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise ValueError(f"rows {rows.min()} to {rows.max()} of a conditioning of {len(self)}")
        return self._of(self._tables, rows if self._at is None else self._at[rows])

    @classmethod
    def joined(cls, parts: "Sequence[Conditioning]") -> "Conditioning":
        """Return the conditioning of several parts' prompts, in order; nothing is read yet.

        Sequences under a mask may be longer in other parts: they are padded behind, where no mask holds.

        Examples:
            >>> short, long = torch.ones(1, 1, 4), torch.ones(2, 3, 4)
            >>> parts = [Conditioning({"text": text, "text.mask": text[:, :, 0]}) for text in (short, long)]
            >>> Conditioning.joined(parts).tensors["text.mask"].tolist()
            [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
        """
        joined = cls([table for part in parts for table in part._tables], parts[-1].stream)
        if any(part._at is not None for part in parts):
            sizes = [sum(map(len, part._tables)) for part in parts]
            at = [np.arange(size) if part._at is None else part._at for part, size in zip(parts, sizes, strict=True)]
            starts = np.cumsum([0, *sizes[:-1]])
            joined._at = np.concatenate([own + start for own, start in zip(at, starts, strict=True)])
        return joined

    def at(self, urls: Mapping[str, str]) -> Self:
        """Return the same rows, read from other places: the URL of each file by the one that it has now.

        Raises:
            ValueError: some rows are in memory.
        """
        tables = [replace(table, url=urls[table.url]) for table in self._tables if isinstance(table, Stored)]
        if len(tables) != len(self._tables):
            raise ValueError("conditioning in memory is in no file")
        other = copy(self)
        other._tables = tuple(tables)
        return other

    def read(self, rows: ArrayLike) -> "LazyRows":
        """Return these rows, float32 [n, ...] by name, each tensor read when it is asked for."""
        rows = np.asarray(rows, dtype=np.int64).reshape(-1)
        return LazyRows(self, rows)

    def chunks(self) -> Iterator["LazyRows"]:
        """Yield all rows, in order, as many at once as `CHUNK` holds."""
        for start in range(0, len(self), self._most):
            yield self.read(np.arange(start, min(start + self._most, len(self))))

    @property
    def forms(self) -> dict[str, tuple[int | None, ...]]:
        """What a row is: by the name of its tensor, its shape, without the length of sequences under a mask."""
        names = self.shapes
        masked = {name for name in names if name.endswith(MASK) or name + MASK in names}
        return {name: (None, *shape[1:]) if name in masked else shape for name, shape in names.items()}

    def rows(self, plan: "SharingPlan", nodes: Iterable[int]) -> list[dict[str, Tensor]]:
        """Return each plan node's conditioning, float32 by name: its prompts' rows under the plan's combiner.

        A node's tensors are its own: their memory is free when the node is gone, whichever others go on. Of the prompts
        no more are in memory at once than a chunk holds, but under a combiner that needs all of them.

        Raises:
            UserError: a node's prompts do not fit in memory, under a combiner that needs all at once.

        Examples:
            >>> from generators.sharing.plan import build_plan
            >>> from generators.sharing.schedule import get_schedule
            >>> from generators.sharing.tree import Tree
            >>> plan = build_plan(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("eq7"), 1.1, 4)
            >>> prompts = Conditioning({"image_embeds": torch.tensor([[0.0, 2.0], [4.0, 0.0]])})
            >>> [row["image_embeds"].tolist() for row in prompts.rows(plan, [0, 2])]
            [[0.0, 2.0], [2.0, 1.0]]
        """
        combiner, nodes = get_combiner(plan.combiner), list(nodes)
        # all of them before a chunk is read: between chunks they would leave holes in the heap
        combined = [{name: torch.empty(shape) for name, shape in self.shapes.items()} for _ in nodes]

        def put(place: int, row: Mapping[str, Tensor]) -> None:
            for name, tensor in combined[place].items():
                tensor.copy_(row[name])

        def put_all(group: list[tuple[int, Integers]]) -> None:  # when it returns, a chunk is free for the next one
            place, members = group[0]
            if len(members) > self._most:
                put(place, combiner.combined(Members(len(members), self._most, self.taken(members).read)))
                return
            held, start = dict(self.read(np.concatenate([members for _, members in group]))), 0
            for place, members in group:
                own = {name: tensor[start : start + len(members)] for name, tensor in held.items()}
                start += len(members)
                alone = len(members) == 1
                put(place, {name: tensor[0] for name, tensor in own.items()} if alone else combiner.node(own))

        for group in self._groups([plan.members(node) for node in nodes]):
            put_all(group)
        return combined

    def save(self, path: Path) -> None:
        """Write it as one safetensors file, each tensor in its dtype; the file is whole or absent."""
        from safetensors.torch import save_file

        stored = self._as_kept(list(self.shapes), np.arange(len(self)))
        if self.stream is not None:
            stored[STREAM] = self.stream
        with atomic_path(path) as beside:
            save_file({name: _of_its_own(tensor) for name, tensor in stored.items()}, beside)

    @classmethod
    def load(cls, path: Path) -> "Conditioning":
        """Return what `save` wrote, of which rows are read when they are asked for.

        Raises:
            UserError: the file is damaged or holds something else.
        """
        table, stream = Stored.opened(path)
        return cls([table], stream)

    @property
    def _most(self) -> int:
        """The rows of a chunk."""
        return max(1, CHUNK // max(1, self.wide_bytes))

    def _of(self, tables: tuple[Table, ...], at: Integers) -> Self:
        """Return these rows of the tables; shapes stay, and tables of which there are none are left out."""
        ends = np.cumsum([len(table) for table in tables])
        used = np.unique(np.searchsorted(ends, at, side="right"))
        other = copy(self)
        gone = np.cumsum([0 if number in used else len(table) for number, table in enumerate(tables)])
        other._tables = tuple(tables[number] for number in used) or tables[:1]
        other._at = at - gone[np.searchsorted(ends, at, side="right")]
        return other

    def _groups(self, members: Sequence[Integers]) -> Iterator[list[tuple[int, Integers]]]:
        """Yield places and members of nodes that are read together: as many as a chunk holds, or a single one."""
        group: list[tuple[int, Integers]] = []
        held = 0
        for place, own in enumerate(members):
            if group and held + len(own) > self._most:
                yield group
                group, held = [], 0
            group.append((place, own))
            held += len(own)
        if group:
            yield group

    def _as_kept(self, names: Sequence[str], rows: Integers) -> dict[str, Tensor]:
        """Return these rows, [n, ...], of the tensors of these names, each in its dtype, padded to `shapes`."""
        at = rows if self._at is None else self._at[rows]
        ends = np.cumsum([len(table) for table in self._tables])
        which = np.searchsorted(ends, at, side="right")
        found: dict[str, Tensor] = {}
        for number in np.unique(which).tolist():
            table, here = self._tables[number], np.flatnonzero(which == number)
            part = table.read(names, at[here] - (int(ends[number]) - len(table)))
            for name, tensor in part.items():
                if len(here) == len(rows) and tensor.shape[1:] == self.shapes[name]:
                    found[name] = tensor
                    continue
                if name not in found:
                    found[name] = torch.zeros(len(rows), *self.shapes[name], dtype=tensor.dtype)
                elif found[name].dtype != tensor.dtype:  # of two sources with encoders of two dtypes
                    found[name] = found[name].to(torch.promote_types(found[name].dtype, tensor.dtype))
                places = torch.from_numpy(here)
                whole = (places, slice(0, tensor.shape[1])) if tensor.ndim > 1 else (places,)
                found[name][whole] = tensor.to(found[name].dtype)
        if not len(rows):
            dtypes = self._tables[0].dtypes
            return {name: torch.zeros(0, *self.shapes[name], dtype=dtypes[name]) for name in names}
        return found


class LazyRows(Mapping[str, Tensor]):
    """Some rows of a conditioning, float32 [n, ...] by name; a tensor is read when it is first asked for.

    Attributes:
        shapes: of one row, by name, which need no reading.
        count: n.
    """

    def __init__(self, conditioning: Conditioning, rows: Integers) -> None:
        self._conditioning, self._rows = conditioning, rows
        self._read: dict[str, Tensor] = {}
        self.shapes, self.count = conditioning.shapes, len(rows)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._read:
            if name not in self.shapes:
                raise KeyError(name)
            self._read[name] = self._conditioning._as_kept([name], self._rows)[name].float()
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def _of_its_own(tensor: Tensor) -> Tensor:
    """Return the tensor, contiguous, in memory that is no other's, as safetensors needs it."""
    alone = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor if alone else tensor.clone(memory_format=torch.contiguous_format)


def _shapes(tables: Sequence[Table]) -> dict[str, tuple[int, ...]]:
    """Return the shape of a row, by name, where the tables are one behind the other.

    Raises:
        ValueError: they hold other tensors, or rows of other shapes.
    """
    first = tables[0].shapes
    shapes = dict(first)
    for table in tables[1:]:
        if set(table.shapes) != set(first):
            raise ValueError(f"conditioning of {sorted(first)} and of {sorted(table.shapes)}")
        for name, shape in table.shapes.items():
            masked = name.endswith(MASK) or name + MASK in first
            if masked:
                longest = max(shape[0], shapes[name][0])
                shape, shapes[name] = (longest, *shape[1:]), (longest, *shapes[name][1:])
            if shape != shapes[name]:
                raise ValueError(f"conditioning {name!r} has rows of {shapes[name]} and of {shape}")
    return shapes
