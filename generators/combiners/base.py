"""Combiners: the ways in which the conditioning of a cluster's prompts becomes the cluster's."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.errors import UserError
from common.memory import free_memory
from common.plugins import Plugin, discover, find

MASK = ".mask"
COPIES = 3  # of its prompts' rows, that a combiner which takes all of them at once may need: theirs, and in float64

ReadRows: TypeAlias = Callable[[NDArray[np.int64]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Members:
    """The rows of a node's prompts, too many for one chunk: read a chunk at a time, as often as they are asked for.

    Attributes:
        count: m, the prompts.
        most: the rows of a chunk.
        read: returns some of the rows, float32 [c, ...] by name.
    """

    count: int
    most: int
    read: ReadRows

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for start in range(0, self.count, self.most):
            yield dict(self.read(np.arange(start, min(start + self.most, self.count))))

    def whole(self) -> dict[str, Tensor]:
        """Return all rows at once.

        Raises:
            UserError: they and what is computed from them do not fit in the memory that is free.
        """
        one = self.read(np.arange(1)).values()
        need, free = COPIES * self.count * sum(row.nbytes for row in one), free_memory()
        if need > free:
            raise UserError(
                f"a cluster of {self.count:,} prompts takes {need / 2**30:.1f} GiB of memory under this combiner, "
                f"which needs all of them at once: {free / 2**30:.1f} GiB are free",
                "use --combiner mean, which reads them one after the other, or a smaller tau",
            )
        return dict(self.read(np.arange(self.count)))


class Combiner(Plugin, ABC):
    """Combines the conditioning rows of a node's prompts into the node's row."""

    @abstractmethod
    def combine(self, rows: Tensor) -> Tensor:
        """Return the node's row, float32 [...], from its prompts' rows, float32 [m, ...].

        The row of a single prompt must come back bit for bit.
        """

    def node(self, members: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a node's row of every conditioning tensor, from its prompts' rows, each float32 [m, ...].

        Each tensor by itself: where ``NAME.mask`` [m, L] goes with ``NAME`` [m, L, ...], a position combines only the
        prompts for which it holds, and holds for the node if it does for any of them.
        """

        def row(name: str, rows: Tensor) -> Tensor:
            if name.endswith(MASK):
                return rows.amax(dim=0)
            mask = members.get(name + MASK)
            return self.combine(rows) if mask is None else self._masked(rows, mask > 0)

        return {name: row(name, rows) for name, rows in members.items()}

    def combined(self, members: Members) -> dict[str, Tensor]:
        """Return a node's row of every tensor where its prompts' rows are more than a chunk holds.

        All of them at once, unless overridden by whoever can do with a chunk at a time.

        Raises:
            UserError: they do not fit in memory.
        """
        try:
            return self.node(members.whole())
        except UserError as error:
            raise UserError(f"the combiner {self.name!r}: {error.message}", error.hint) from None

    def _masked(self, rows: Tensor, holds: Tensor) -> Tensor:
        """Return the members' rows [m, L, ...] combined where `holds` [m, L]; where it holds for none, all of them."""
        combined = self.combine(rows)
        for who in torch.unique(holds.T, dim=0):
            if who.any() and not who.all():
                at = (who == holds.T).all(dim=1)
                combined[at] = self.combine(rows[who][:, at])
        return combined


def combiners() -> dict[str, type[Combiner]]:
    """Return every combiner, by name.

    Examples:
        >>> sorted(combiners())
        ['mean', 'medoid', 'restored-mean']
    """
    return discover("generators.combiners", Combiner, "reusebench.combiners")  # type: ignore[type-abstract]


def get_combiner(name: str) -> Combiner:
    """Return the combiner called `name`.

    Raises:
        UserError: there is none; the nearest name is in the hint.

    Examples:
        >>> get_combiner("mean").combine(torch.tensor([[0.0, 2.0], [4.0, 0.0]])).tolist()
        [2.0, 1.0]
    """
    return find(name, "generators.combiners", Combiner, "reusebench.combiners")()  # type: ignore[type-abstract]
