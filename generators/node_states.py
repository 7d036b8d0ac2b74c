"""What the parts of a plan leave to each other, on disk: where nodes begin whose sources another part denoised."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators.hashed_tensors import read_tensors, write_tensors
from generators.scheduler_state import Rows

Integers = NDArray[np.int64]
NODES, LATENTS, OVERFLOW, X0, SERVES, MEMORY = "nodes", "latents", "overflow", "x0", "serves", "memory."


@dataclass(frozen=True, eq=False)
class NodeState:
    """Everything that some nodes of a plan need to go on from a step: what one part of a plan leaves to another.

    Attributes:
        k: the step that begins.
        nodes: int64 [n], ascending: the plan's nodes that stop there, of an exported state; those that begin there, of
            an initial one.
        latents: [n, *latent shape].
        memory: the scheduler's memory of each node, [n, ...] each.
        overflow: int64 [n], the step at which each node's numbers first overflowed, or -1; None: none's did.
        x0: [n, *latent shape], predicted in the step before; None where no node may need it.
        serves: uint8 [n, 8], a hash of the key of the node that exported each, which says whom that one served; None
            where it does not matter.
    """

    k: int
    nodes: Tensor
    latents: Tensor
    memory: Rows
    overflow: Tensor | None = None
    x0: Tensor | None = None
    serves: Tensor | None = None

    def taken(self, rows: Tensor, nodes: Tensor) -> "NodeState":
        """Return the state of these of its rows, int64 [m], as that of other nodes, int64 [m]."""
        further = (None if one is None else one[rows] for one in (self.overflow, self.x0, self.serves))
        return NodeState(self.k, nodes, self.latents[rows], tuple(leaf[rows] for leaf in self.memory), *further)


class NodeStates:
    """The states that parts of one plan exported, in a folder: a file a part and a step, whole or absent.

    Args:
        folder: made when the first is saved.
        identity: of the plan and how it is cut; a file of any other is passed over.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self.identity = folder, identity

    def save(self, part: int, state: NodeState) -> None:
        """Write what a part exports at a step."""
        tensors = {NODES: state.nodes, LATENTS: state.latents}
        tensors |= {f"{MEMORY}{i}": leaf for i, leaf in enumerate(state.memory)}
        further = {OVERFLOW: state.overflow, X0: state.x0, SERVES: state.serves}
        tensors |= {name: tensor for name, tensor in further.items() if tensor is not None}
        write_tensors(self._path(part, state.k), tensors, {"identity": self.identity})

    def load(self, part: int, k: int) -> NodeState:
        """Return what a part exported at a step.

        Raises:
            Exception: it is not there, damaged or another plan's.
        """
        tensors, about = read_tensors(self._path(part, k))
        if about["identity"] != self.identity:
            raise ValueError("it is of another run")
        nodes, latents, *further = (tensors.pop(name, None) for name in (NODES, LATENTS, OVERFLOW, X0, SERVES))
        memory = tuple(tensors[f"{MEMORY}{i}"] for i in range(len(tensors)))
        if nodes is None or latents is None:
            raise ValueError("it is no state of nodes")
        return NodeState(k, nodes, latents, memory, *further)

    def whole(self, part: int, steps: Iterable[int]) -> bool:
        """Return whether what a part exported at these steps is there and not damaged."""
        try:
            return all(self.load(part, k) is not None for k in steps)
        except Exception:  # damaged files fail in many ways; each only means to denoise the part again
            return False

    def delete(self, part: int) -> None:
        """Delete what a part exported."""
        for path in self.folder.glob(f"trunk-{part:05d}-*.safetensors"):
            path.unlink(missing_ok=True)

    def delete_others(self, parts: Collection[int] = ()) -> None:
        """Delete what any but these parts exported, of whichever plan."""
        kept = tuple(f"trunk-{part:05d}-" for part in parts)
        for path in self.folder.glob("trunk-*.safetensors"):
            if not kept or not path.name.startswith(kept):
                path.unlink(missing_ok=True)

    def _path(self, part: int, k: int) -> Path:
        return self.folder / f"trunk-{part:05d}-{k:05d}.safetensors"


def inherited(
    exported: Callable[[int], NodeState], sources: Integers, steps: Integers, nodes: Integers
) -> Sequence[NodeState]:
    """Return the initial states of these nodes at these steps: those that the nodes `sources` of another part exported.

    Args:
        exported: gives what that part exported at a step.
        sources: int64 [g], by their numbers in that part.
        steps: int64 [g].
        nodes: int64 [g], ascending.
    """
    states = []
    for k in np.unique(steps).tolist():
        here, left = steps == k, exported(k)
        rows = torch.from_numpy(np.searchsorted(left.nodes.numpy(), sources[here]))
        states.append(left.taken(rows, torch.from_numpy(nodes[here])))
    return states
