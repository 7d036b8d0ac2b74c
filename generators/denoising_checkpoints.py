"""Checkpoints of a denoising run on disk, from which a killed run goes on."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from generators.hashed_tensors import read_tensors, write_tensors
from generators.scheduler_state import Rows

KEPT = 2
NUMBERS = {"k": int, "calls": int, "rows": int, "batch_size": int, "seconds": float}
SPARED = 20  # saving takes no more than one part in so many of a run's time
NODES, LATENTS, OVERFLOW, X0, MEMORY = "nodes", "latents", "overflow", "x0", "memory."
FINISHED = {name: f"finished.{name}" for name in (NODES, LATENTS, OVERFLOW)}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything that the steps from `k` on need to know of those before.

    Attributes:
        k: the next step; of a plan in stages (`SharingPlan.stages`), counted over all of them.
        nodes: int64 [n]; the plan's nodes that were active, ascending.
        latents: [n, *latent shape].
        memory: the scheduler's memory of each node, [n, ...] each.
        overflow: int64 [n]; the step at which each node's numbers first overflowed, or -1.
        calls, rows: denoiser calls and rows so far.
        batch_size: the batch size by then: halved where memory ran out.
        seconds: of the run so far.
        x0: [n, *latent shape], predicted in the last step; only where a node that begins next needs it.
        finished: the nodes (int64 [m], ascending), latents [m, *latent shape] and overflow (int64 [m]) of what stages
            before have finished; None where there is one stage.
    """

    k: int
    nodes: Tensor
    latents: Tensor
    memory: Rows
    overflow: Tensor
    calls: int
    rows: int
    batch_size: int
    seconds: float = 0.0
    x0: Tensor | None = None
    finished: tuple[Tensor, Tensor, Tensor] | None = None


class DenoisingCheckpoints:
    """The checkpoints of one run in a folder: the last two, each whole or absent; no other run's stay there.

    Args:
        folder: made when the first checkpoint is saved.
        identity: of the run; a checkpoint of any other is passed over.
        every: seconds between checkpoints, more where saving one takes long; 0: one after every step.
        on_damage: called with a sentence about a checkpoint that cannot be used.

    Attributes:
        seconds: that saving has taken.
    """

    def __init__(
        self, folder: Path, identity: str, every: float, on_damage: Callable[[str], None] = lambda _: None
    ) -> None:
        self.folder, self.identity, self.every, self._on_damage = folder, identity, every, on_damage
        self._saved, self._took = time.monotonic(), 0.0
        self.seconds = 0.0
        self._name = f"state-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"

    def due(self, *, last: bool = False) -> bool:
        """Return whether another is due; after the last step one is: decoding goes on from it."""
        wait = self.every and max(self.every, SPARED * self._took)
        return last or time.monotonic() - self._saved >= wait

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; the one before it is kept, older ones are deleted."""
        start = time.monotonic()
        tensors = {NODES: checkpoint.nodes, LATENTS: checkpoint.latents, OVERFLOW: checkpoint.overflow}
        tensors |= {f"{MEMORY}{i}": leaf for i, leaf in enumerate(checkpoint.memory)}
        tensors |= {} if checkpoint.x0 is None else {X0: checkpoint.x0}
        tensors |= dict(zip(FINISHED.values(), checkpoint.finished or (), strict=False))
        numbers = {name: str(getattr(checkpoint, name)) for name in NUMBERS}
        write_tensors(self._path(checkpoint.k), tensors, {"identity": self.identity, **numbers})
        for old in {*self.folder.glob("state-*.safetensors")} - {*self._paths()[:KEPT]}:
            old.unlink(missing_ok=True)
        self._saved = time.monotonic()
        self._took = self._saved - start
        self.seconds += self._took

    def load(self) -> Checkpoint | None:
        """Return the latest checkpoint that is whole and of this run; None if there is none."""
        for path in self._paths():
            try:
                return self._read(path)
            except Exception as error:  # damaged files fail in many ways; each only means to go back further
                self._on_damage(f"{path} cannot be used ({' '.join(str(error).split()) or type(error).__name__})")
        return None

    def rows(self) -> int:
        """Return how many rows the run had denoised at the latest checkpoint that can be read; 0 if there is none."""
        for path in self._paths():
            try:
                return self._read(path).rows
            except Exception:  # `load` tells of it
                continue
        return 0

    def clear(self) -> None:
        """Delete the run's checkpoints, and the folder if nothing else is in it: the run is over."""
        for path in self._paths():
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _read(self, path: Path) -> Checkpoint:
        tensors, about = read_tensors(path)
        if about["identity"] != self.identity:
            raise ValueError("it is of another run")
        tensors.setdefault(OVERFLOW, torch.full_like(tensors[NODES], -1))  # one that an earlier release left
        own = {name: tensors.pop(name) for name in (NODES, LATENTS, OVERFLOW, X0) if name in tensors}
        finished = tuple(tensors.pop(name) for name in FINISHED.values() if name in tensors) or None
        memory = tuple(tensors[f"{MEMORY}{i}"] for i in range(len(tensors)))
        numbers = {name: read(about[name]) for name, read in NUMBERS.items()}
        return Checkpoint(memory=memory, finished=finished, **own, **numbers)  # type: ignore[arg-type]

    def _path(self, k: int) -> Path:
        return self.folder / f"{self._name}-{k:05d}.safetensors"

    def _paths(self) -> list[Path]:
        """Return the run's files, the latest first."""
        return sorted(self.folder.glob(f"{self._name}-[0-9]*.safetensors"), reverse=True)
