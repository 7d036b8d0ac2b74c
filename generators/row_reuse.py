"""Rows of a denoiser's call that are equal in all that goes in: evaluated once.

At a split all children have one latent, so that what the denoiser predicts without their prompts is one prediction. A
pipeline's own call asks for it once a child; here the network is asked once, and what it said is handed out. Nothing is
approximated: rows are the same or they are not.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

IDS = "ids"  # how arguments end that number positions: as many as tokens, whatever the rows


@dataclass
class _Row:
    """A row that was evaluated: what went in, and what came out."""

    inputs: list[Any]
    output: Any = None
    used: bool = False


@dataclass
class RowReuse:
    """Stands before a denoiser's `forward`.

    Attributes:
        reused: rows that were not evaluated.
    """

    reused: int = 0
    _groups: Sequence[int] = ()
    _step: int = -1
    _kept: dict[tuple[Any, ...], list[_Row]] = field(default_factory=dict)  # of this step, by group and sums

    def forget(self) -> None:
        """Let go of the rows that were kept: another run begins, which counts its own."""
        self._kept, self._step = {}, -1

    @contextmanager
    def among(self, groups: Sequence[int], step: int) -> Iterator[None]:
        """Look for equal rows in the calls that the block makes, and in those before for the same step.

        Args:
            groups: one a node: those of one number have equal latents; -1: nobody has the same.
            step: k.
        """
        if step != self._step:
            self._kept, self._step = {}, step
        before, reused = {key: list(rows) for key, rows in self._kept.items()}, self.reused
        self._groups = groups
        try:
            yield
        except BaseException:  # a batch that runs out of memory is tried again
            self._kept, self.reused = before, reused
            raise
        finally:
            self._groups = ()
        # conditional rows have no equals: of a group of which some row has, only that one is kept
        has_equals = {key[0] for key, rows in self._kept.items() if any(row.used for row in rows)}
        self._kept = {
            key: kept
            for key, rows in self._kept.items()
            if (kept := [row for row in rows if row.used or key[0] not in has_equals])
        }

    def around(self, network: nn.Module) -> Callable[..., Any]:
        """Return what runs in place of the network's `forward`."""
        own = network.forward
        names = list(inspect.signature(type(network).forward).parameters)[1:]

        @wraps(own)
        def forward(*args: Any, **kwargs: Any) -> Any:
            if all(group < 0 for group in self._groups):
                return own(*args, **kwargs)
            named = {**dict(zip(names, args, strict=False)), **kwargs}
            size = len(named[names[0]])  # the latents
            if size % len(self._groups):
                return own(*args, **kwargs)
            return self._evaluated(own, named, size)

        return forward

    def _evaluated(self, own: Callable[..., Any], named: Mapping[str, Any], size: int) -> Any:
        parts = _by_row(named, size)
        sums = _sums(parts, size)
        where: list[_Row] = []
        evaluated: list[int] = []
        for place in range(size):
            group = self._groups[place % len(self._groups)]
            row = _Row([part[place] for part in parts])
            key = (group, *sums[place])
            equal = next((known for known in self._kept.get(key, ()) if _same(known.inputs, row.inputs)), None)
            if group < 0 or equal is None:
                evaluated.append(place)
                if group >= 0:
                    self._kept.setdefault(key, []).append(row)
            else:
                equal.used, row = True, equal
                self.reused += 1
            where.append(row)
        if len(evaluated) == size:
            output = own(**named)
            for place, row in enumerate(where):
                row.output = _taken(output, place, size)
            return output
        if not evaluated:
            return _assembled([row.output for row in where])
        output = own(**{name: _picked(value, name, evaluated, size) for name, value in named.items()})
        for number, place in enumerate(evaluated):
            where[place].output = _taken(output, number, len(evaluated))
        return _assembled([row.output for row in where])


def _is_by_row(value: Any, name: str, size: int) -> bool:
    if isinstance(value, Tensor):
        return value.ndim > 0 and len(value) == size and not name.endswith(IDS)
    return isinstance(value, list | tuple) and len(value) == size


def _by_row(named: Mapping[str, Any], size: int) -> list[Any]:
    """Return the arguments that have an entry a row, those within mappings too."""
    found: list[Any] = []
    for name, value in named.items():
        if isinstance(value, Mapping):
            found += _by_row(value, size)
        elif _is_by_row(value, name, size):
            found.append(value)
    return found


def _picked(value: Any, name: str, places: list[int], size: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _picked(item, key, places, size) for key, item in value.items()}
    if not _is_by_row(value, name, size):
        return value
    return value[places] if isinstance(value, Tensor) else type(value)(value[place] for place in places)


def _sums(parts: Sequence[Any], size: int) -> list[tuple[float, ...]]:
    """Return what tells most rows apart: the sums of their numbers."""
    sums = [
        part.reshape(size, -1).double().sum(1).tolist()
        if isinstance(part, Tensor)
        else [float(item.double().sum()) if isinstance(item, Tensor) else 0.0 for item in part]
        for part in parts
    ]
    return list(zip(*sums, strict=True))


def _same(ours: Sequence[Any], theirs: Sequence[Any]) -> bool:
    return all(
        torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one == other
        for one, other in zip(ours, theirs, strict=True)
    )


def _taken(output: Any, place: int, size: int) -> Any:
    """Return one row of what a denoiser returned, in the same shape: an output, a tuple, a list of rows, a tensor."""
    if isinstance(output, Tensor):
        return output[place : place + 1]
    if isinstance(output, Mapping):
        return type(output)(**{name: _taken(item, place, size) for name, item in output.items()})
    if isinstance(output, list) and len(output) == size:
        return [output[place]]
    if isinstance(output, list | tuple):
        return type(output)(_taken(item, place, size) for item in output)
    return output


def _assembled(rows: Sequence[Any]) -> Any:
    """Return the rows as one output again."""
    first = rows[0]
    if isinstance(first, Tensor):
        return torch.cat(list(rows))
    if isinstance(first, Mapping):
        return type(first)(**{name: _assembled([row[name] for row in rows]) for name in first})
    if isinstance(first, list):
        return [item for row in rows for item in row]
    if isinstance(first, tuple):
        return tuple(_assembled([row[place] for row in rows]) for place in range(len(first)))
    return first
