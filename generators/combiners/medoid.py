"""One prompt for all."""

from collections.abc import Callable, Mapping
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from generators.combiners.base import MASK, Combiner, Members
from generators.combiners.mean import Mean

# Distances nearer than this, relative to the smallest, are one: what is left is rounding.
TIE = 1e-9


class Medoid(Combiner):
    """The prompt nearest the mean stands for all: its conditioning, whole, in every tensor, mask included.

    Squared distances are means over the positions where the prompt has words; every tensor weighs the same, as each is
    divided by its mean over the prompts. Ties (of two prompts always) go to the smaller hash of the conditioning.

    Examples:
        >>> import torch
        >>> Medoid().combine(torch.tensor([[0.0], [1.0], [5.0]])).tolist()
        [1.0]
    """

    name = "medoid"

    def combine(self, rows: Tensor) -> Tensor:
        return self.node({"": rows})[""]

    def node(self, members: Mapping[str, Tensor]) -> dict[str, Tensor]:
        gaps = _all_gaps(members, Mean().node(members))
        chosen = _nearest(gaps, lambda prompt: _digest(members, prompt))
        return {name: rows[chosen] for name, rows in members.items()}

    def combined(self, members: Members) -> dict[str, Tensor]:
        means = Mean().combined(members)
        parts = [_all_gaps(chunk, means) for chunk in members]
        gaps = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        chosen = _nearest(gaps, lambda prompt: _digest(members.read(np.array([prompt])), 0))
        return {name: rows[0] for name, rows in members.read(np.array([chosen])).items()}


def _all_gaps(members: Mapping[str, Tensor], means: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: _gaps(rows, means[name].double(), members.get(name + MASK))
        for name, rows in members.items()
        if not name.endswith(MASK)
    }


def _nearest(gaps: Mapping[str, Tensor], digest: Callable[[int], bytes]) -> int:
    """Return the prompt with the smallest gaps, float64 [m] for each tensor; of several, that of the smallest hash."""
    away = torch.zeros(len(next(iter(gaps.values()))), dtype=torch.float64)
    for own in gaps.values():
        away += own / own.mean() if own.any() else own
    nearest: list[int] = torch.nonzero(away <= away.min() * (1 + TIE)).flatten().tolist()
    return min(nearest, key=digest)


def _gaps(rows: Tensor, mean: Tensor, mask: Tensor | None) -> Tensor:
    """Return float64 [m]: each row's mean squared distance from the mean; a row at a time, as sequences are large."""

    def gap(row: Tensor, holds: Tensor | None) -> Tensor:
        squares = (row.double() - mean) ** 2
        return squares.mean() if holds is None or not holds.any() else squares[holds].mean()

    masks = [None] * len(rows) if mask is None else list(mask > 0)
    return torch.stack([gap(row, holds) for row, holds in zip(rows, masks, strict=True)])


def _digest(members: Mapping[str, Tensor], prompt: int) -> bytes:
    digest = blake2b()
    for name in sorted(members):
        digest.update(members[name][prompt].contiguous().numpy().tobytes())
    return digest.digest()
