"""Making the pictures of one source: encode, cluster, denoise, decode, each with its progress and its seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from common.errors import UserError
from common.files import atomic_write, canonical_json, sha256_file
from generators.batching import Batches
from generators.conditioning import Conditioning
from generators.families.base import Family, get_family
from generators.noise import KeyedNoise, NoiseSource, OfficialNoise
from generators.probe import DenoiserProbe
from generators.sharing.labels import fcluster_order
from generators.sharing.plan import SharingPlan
from generators.sharing.planner import Grouping, treed
from generators.sharing.tree import Tree
from generators.strategies.base import get_strategy
from sweeps.events import Emit, Note, StageFinished, StageStarted
from sweeps.executors.base import Executor, Work
from sweeps.executors.local import Local
from sweeps.machine import machine, versions
from sweeps.pictures import Generation, clear, finish, reuse_pictures
from sweeps.record import ExecutionFigures, PlanFigures

if TYPE_CHECKING:
    from generators.catalogue import ModelEntry
    from generators.checkpoints import Offload
    from generators.denoiser_caches.base import DenoiserCache
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
        executor: where plans are denoised; here unless given.

    Attributes:
        stored: where the prompts' conditioning is on disk, if it is.
    """

    def __init__(
        self, source: "Source", families: Families, batch_size: int, emit: Emit, executor: Executor | None = None
    ) -> None:
        self.source, self.batch_size, self.emit = source, batch_size, emit
        self.stored: Path | None = None
        self._families, self._executor = families, executor or Local()
        self._groupings: dict[tuple[str, str], tuple[Grouping, float]] = {}
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
            self.stored = folder / CONDITIONING if folder and keep else None
        return self._conditioning

    def grouping(self, strategy: "Strategy", features: str) -> Grouping:
        """What a strategy makes of the encoded prompts; what it took counts for all pictures that use it."""
        grouping, self._timings["cluster"] = self._grown(strategy, features)
        return grouping

    def tree(self, strategy: "Strategy", features: str) -> Tree:
        """Its tree; a UserError if it makes none."""
        return treed(self.grouping(strategy, features), strategy.name)

    def _grown(self, strategy: "Strategy", features: str) -> tuple[Grouping, float]:
        key = (f"{strategy.name} {strategy.model_dump_json()}", features)
        if key not in self._groupings:
            conditioning, start = self.conditioning(), time.perf_counter()
            with self.stage("cluster", 1):
                rows = self.family.features(conditioning, features)
                seed = self.source.settings.seed
                if strategy.wants_probe:
                    grouping = strategy.probed(rows, self._probe(conditioning), seed=seed)
                else:
                    grouping = strategy.grouping(rows, seed=seed)
            self._groupings[key] = grouping, time.perf_counter() - start
        return self._groupings[key]

    def _probe(self, conditioning: Conditioning) -> DenoiserProbe:
        source = self.source
        batches = Batches(self.batch_size)
        return DenoiserProbe(self.family, conditioning, source.prompts.keys, source.settings, batches)

    def noise(self, plan: SharingPlan) -> NoiseSource:
        """Where the noise of a plan's pictures comes from.

        The order of the released code is that of its own tree, whoever shares: standard images have no other. Its
        stream goes on where the prior's draws end, or, with a seed of the prior's own, begins with the pictures, as
        in the released code where it finds embeddings that it kept.
        """
        settings = self.source.settings
        if settings.noise != "official":
            return KeyedNoise(settings.seed, settings.noise)
        conditioning, family = self.conditioning(), self.family
        generator = torch.Generator(family.device).manual_seed(settings.seed)
        if settings.prior_seed is None and conditioning.stream is not None:
            generator.set_state(conditioning.stream)
        theirs = get_strategy("ward-cosine")
        tree = treed(self._grown(theirs, family.features_options[0])[0], theirs.name)
        return OfficialNoise(generator, family.dtype, plan, fcluster_order(tree), self.source.prompts.keys)

    def reusable(self, plan: SharingPlan, cache: "DenoiserCache | None" = None) -> NDArray[np.bool_]:
        """bool [N]: prompts whose pictures are standard's: in one stream of noise, all of them or none.

        Standard's are made without a denoiser cache, so under one none is.
        """
        solo = plan.solo & (cache is None)
        return solo & solo.all() if self.source.settings.noise == "official" else solo

    def forget_timings(self) -> None:
        """What was done so far and came to nothing is not the time of the pictures made next."""
        self._timings = {}

    def make(
        self,
        plan: SharingPlan,
        folder: Path,
        standard: tuple[Path, Generation] | None = None,
        work: Work | None = None,
        probe_rows: int = 0,
        cache: "DenoiserCache | None" = None,
    ) -> Generation:
        """The pictures of a plan in `folder`, complete when its manifest is there.

        Args:
            plan: of all prompts.
            folder: what it held before is cleared.
            standard: the folder of the standard images and how they were made; a prompt whose path is standard's
                gets standard's picture, where its noise is standard's too (`reusable`), and costs nothing again.
            work: what `begin` gave for this plan, if it was begun.
            probe_rows: denoiser evaluations that it took to have a plan; they count as its node-steps.
            cache: reuse between the steps of each path.
        """
        clear(folder)
        reused = self.reusable(plan, cache) if standard else np.zeros(plan.n_prompts, dtype=np.bool_)
        execution = ExecutionFigures(reused=int(reused.sum()))
        read, joules = self._families.joules, None
        before = read() if read else 0.0
        work = work or self.begin(plan, reuse=standard is not None, cache=cache)
        if work:
            execution = work(folder).model_copy(update={"reused": int(reused.sum())})
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
            node_steps=plan.node_steps + probe_rows,
            standard_node_steps=plan.standard_node_steps,
            savings=plan.savings - probe_rows / plan.standard_node_steps,
            probe_rows=probe_rows,
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

    def begin(self, plan: SharingPlan, *, reuse: bool, cache: "DenoiserCache | None" = None) -> Work | None:
        """Begin a plan's pictures where they are made; None if none has to be.

        Args:
            plan: of all prompts, which are encoded.
            reuse: whether standard's pictures are there for those whose path is standard's.
            cache: reuse between the steps of each path.
        """
        wanted = ~self.reusable(plan, cache) if reuse else np.ones(plan.n_prompts, dtype=np.bool_)
        return self._executor.begin(self, plan.restricted(wanted), cache) if wanted.any() else None

    def took(self, name: str, seconds: float) -> None:
        """Seconds of a stage that was no stage of this process; they count for the pictures made next."""
        self._timings[name] = self._timings.get(name, 0.0) + seconds

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
        with self.stage("encode", len(self.source.prompts)):
            conditioning, notes = self._executor.encode(self)
        self._encoding_notes = [f"encoding: {note}" for note in notes]
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
