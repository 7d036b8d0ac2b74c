"""Combiners that follow from sums over a cluster's prompts, so that a cluster of any size is read chunk by chunk."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from generators.combiners.base import MASK, Combiner, Members


class Summing(Combiner):
    """A combiner whose row follows from means over the prompts, in double precision, rounded once."""

    @abstractmethod
    def terms(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return what is averaged over the prompts, float64 [m, ...] each, new tensors, from rows, float32 [m, ...]."""

    @abstractmethod
    def of_means(self, *means: Tensor) -> Tensor:
        """Return the node's row, float64 [...], from the means of `terms`."""

    def mean(self, term: Tensor) -> Tensor:
        """Return the mean [...] of a term [m, ...] of all prompts at once."""
        return term.mean(dim=0)

    def combine(self, rows: Tensor) -> Tensor:
        return self.of_means(*(self.mean(term) for term in self.terms(rows))).to(rows.dtype)

    def combined(self, members: Members) -> dict[str, Tensor]:
        masks: dict[str, Tensor] = {}
        sums: dict[str, _Sums] = {}
        names: list[str] = []
        for chunk in members:
            names = list(chunk)
            if not self._add(chunk, masks, sums):
                return super().combined(members)
            del chunk  # before the next one is read
        return {name: masks[name] if name in masks else self.of_means(*sums[name].means()).float() for name in names}

    def _add(self, chunk: Mapping[str, Tensor], masks: dict[str, Tensor], sums: dict[str, "_Sums"]) -> bool:
        """Add some prompts' rows; return False where a term is one of all positions at once, whose masks differ."""
        for name, rows in chunk.items():
            if name.endswith(MASK):
                most = rows.amax(dim=0)
                masks[name] = torch.maximum(masks.get(name, most), most)
                continue
            terms, mask = self.terms(rows), chunk.get(name + MASK)
            if mask is not None and any(term.shape[:2] != rows.shape[:2] for term in terms):
                return False
            sums.setdefault(name, _Sums()).add(terms, None if mask is None else mask > 0)
        return True


@dataclass
class _Sums:
    """Sums of terms over prompts and, of sequences under a mask, over those that hold at each position.

    Attributes:
        count: the prompts.
        every: a sum a term.
        held: likewise, at each position of the prompts for which it holds.
        holding: how many these are.
    """

    count: int = 0
    every: list[Tensor] = field(default_factory=list)
    held: list[Tensor] = field(default_factory=list)
    holding: Tensor | None = None

    def add(self, terms: tuple[Tensor, ...], holds: Tensor | None) -> None:
        """Add the terms of some prompts, which are overwritten."""
        self.count += len(terms[0])
        self.every = _added(self.every, [term.sum(dim=0) for term in terms])
        if holds is not None:
            hidden = [~_like(holds, term, 2) for term in terms]
            shown = [term.masked_fill_(gone, 0).sum(dim=0) for term, gone in zip(terms, hidden, strict=True)]
            self.held = _added(self.held, shown)
            own = holds.sum(dim=0)
            self.holding = own if self.holding is None else self.holding + own

    def means(self) -> list[Tensor]:
        """Return the mean of each term; where no prompt holds a position, of all of them."""
        means = [total / self.count for total in self.every]
        if self.holding is None:
            return means
        return [
            torch.where(_like(self.holding > 0, total, 1), total / _like(self.holding.clamp(min=1), total, 1), mean)
            for total, mean in zip(self.held, means, strict=True)
        ]


def _added(sums: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(sums, more, strict=True)] if sums else more


def _like(values: Tensor, tensor: Tensor, axes: int) -> Tensor:
    """Return the values, whose axes are the first of the tensor's, with axes of one behind, as many as it has."""
    return values.reshape(*values.shape, *[1] * (tensor.ndim - axes))
