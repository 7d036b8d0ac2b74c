"""Combiners: the ways in which the conditioning of a cluster's prompts becomes the cluster's."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from common.plugins import Plugin, discover, find

MASK = ".mask"


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
