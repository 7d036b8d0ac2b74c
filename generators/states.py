"""Where an execution stood at a step's end, kept on disk so that a killed run goes on from there."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.files import atomic_path
from generators.history import Rows

KEPT = 2
NUMBERS = {"k": int, "calls": int, "rows": int, "batch_size": int, "seconds": float}
SPARED = 20  # saving takes no more than one part in so many of the time
NODES, LATENTS, MEMORY = "nodes", "latents", "memory."


@dataclass(frozen=True, eq=False)
class State:
    """Everything that the steps after `k` need to know of those before.

    Attributes:
        k: the next step.
        nodes: int64 [n]; the plan's nodes that were active, ascending.
        latents: [n, *latent shape].
        memory: what the scheduler remembers of each, [n, ...] each.
        calls, rows: denoiser calls and rows so far.
        batch_size: the batch size by then.
        seconds: that it took so far.
    """

    k: int
    nodes: Tensor
    latents: Tensor
    memory: Rows
    calls: int
    rows: int
    batch_size: int
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Handed:
    """Where nodes that stop, or nodes that begin, stood between two steps: what one part of a plan leaves another.

    Attributes:
        k: the step that begins.
        nodes: int64 [n], ascending, as the plan that they are handed to or from has them.
        latents: [n, *latent shape].
        memory: what the scheduler remembers of each, [n, ...] each.
    """

    k: int
    nodes: Tensor
    latents: Tensor
    memory: Rows


class States:
    """The states of one execution in a folder: the last two, each whole or not there; no other execution's stay there.

    Args:
        folder: made when the first state is saved.
        identity: of what is executed; a state of anything else is none.
        every: seconds between states, more where saving one takes long; 0: one after every step.
        on_damage: hears of a state that cannot be used.
    """

    def __init__(
        self, folder: Path, identity: str, every: float, on_damage: Callable[[str], None] = lambda _: None
    ) -> None:
        self.folder, self.identity, self.every, self._on_damage = folder, identity, every, on_damage
        self._saved, self._took = time.monotonic(), 0.0
        self._name = f"state-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"

    def due(self, *, last: bool = False) -> bool:
        """Whether it is time for another: for the last one, if what came before it was worth keeping."""
        wait = self.every and max(self.every, SPARED * self._took)
        return time.monotonic() - self._saved >= wait or (last and bool(self._paths()))

    def save(self, state: State) -> None:
        """Keep this state and the one before it."""
        from safetensors.torch import save_file

        start = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {NODES: state.nodes, LATENTS: state.latents}
        tensors |= {f"{MEMORY}{i}": leaf for i, leaf in enumerate(state.memory)}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        numbers = {name: str(getattr(state, name)) for name in NUMBERS}
        about = {"identity": self.identity, **numbers}
        with atomic_path(self._path(state.k)) as beside:
            save_file(tensors, beside, metadata={**about, "sha256": _digest(tensors, about)})
        for old in {*self.folder.glob("state-*.safetensors")} - {*self._paths()[:KEPT]}:
            old.unlink(missing_ok=True)
        self._saved = time.monotonic()
        self._took = self._saved - start

    def load(self) -> State | None:
        """The latest state that is whole and of this execution; None if there is none."""
        for path in self._paths():
            try:
                return self._read(path)
            except Exception as error:  # damaged files fail in many ways; each only means to go back further
                self._on_damage(f"{path} cannot be used ({' '.join(str(error).split()) or type(error).__name__})")
        return None

    def clear(self) -> None:
        """The execution is over."""
        for path in self._paths():
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _read(self, path: Path) -> State:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            about = dict(file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        digest = about.pop("sha256")
        if about["identity"] != self.identity:
            raise ValueError("it is of another execution")
        if digest != _digest(tensors, about):
            raise ValueError("its content is not what was written")
        memory = tuple(tensors[f"{MEMORY}{i}"] for i in range(len(tensors) - 2))
        numbers = {name: read(about[name]) for name, read in NUMBERS.items()}
        return State(nodes=tensors[NODES], latents=tensors[LATENTS], memory=memory, **numbers)  # type: ignore[arg-type]

    def _path(self, k: int) -> Path:
        return self.folder / f"{self._name}-{k:05d}.safetensors"

    def _paths(self) -> list[Path]:
        """The latest first."""
        return sorted(self.folder.glob(f"{self._name}-[0-9]*.safetensors"), reverse=True)


def _digest(tensors: dict[str, Tensor], about: dict[str, str]) -> str:
    digest = hashlib.sha256(repr(sorted(about.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
