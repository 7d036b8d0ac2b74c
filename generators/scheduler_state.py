"""The state of a scheduler between steps: some of it belongs to the rows of the batch, the rest to the step.

Multistep schedulers keep former model outputs, latents and counters. When a cluster splits, its children inherit its
rows of that; the rest is the same for every path, as all paths take the same steps.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = tuple[Tensor, ...]

PLAIN = (bool, int, float, str, complex, type(None))


class _Mark:
    """Stands in a template where something is not the step's own."""


ROW = _Mark()  # a tensor that has one row a path
ABSENT = _Mark()  # an attribute that only a later step sets


class Template:
    """A scheduler's state before one step, with holes where rows go."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state

    def fill(self, scheduler: Any, rows: Iterable[Tensor]) -> None:
        """Put the scheduler into this state, with these rows in the holes."""
        left = iter(rows)
        for name, value in self._state.items():
            _set(scheduler, name, _filled(value, left))

    def rows_of(self, scheduler: Any) -> Rows:
        """Return what the scheduler, being in this state, holds in the holes, [b, ...] each."""
        return self.rows_in(vars(scheduler))

    def rows_in(self, state: dict[str, Any]) -> Rows:
        """Return what a scheduler's attributes, being in this state, hold in the holes, [b, ...] each."""
        return tuple(leaf for name, value in self._state.items() for leaf in _holes(value, state.get(name, ABSENT)))


def templates(first: list[dict[str, Any]], second: list[dict[str, Any]], sizes: tuple[int, int]) -> list[Template]:
    """Learn the states before every step and after the last from two runs over the same steps.

    The runs differ in their number of rows and in nothing else: a tensor whose first axis follows that number belongs
    to the rows. Shapes of a single run would not tell, as tables of timesteps may be just as long.

    Args:
        first, second: `snapshot`s before every step and after the last, of runs of `sizes` rows.

    Raises:
        TypeError: something is kept that cannot be told apart, such as an object with a state of its own.
    """
    names = dict.fromkeys(name for state in first for name in state)
    start = {name: first[0].get(name, ABSENT) for name in names}
    changing = [
        name
        for name, value in start.items()
        if isinstance(value, list | dict) or any(state.get(name, ABSENT) is not value for state in first)
    ]
    return [
        Template({name: _template(name, one.get(name, ABSENT), two.get(name, ABSENT), sizes) for name in changing})
        for one, two in zip(first, second, strict=True)
    ]


def snapshot(scheduler: Any) -> dict[str, Any]:
    """Return the scheduler's attributes; lists and dictionaries, which steps change in place, are copied."""
    return {name: _copied(value) for name, value in vars(scheduler).items() if name != "_internal_dict"}


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value


def _template(name: str, one: Any, two: Any, sizes: tuple[int, int]) -> Any:
    if type(one) is not type(two):
        raise TypeError(f"{name} is a {type(one).__name__} or a {type(two).__name__}")
    if isinstance(one, list | tuple):
        return type(one)(_template(name, a, b, sizes) for a, b in zip(one, two, strict=True))
    if isinstance(one, dict):
        return {key: _template(name, item, two[key], sizes) for key, item in one.items()}
    if isinstance(one, Tensor):
        if one.ndim and (len(one), len(two)) == sizes:
            return ROW
        if one.shape != two.shape:
            raise TypeError(f"{name} follows the number of rows, but not in its first axis")
        return one
    if one is ABSENT or isinstance(one, PLAIN) or type(one).__module__ == "numpy":
        return one
    raise TypeError(f"{name} is a {type(one).__name__}")


def _set(scheduler: Any, name: str, value: Any) -> None:
    if value is ABSENT:
        vars(scheduler).pop(name, None)
    else:
        setattr(scheduler, name, value)


def _filled(value: Any, rows: Iterator[Tensor]) -> Any:
    if value is ROW:
        return next(rows)
    if isinstance(value, list | tuple):
        return type(value)(_filled(item, rows) for item in value)
    if isinstance(value, dict):
        return {key: _filled(item, rows) for key, item in value.items()}
    return value


def _has_rows(template: Any) -> bool:
    if isinstance(template, dict):
        template = list(template.values())
    return template is ROW or (isinstance(template, list | tuple) and any(_has_rows(part) for part in template))


def _holes(template: Any, value: Any) -> Iterator[Tensor]:
    if template is ROW:
        yield value
    elif not _has_rows(template):
        return
    elif isinstance(template, list | tuple):
        for part, item in zip(template, value, strict=True):
            yield from _holes(part, item)
    elif isinstance(template, dict):
        for key, part in template.items():
            yield from _holes(part, value[key])


def pick(rows: Rows, places: Any) -> Rows:
    """Return the memory of the paths at these places."""
    return tuple(leaf[places] for leaf in rows)


def put(into: Rows | None, rows: slice, memory: Rows, count: int) -> Rows:
    """Copy `memory` into the rows `rows` of tensors of `count` rows, which are made where there are none yet."""
    if into is None:
        # zeros, for rows that nobody wants may stay what they are here
        into = tuple(torch.zeros(count, *leaf.shape[1:], dtype=leaf.dtype, device=leaf.device) for leaf in memory)
    for whole, leaf in zip(into, memory, strict=True):
        whole[rows] = leaf
    return into


def join(old: Rows, new: Rows, where: NDArray[np.bool_]) -> Rows:
    """Join the memories of paths of two kinds, `new` where the mask `where` holds; both hold the same tensors."""
    if not old or not new:
        return old or new
    joined = tuple(torch.empty(len(where), *leaf.shape[1:], dtype=leaf.dtype, device=leaf.device) for leaf in new)
    for whole, before, added in zip(joined, old, new, strict=True):
        whole[~where], whole[where] = before, added
    return joined
