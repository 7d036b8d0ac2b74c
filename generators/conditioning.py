"""The conditioning that a family feeds its denoiser, a row a prompt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from common.errors import UserError
from common.files import atomic_path
from generators.combiners.base import MASK, get_combiner

if TYPE_CHECKING:
    from generators.sharing.plan import SharingPlan

STREAM = ".stream"


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Named float32 tensors on the CPU whose first axis is the prompt.

    Attributes:
        tensors: ``NAME.mask`` [N, L] of 0 and 1, if there is one, says which positions of ``NAME`` [N, L, ...] hold.
        stream: uint8, the state of the generator that all prompts' noise was drawn from, where it was one
            (the noise policy ``official``), after the last of them.
    """

    tensors: dict[str, Tensor]
    stream: Tensor | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(tensor) for name, tensor in self.tensors.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"conditioning tensors need one row a prompt, got {lengths}")
        for name, tensor in self.tensors.items():
            if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                raise ValueError(f"conditioning {name!r} is {tensor.dtype} on {tensor.device}, not float32 on the CPU")

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    @classmethod
    def joined(cls, parts: "Sequence[Conditioning]") -> "Conditioning":
        """Return the conditioning of several parts' prompts, in order.

        Sequences under a mask may be longer in other parts: they are padded behind, where no mask holds.

        Examples:
            >>> short, long = torch.ones(1, 1, 4), torch.ones(2, 3, 4)
            >>> parts = [Conditioning({"text": text, "text.mask": text[:, :, 0]}) for text in (short, long)]
            >>> Conditioning.joined(parts).tensors["text.mask"].tolist()
            [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
        """
        names = parts[0].tensors
        masked = {name for name in names if name.endswith(MASK) or name + MASK in names}

        def whole(name: str) -> Tensor:
            tensors = [part.tensors[name] for part in parts]
            if name in masked:
                longest = max(tensor.shape[1] for tensor in tensors)
                tensors = [padded(tensor, longest) for tensor in tensors]
            return torch.cat(tensors)

        return cls({name: whole(name) for name in names})

    def rows(self, plan: "SharingPlan", nodes: Iterable[int]) -> dict[str, Tensor]:
        """Return each plan node's conditioning, [n nodes, ...]: its prompts' rows under the plan's combiner.

        Examples:
            >>> from generators.sharing.plan import build_plan
            >>> from generators.sharing.schedule import get_schedule
            >>> from generators.sharing.tree import Tree
            >>> plan = build_plan(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("eq7"), 1.1, 4)
            >>> prompts = Conditioning({"image_embeds": torch.tensor([[0.0, 2.0], [4.0, 0.0]])})
            >>> prompts.rows(plan, [0, 2])["image_embeds"].tolist()
            [[0.0, 2.0], [2.0, 1.0]]
        """
        combiner = get_combiner(plan.combiner)

        def row(node: int) -> dict[str, Tensor]:
            members = torch.tensor(plan.members(node))
            return combiner.node({name: tensor[members] for name, tensor in self.tensors.items()})

        rows = [row(node) for node in nodes]
        return {name: torch.stack([row[name] for row in rows]) for name in self.tensors}

    def taken(self, rows: ArrayLike) -> "Conditioning":
        """Return the conditioning of the prompts at these places, in this order; repeats are allowed.

        Examples:
            >>> prompts = Conditioning({"text": torch.tensor([[1.0], [2.0]])})
            >>> prompts.taken([0, 0, 1]).tensors["text"].tolist()
            [[1.0], [1.0], [2.0]]
        """
        places = torch.as_tensor(np.asarray(rows, dtype=np.int64))
        return replace(self, tensors={name: tensor[places] for name, tensor in self.tensors.items()})

    def save(self, path: Path) -> None:
        """Write it as safetensors; the file is whole or absent."""
        from safetensors.torch import save_file

        with atomic_path(path) as beside:
            stored = self.tensors if self.stream is None else {**self.tensors, STREAM: self.stream}
            save_file({name: tensor.contiguous() for name, tensor in stored.items()}, beside)

    @classmethod
    def load(cls, path: Path) -> "Conditioning":
        """Read what `save` wrote.

        Raises:
            UserError: the file is damaged or holds something else.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            stored = load_file(path)
            return cls({name: tensor for name, tensor in stored.items() if name != STREAM}, stored.get(STREAM))
        except (SafetensorError, ValueError) as error:
            raise UserError(
                f"{path} holds no readable conditioning: {error}", "delete it and run the same command again"
            ) from None


def padded(tensor: Tensor, length: int) -> Tensor:
    """Return the tensor [n, l, ...] with zeros behind, [n, length, ...]; itself where it is as long."""
    if tensor.shape[1] == length:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(len(tensor), length - tensor.shape[1], *tensor.shape[2:])], dim=1)
