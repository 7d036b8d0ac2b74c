"""What a combiner is: how the conditioning of a cluster's prompts becomes the cluster's."""

from abc import ABC, abstractmethod

from torch import Tensor

from common.plugins import Plugin, discover, find


class Combiner(Plugin, ABC):
    """Combines the conditioning rows of a node's prompts into the node's row."""

    @abstractmethod
    def combine(self, rows: Tensor, weights: Tensor | None) -> Tensor:
        """The node's row, float32 [...], from its prompts' rows, float32 [m, ...].

        `weights` is float32 [m], or None where all prompts weigh the same. The row of a single prompt
        must come back bit for bit.
        """


def combiners() -> dict[str, type[Combiner]]:
    """Every combiner by name."""
    return discover("generators.combiners", Combiner, "reusebench.combiners")  # type: ignore[type-abstract]


def get_combiner(name: str) -> Combiner:
    """The combiner called `name`; a UserError with the nearest name if there is none."""
    return find(name, "generators.combiners", Combiner, "reusebench.combiners")()  # type: ignore[type-abstract]
