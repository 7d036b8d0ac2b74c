"""Making the pictures of one source: encode, cluster, denoise, decode, each with its progress and its seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from common.files import atomic_write, canonical_json, sha256_text
from common.loading import seconds_loading
from generators.batch_search import BATCH_SIZE, largest_batch, resolved
from generators.batching import ladder
from generators.conditioning import Conditioning
from generators.denoising_checkpoints import DenoisingCheckpoints
from generators.families.base import Family
from generators.noise import KeyedNoise, NoiseSource, OfficialNoise
from generators.settings import PriorSettings
from generators.sharing.labels import fcluster_order
from generators.sharing.plan import Grouping, SharingPlan, treed
from generators.sharing.tree import Tree
from generators.strategies.base import get_strategy
from sweeps.encodings import CONDITIONING, load_encoding, save_encoding
from sweeps.events import Emit, Note, StageFinished, StageStarted
from sweeps.executors.base import Executor, Work
from sweeps.executors.local import Local
from sweeps.families import Families
from sweeps.machine import machine, versions
from sweeps.pictures import Generation, clear, finish, reuse_pictures
from sweeps.record import ExecutionFigures, PlanFigures

if TYPE_CHECKING:
    from generators.batch_search import Asked
    from generators.denoiser_caches.base import DenoiserCache
    from generators.strategies.base import Strategy
    from sweeps.grid import Source

PROMPTS = "prompts.json"
STATES = "states"


class Maker:
    """Everything made from one source; the model is loaded when something has to be made.

    Args:
        source: the model, prompts and settings.
        families: where the model comes from.
        batch_size: rows a denoiser call, and prompts encoded at once; ``auto`` is measured when something is about to
            be denoised here; None: the device's default.
        emit: hears the stages' progress.
        executor: where plans are denoised; here unless given.
        isolate: so that seconds are those of the pictures alone: none is standard's for nothing, and the model is
            warm before they count.
        save_every: seconds between states of what is denoised, from which a killed run goes on; None: none is kept.

    Attributes:
        stored: where the prompts' conditioning is on disk, if it is.
    """

    def __init__(
        self,
        source: "Source",
        families: Families,
        batch_size: "Asked | None",
        emit: Emit,
        executor: Executor | None = None,
        *,
        isolate: bool = False,
        save_every: float | None = None,
    ) -> None:
        self.source, self.emit = source, emit
        self.isolate, self._save_every, self._warm = isolate, save_every, False
        self.stored: Path | None = None
        self._families, self._executor = families, executor or Local()
        self._batch_size, self._batch_from = resolved(batch_size, families.device)
        if self._batch_size == "auto" and not self._executor.together:  # here is no denoiser to measure
            self._batch_size, self._batch_from = BATCH_SIZE, "default"
        self._groupings: dict[tuple[str, str], tuple[Grouping, float]] = {}
        self._conditioning: Conditioning | None = None
        self._encoding_notes: list[str] = []
        self._timings: dict[str, float] = {}

    @property
    def batch_size(self) -> int:
        """Rows at a time. One that has to be measured is, as soon as there is conditioning to measure with."""
        if self._batch_size == "auto" and self._conditioning is not None:
            self.emit(StageStarted("batch size", 1))
            try:
                self._batch_size, self._batch_from, what = largest_batch(
                    self.family, self.source.weights, self._conditioning, self.source.settings
                )
            finally:
                self.emit(StageFinished())
            if self._batch_from != "remembered":
                self.emit(Note(f"{self.source.entry.name}: {what}"))
        return BATCH_SIZE if self._batch_size == "auto" else self._batch_size

    @batch_size.setter
    def batch_size(self, rows: int) -> None:
        """Memory ran out, and so many fit."""
        self._batch_size = rows

    @property
    def family(self) -> Family:
        return self._families.get(self.source.entry, self.source.settings.dtype)

    def conditioning(self, folder: Path | None = None, *, keep: bool = True) -> Conditioning:
        """The prompts' conditioning: from `folder` where it is there, else encoded and, to `keep` it, left there."""
        if self._conditioning is None:
            kept = load_encoding(folder, lambda what: self.emit(Note(f"{what}: encoding the prompts again")))
            self._conditioning, self._encoding_notes = kept or self._encode(folder if keep else None)
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
            conditioning, start = self.conditioning(), time.perf_counter() - seconds_loading()
            with self.stage("cluster", 1):
                rows = self.family.features(conditioning, features)
                grouping = strategy.grouping(rows, seed=self.source.settings.seed)
            self._groupings[key] = grouping, time.perf_counter() - seconds_loading() - start
        return self._groupings[key]

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
        own_prior_seed = isinstance(settings, PriorSettings) and settings.prior_seed is not None
        if conditioning.stream is not None and not own_prior_seed:
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

    def timings(self) -> dict[str, float]:
        """The seconds of what was done so far, which are not those of the pictures made next."""
        timings, self._timings = self._timings, {}
        return timings

    def states(self, folder: Path, *what: object) -> DenoisingCheckpoints | None:
        """Where the states of an execution are kept, if they are.

        Args:
            folder: states lie in a folder of their own in it.
            what: tells the execution from others.
        """
        if self._save_every is None:
            return None
        identity = sha256_text(canonical_json([self.source.identity, *what]))
        return DenoisingCheckpoints(folder / STATES, identity, self._save_every, lambda text: self.emit(Note(text)))

    def make(
        self,
        plan: SharingPlan,
        folder: Path,
        standard: tuple[Path, Generation] | None = None,
        work: Work | None = None,
        cache: "DenoiserCache | None" = None,
    ) -> Generation:
        """The pictures of a plan in `folder`, complete when its manifest is there.

        Args:
            plan: of all prompts.
            folder: what it held before is cleared.
            standard: the folder of the standard images and how they were made; a prompt whose path is standard's
                gets standard's picture, where its noise is standard's too (`reusable`), and costs nothing again.
            work: what `begin` gave for this plan, if it was begun.
            cache: reuse between the steps of each path.
        """
        clear(folder)
        read, joules = self._families.joules, None
        if self.isolate:
            self._warm_up()
        before = read() if read else 0.0
        work = work or self.begin(plan, reuse=standard is not None, cache=cache)
        execution = work(folder) if work else ExecutionFigures()
        if read:
            joules = read() - before
        return self.completed(plan, folder, execution, self.timings(), standard, cache, joules)

    def completed(
        self,
        plan: SharingPlan,
        folder: Path,
        execution: ExecutionFigures,
        timings: dict[str, float],
        standard: tuple[Path, Generation] | None = None,
        cache: "DenoiserCache | None" = None,
        joules: float | None = None,
    ) -> Generation:
        """Add standard's pictures to those that were made, and the manifest: the folder is complete.

        Args:
            execution: what the others took, and `timings` their seconds, and `joules` where that was measured.
        """
        same = self.reusable(plan, cache) if standard else np.zeros(plan.n_prompts, dtype=np.bool_)
        if standard:
            where, how = standard
            reuse_pictures(folder, where, np.flatnonzero(same).tolist())
            if not self.isolate:
                execution = execution.model_copy(update={"reused": int(same.sum())})
                taken = sum(how.timings.get(stage, 0.0) for stage in ("denoise", "decode", "write"))
                timings = {**timings, "reused": taken * float(same.mean())}
        origin = self._batch_from if execution.batch_size else None
        about = {"notes": [*self._encoding_notes, *execution.notes], "batch_size_from": origin}
        execution = execution.model_copy(update=about)
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

    def begin(self, plan: SharingPlan, *, reuse: bool, cache: "DenoiserCache | None" = None) -> Work | None:
        """Begin a plan's pictures where they are made; None if none has to be. Arguments are those of `wanted`."""
        wanted = self.wanted(plan, reuse=reuse, cache=cache)
        return self._executor.begin(self, wanted, cache) if len(wanted.first) else None

    def wanted(self, plan: SharingPlan, *, reuse: bool, cache: "DenoiserCache | None" = None) -> SharingPlan:
        """The part of a plan that has to be denoised.

        Args:
            plan: of all prompts, which are encoded.
            reuse: whether standard's pictures are there for those whose path is standard's.
            cache: reuse between the steps of each path.
        """
        reuse = reuse and not self.isolate
        return plan.restricted(~self.reusable(plan, cache)) if reuse else plan

    def _warm_up(self) -> None:
        """A call of the denoiser (of each size, if compiled) and one of the decoder, whose seconds are nobody's."""
        if self._warm:
            return
        self._warm = True
        family, settings, conditioning = self.family, self.source.settings, self.conditioning()
        rows = min(self.batch_size, len(conditioning))
        compiled = [size for size in ladder(self.batch_size) if size <= rows] if family.acceleration.compiled else []
        latents = torch.zeros(rows, *family.latent_shape(settings), dtype=family.dtype, device=family.device)
        family.accelerate()
        self.emit(StageStarted("warm-up", 1))
        with torch.no_grad():
            for size in compiled or [rows]:
                conditioned = {name: tensor[:size] for name, tensor in conditioning.tensors.items()}
                family.predict(latents[:size], 0, family.sampler(settings), conditioned, settings)
            family.decode(latents, settings, lambda shape, _: torch.zeros(shape))
        self.emit(StageFinished())

    def took(self, name: str, seconds: float) -> None:
        """Seconds of a stage that was no stage of this process; they count for the pictures made next."""
        self._timings[name] = self._timings.get(name, 0.0) + seconds

    def _encode(self, folder: Path | None) -> tuple[Conditioning, list[str]]:
        with self.stage("encode", len(self.source.prompts)):
            conditioning, heard = self._executor.encode(self)
        notes = [f"encoding: {note}" for note in heard]
        for note in notes:
            self.emit(Note(note))
        if folder:
            save_encoding(conditioning, notes, folder)
        return conditioning, notes

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[None]:
        """A stage that is announced, and whose seconds, those of loading weights left out, are the next pictures'."""
        start = time.perf_counter() - seconds_loading()
        self.emit(StageStarted(name, total, self.source.entry.name))
        try:
            yield
        finally:
            self.emit(StageFinished())
            self.took(name, time.perf_counter() - seconds_loading() - start)


def write_prompts(folder: Path, prompts: tuple[str, ...]) -> None:
    """The texts beside their standard images, for whoever reads the run folder; written where they differ."""
    path, content = folder / PROMPTS, (canonical_json(list(prompts)) + "\n").encode()
    if not path.is_file() or path.read_bytes() != content:
        atomic_write(path, content)
