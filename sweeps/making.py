"""Making the pictures of one source: encode, cluster, denoise, decode, each with its progress and its seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from common.errors import UserError
from common.files import atomic_write, canonical_json, sha256_file
from generators.batching import Batches
from generators.conditioning import Conditioning
from generators.executor import decode_images, execute
from generators.families.base import Family, get_family
from generators.noise import KeyedNoise
from generators.sharing.plan import SharingPlan
from generators.sharing.tree import Tree
from sweeps.events import Emit, Note, StageAdvanced, StageFinished, StageStarted
from sweeps.machine import machine, versions
from sweeps.pictures import Generation, clear, finish, reuse_pictures, write_pictures
from sweeps.record import ExecutionFigures, PlanFigures

if TYPE_CHECKING:
    from generators.catalogue import ModelEntry
    from generators.checkpoints import Offload
    from generators.strategies.base import Strategy
    from sweeps.energy import Joules
    from sweeps.grid import Source

CONDITIONING, ENCODING = "conditioning.safetensors", "encoding.json"
PROMPTS = "prompts.json"


class Encoding(BaseModel):
    """How a folder's conditioning was made. It is complete when this is there, and whole when its hash agrees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    notes: list[str] = Field(default_factory=list)


class Families:
    """Loaded models, one at a time: the one before is let go.

    `joules` reads what the device has taken, where that is measured.

    Raises:
        UserError: weights are to wait in main memory for a device that is the main memory.
    """

    def __init__(self, device: str, offload: "Offload" = "none", joules: "Joules | None" = None) -> None:
        if offload != "none" and device == "cpu":
            raise UserError("--offload keeps weights off the accelerator, and the device is the CPU", "leave it out")
        self.device, self.joules, self._offload = device, joules, offload
        self._key: tuple[str, str] | None = None
        self._family: Family | None = None

    def get(self, entry: "ModelEntry", dtype: str) -> Family:
        if self._family is None or self._key != (entry.name, dtype):
            self._family = None
            self._family = get_family(entry.family).load(entry, self.device, dtype)
            self._family.offload = self._offload
            self._key = (entry.name, dtype)
        return self._family


class Maker:
    """Everything made from one source; the model is loaded when something has to be made.

    Args:
        source: the model, prompts and settings.
        families: where the model comes from.
        batch_size: rows a denoiser call, and prompts encoded at once; halved when memory runs out, and then kept.
        emit: hears the stages' progress.
    """

    def __init__(self, source: "Source", families: Families, batch_size: int, emit: Emit) -> None:
        self.source, self.batch_size, self.emit = source, batch_size, emit
        self._families = families
        self._trees: dict[tuple[str, str], tuple[Tree, float]] = {}
        self._conditioning: Conditioning | None = None
        self._encoding_notes: list[str] = []
        self._timings: dict[str, float] = {}

    @property
    def family(self) -> Family:
        return self._families.get(self.source.entry, self.source.settings.dtype)

    def conditioning(self, folder: Path | None = None, *, keep: bool = True) -> Conditioning:
        """The prompts' conditioning: from `folder` where it is there, else encoded and, to `keep` it, left there."""
        if self._conditioning is None:
            self._conditioning = self._load(folder) or self._encode(folder if keep else None)
        return self._conditioning

    def tree(self, strategy: "Strategy", features: str) -> Tree:
        """The tree of a strategy on the encoded prompts; what it took counts for all pictures that use it."""
        key = (f"{strategy.name} {strategy.model_dump_json()}", features)
        if key not in self._trees:
            conditioning, start = self.conditioning(), time.perf_counter()
            with self.stage("cluster", 1):
                rows = self.family.features(conditioning, features)
                tree = strategy.tree(rows, seed=self.source.settings.seed)
            self._trees[key] = tree, time.perf_counter() - start
        tree, self._timings["cluster"] = self._trees[key]
        return tree

    def forget_timings(self) -> None:
        """What was done so far and came to nothing is not the time of the pictures made next."""
        self._timings = {}

    def make(self, plan: SharingPlan, folder: Path, standard: tuple[Path, Generation] | None = None) -> Generation:
        """The pictures of a plan in `folder`, complete when its manifest is there.

        Args:
            plan: of all prompts.
            folder: what it held before is cleared.
            standard: the folder of the standard images and how they were made; a prompt whose path is standard's
                gets standard's picture and costs nothing again.
        """
        clear(folder)
        reused = plan.solo if standard else np.zeros(plan.n_prompts, dtype=np.bool_)
        execution = ExecutionFigures(reused=int(reused.sum()))
        read, joules = self._families.joules, None
        before = read() if read else 0.0
        if not reused.all():
            execution = self._make_own(plan, folder, ~reused)
        if read:
            joules = read() - before
        execution = execution.model_copy(update={"notes": [*self._encoding_notes, *execution.notes]})
        if standard:
            where, how = standard
            reuse_pictures(folder, where, np.flatnonzero(reused).tolist())
            taken = how.timings.get("denoise", 0.0) + how.timings.get("decode", 0.0)
            self._timings["reused"] = taken * float(reused.mean())
            if joules is not None and how.joules is not None:
                joules += how.joules * float(reused.mean())
        timings, self._timings = self._timings, {}
        figures = PlanFigures(
            n_prompts=plan.n_prompts,
            steps_requested=self.source.settings.steps,
            K=plan.steps,
            node_steps=plan.node_steps,
            standard_node_steps=plan.standard_node_steps,
            savings=plan.savings,
        )
        return finish(
            folder,
            plan.n_prompts,
            lambda images: Generation(
                images=images,
                plan=figures,
                execution=execution,
                timings=timings,
                versions=versions(),
                machine=machine(self._families.device),
                standard=standard[1].hash if standard else None,
                joules=joules,
            ),
        )

    def _make_own(self, plan: SharingPlan, folder: Path, wanted: NDArray[np.bool_]) -> ExecutionFigures:
        part, settings, family = plan.restricted(wanted), self.source.settings, self.family
        conditioning, keys = self.conditioning(), self.source.prompts.keys
        noise = KeyedNoise(settings.seed, settings.noise)
        with self.stage("denoise", part.node_steps):
            execution = execute(
                part,
                family,
                conditioning,
                keys,
                settings,
                noise=noise,
                batch_size=self.batch_size,
                observers=[lambda k, nodes, latents, x0: self.emit(StageAdvanced(len(nodes)))],
            )
        self.batch_size = execution.batch_size_used
        batches = Batches(self.batch_size)
        with self.stage("decode", len(execution.prompts)):
            start = 0
            for pixels in decode_images(family, execution, keys, settings, noise=noise, batches=batches):
                write_pictures(folder, execution.prompts[start : start + len(pixels)].tolist(), pixels)
                start += len(pixels)
                self.emit(StageAdvanced(len(pixels)))
        notes = [*execution.notes, *batches.notes]
        for note in notes:
            self.emit(Note(note))
        return ExecutionFigures(
            calls=execution.calls,
            rows=execution.rows,
            batch_size=execution.batch_size_used,
            reused=int((~wanted).sum()),
            notes=notes,
        )

    def _load(self, folder: Path | None) -> Conditioning | None:
        if not folder or not (folder / ENCODING).exists():
            return None
        path = folder / CONDITIONING
        try:
            encoding = Encoding.model_validate_json((folder / ENCODING).read_text(encoding="utf-8"))
            if sha256_file(path) != encoding.sha256:
                raise ValueError("its hash is not what was written")
            conditioning = Conditioning.load(path)
        except (OSError, ValueError, UserError):
            self.emit(Note(f"{path} is damaged or missing: encoding the prompts again"))
            return None
        self._encoding_notes = encoding.notes
        return conditioning

    def _encode(self, folder: Path | None) -> Conditioning:
        prompts, family, batches = self.source.prompts, self.family, Batches(self.batch_size)
        with self.stage("encode", len(prompts)):
            settings, heard = self.source.settings, lambda done: self.emit(StageAdvanced(done))
            conditioning = family.encode(prompts.prompts, prompts.keys, settings, batches, heard)
            family.release_encoders()
        self._encoding_notes = [f"encoding: {note}" for note in batches.notes]
        for note in self._encoding_notes:
            self.emit(Note(note))
        if folder:
            self._save(conditioning, folder)
        return conditioning

    def _save(self, conditioning: Conditioning, folder: Path) -> None:
        path, manifest = folder / CONDITIONING, folder / ENCODING
        manifest.unlink(missing_ok=True)
        conditioning.save(path)
        encoding = Encoding(sha256=sha256_file(path), notes=self._encoding_notes)
        atomic_write(manifest, encoding.model_dump_json(indent=1) + "\n")

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[None]:
        """A stage that is announced, and whose seconds count for the pictures made next."""
        start = time.perf_counter()
        self.emit(StageStarted(name, total))
        try:
            yield
        finally:
            self.emit(StageFinished())
            self._timings[name] = self._timings.get(name, 0.0) + time.perf_counter() - start


def write_prompts(folder: Path, prompts: tuple[str, ...]) -> None:
    """The texts beside their standard images, for whoever reads the run folder; written where they differ."""
    path, content = folder / PROMPTS, (canonical_json(list(prompts)) + "\n").encode()
    if not path.is_file() or path.read_bytes() != content:
        atomic_write(path, content)
