"""What a family feeds its denoiser, a row a prompt."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.errors import UserError
from common.files import atomic_path
from generators.combiners.base import Combiner, get_combiner

if TYPE_CHECKING:
    from generators.sharing.plan import SharingPlan

MASK = ".mask"


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Named float32 tensors on the CPU whose first axis is the prompt.

    Attributes:
        tensors: ``NAME.mask`` [N, L] of 0 and 1, if there is one, says which positions of ``NAME`` [N, L, ...] hold.
    """

    tensors: dict[str, Tensor]

    def __post_init__(self) -> None:
        lengths = {name: len(tensor) for name, tensor in self.tensors.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"conditioning tensors need one row a prompt, got {lengths}")
        for name, tensor in self.tensors.items():
            if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                raise ValueError(f"conditioning {name!r} is {tensor.dtype} on {tensor.device}, not float32 on the CPU")

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def rows(self, plan: "SharingPlan", nodes: Iterable[int]) -> dict[str, Tensor]:
        """Each plan node's conditioning, [n nodes, ...]: its prompts' rows under the plan's combiner.

        Where there is a mask, a position combines only the prompts for which it holds, and holds for the node if it
        does for any of them.
        """
        combiner = get_combiner(plan.combiner)
        picked = [
            (torch.tensor(plan.members(node)), None if plan.weight is None else torch.tensor(plan.weights(node)))
            for node in nodes
        ]

        def row(name: str, members: Tensor, weights: Tensor | None) -> Tensor:
            tensor, mask = self.tensors[name], self.tensors.get(name + MASK)
            if name.endswith(MASK):
                return tensor[members].amax(dim=0)
            if mask is None:
                return combiner.combine(tensor[members], weights)
            return _masked(combiner, tensor[members], weights, mask[members] > 0)

        return {name: torch.stack([row(name, *who) for who in picked]) for name in self.tensors}

    def save(self, path: Path) -> None:
        """As safetensors; whole or not at all."""
        from safetensors.torch import save_file

        with atomic_path(path) as beside:
            save_file({name: tensor.contiguous() for name, tensor in self.tensors.items()}, beside)

    @classmethod
    def load(cls, path: Path) -> "Conditioning":
        """What `save` wrote.

        Raises:
            UserError: the file is damaged or holds something else.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return cls(load_file(path))
        except (SafetensorError, ValueError) as error:
            raise UserError(
                f"{path} holds no readable conditioning: {error}", "delete it and run the same command again"
            ) from None


def _masked(combiner: Combiner, rows: Tensor, weights: Tensor | None, holds: Tensor) -> Tensor:
    """The members' rows [m, L, ...] combined where `holds` [m, L]; where it holds for none, all are combined."""
    combined = combiner.combine(rows, weights)
    for who in torch.unique(holds.T, dim=0):
        if who.any() and not who.all():
            at = (who == holds.T).all(dim=1)
            combined[at] = combiner.combine(rows[who][:, at], None if weights is None else weights[who])
    return combined
