"""A worker: it denoises and decodes parts of plans with a model that it loads once."""

import os
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from common.errors import NoRoomError, UserError
from generators.batching import Batches
from generators.conditioning import Conditioning
from generators.executor import Execution, decode_images, execute
from generators.families.base import Family
from generators.model_entry import ModelEntry
from generators.node_states import NodeState, inherited
from generators.noise import KeyedNoise
from generators.settings import GenerationSettings
from generators.sharing.parts import Integers, Part
from sweeps.delivery.formats import PNG, Encoded, PictureFormat
from sweeps.families import Families
from sweeps.machine import machine, versions

if TYPE_CHECKING:
    from generators.acceleration import Acceleration
    from generators.checkpoints import Offload
    from sweeps.delivery.about import About


@dataclass(frozen=True, eq=False)
class Task:
    """A part of a plan, with all that a worker needs to know of it.

    Attributes:
        work, place: whose part it is, and which.
        keys: of the part's prompts.
        conditioning: of the part's prompts, in files that the worker reads when it needs them.
        heirs: of a trunk, for each part that waits for it: what that begins from (`Part.inherits`).
        format: of the pictures' files.
        abouts: what they say of how they were made, by the whole plan's number of the prompt; none: nothing.
    """

    work: int
    place: int
    entry: ModelEntry
    settings: GenerationSettings
    part: Part
    keys: tuple[str, ...]
    conditioning: Conditioning
    batch_size: int
    heirs: tuple[tuple[Integers, Integers, Integers], ...] = ()
    format: PictureFormat = PNG
    abouts: "Mapping[int, About]" = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PartOutcome:
    """The result of a task: pictures, conditioning, or an error.

    Attributes:
        trunk: whether it was a trunk.
        files: picture files, by the whole plan's number of the prompt.
        conditioning: of the prompts that were to be encoded.
        seconds: by stage.
        options: how the denoiser computed.
        overflows: by the whole plan's number of the prompt, where numbers overflowed on the way to its picture.
        error: why it failed: what a user can mend, or a traceback.
    """

    work: int
    place: int
    trunk: bool = False
    files: dict[int, Encoded] = field(default_factory=dict)
    conditioning: Conditioning | None = None
    calls: int = 0
    rows: int = 0
    batch_size: int = 0
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    overflows: dict[int, str] = field(default_factory=dict)
    error: UserError | str | None = None


@dataclass(frozen=True)
class Encoding:
    """Prompts to encode; `work` and `place` are as a task's."""

    work: int
    place: int
    entry: ModelEntry
    settings: GenerationSettings
    prompts: Sequence[str]
    keys: Sequence[str]
    batch_size: int


class Worker:
    """A worker.

    Args:
        acceleration: with as many threads as elsewhere the pictures are the same bytes.
    """

    def __init__(self, device: str, offload: "Offload", acceleration: "Acceleration") -> None:
        self._device, self._encoded = device, False
        self._families = Families(device, offload, acceleration)

    def about(self) -> dict[str, Any]:
        """Return its machine, its process and its libraries."""
        return {"machine": machine(self._device), "process": os.getpid(), "versions": versions()}

    def encode(self, task: Encoding) -> PartOutcome:
        """Return the conditioning of some prompts; the encoders stay until something is denoised."""
        batches, self._encoded = Batches(task.batch_size), True
        try:
            family = self._families.get(task.entry, task.settings.dtype)
            conditioning = family.encode(task.prompts, task.keys, task.settings, batches)
        except Exception as error:  # a worker goes on
            return self._failed(task, error)
        rows, notes = len(task.prompts), tuple(batches.notes)
        return PartOutcome(task.work, task.place, conditioning=conditioning, rows=rows, notes=notes)

    def part(
        self, task: Task, initial_states: Sequence[NodeState] = ()
    ) -> "PartOutcome | tuple[PartOutcome | Sequence[NodeState], ...]":
        """Return what became of a part, which begins from noise and from the states that its trunk exported.

        Those are its pictures or, of a trunk, its outcome and then the initial states of each of its heirs.
        """
        exported: dict[int, NodeState] = {}
        states: list[Sequence[NodeState]] = [() for _ in task.heirs]
        try:
            execution, seconds = self._denoised(task, initial_states, exported)
            if not task.heirs:
                return self._pictured(task, execution, seconds)
            states = [inherited(exported.__getitem__, *heir) for heir in task.heirs]
            outcome = _outcome(task, execution, {"denoise": seconds}, {})
        except Exception as error:  # a worker goes on
            outcome = self._failed(task, error)
        return (outcome, *states) if task.heirs else outcome

    def _denoised(
        self, task: Task, initial_states: Sequence[NodeState], exported: dict[int, NodeState]
    ) -> tuple[Execution, float]:
        family = self._family(task)
        start = time.perf_counter()
        execution = execute(
            task.part.plan,
            family,
            task.conditioning,
            task.keys,
            task.settings,
            noise=_noise(task.settings),
            batch_size=task.batch_size,
            initial_states=initial_states,
            on_exit=(lambda state: exported.update({state.k: state})) if task.heirs else None,
        )
        return execution, time.perf_counter() - start

    def _pictured(self, task: Task, execution: Execution, denoising: float) -> PartOutcome:
        start, batches, done = time.perf_counter(), Batches(execution.batch_size_used), 0
        files: dict[int, Encoded] = {}
        lost: dict[int, str] = {}
        for pixels in decode_images(
            self._family(task),
            execution,
            task.keys,
            task.settings,
            noise=_noise(task.settings),
            batches=batches,
            overflows=lost,
        ):
            mine = task.part.prompts[execution.prompts[done : done + len(pixels)]].tolist()
            for prompt, picture in zip(mine, pixels, strict=True):
                files[prompt] = task.format.encode(picture, task.abouts.get(prompt))
            done += len(pixels)
        seconds = {"denoise": denoising, "decode": time.perf_counter() - start}
        overflows = {int(task.part.prompts[execution.prompts[row]]): where for row, where in lost.items()}
        for prompt in overflows:
            del files[prompt]
        return replace(_outcome(task, execution, seconds, files, batches.notes), overflows=overflows)

    def _failed(self, task: Task | Encoding, error: Exception) -> PartOutcome:
        if isinstance(error, NoRoomError):
            self._families.refuse(error)
        reason = error if isinstance(error, UserError) else "".join(traceback.format_exception(error))
        return PartOutcome(task.work, task.place, isinstance(task, Task) and bool(task.heirs), error=reason)

    def _family(self, task: Task) -> Family:
        family = self._families.get(task.entry, task.settings.dtype)
        if self._encoded:
            family.release_encoders()
            self._encoded = False
        return family


def _noise(settings: GenerationSettings) -> KeyedNoise:
    assert settings.noise != "official"
    return KeyedNoise(settings.seed, settings.noise)


def _outcome(
    task: Task, execution: Execution, seconds: dict[str, float], files: dict[int, Encoded], notes: Sequence[str] = ()
) -> PartOutcome:
    return PartOutcome(
        task.work,
        task.place,
        bool(task.heirs),
        files,
        calls=execution.calls,
        rows=execution.rows,
        batch_size=execution.batch_size_used,
        notes=(*execution.notes, *notes),
        seconds=seconds,
        options=execution.options,
    )
