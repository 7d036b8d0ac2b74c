"""One process's work on a run folder: the device, the loaded model, encoded prompts, and who hears of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.errors import NoRoomError, UserError
from common.loading import seconds_loading
from generators.acceleration import Acceleration
from generators.batch_search import BATCH_SIZE, largest_batch, resolved
from generators.batching import Batches, ladder
from generators.conditioning import Conditioning
from generators.families.base import Family
from generators.noise import KeyedNoise, NoiseSource, OfficialNoise
from generators.overflow import check_conditioning
from generators.sharing.labels import fcluster_order
from generators.sharing.plan import Grouping, treed, with_copies
from generators.strategies.base import get_strategy, grouped
from sweeps.encoding_cache import EncodingCache
from sweeps.encodings import Encoded, EncodingWriter, joined, load_encoding
from sweeps.energy import meter
from sweeps.events import Emit, Note, StageAdvanced, StageFinished, StageStarted
from sweeps.families import Families
from sweeps.machine import machine, versions

if TYPE_CHECKING:
    from generators.batch_search import Asked
    from generators.checkpoints import Offload
    from generators.sharing.plan import SharingPlan
    from generators.strategies.base import Strategy
    from sweeps.executors.base import Executor
    from sweeps.grid import Source, ToEncode
    from sweeps.jobs import Job
    from sweeps.spec import SweepSpec


def clock() -> float:
    """Return the seconds of a clock that stands still while weights are loaded."""
    return time.perf_counter() - seconds_loading()


class Session:
    """The state that passes over a run folder share while one process works on it.

    Args:
        device: a torch device.
        emit: hears stages and notes.
        batch_size: rows a denoiser call, and prompts encoded at once; ``auto``: measured when first needed; None: the
            device's default.
        offload: what waits in main memory until it is needed.
        acceleration: how denoisers compute; None: the device's defaults.
        encoder: the executor, where it is not this process.
        isolate: make every set of pictures by itself, warmed up, so that its seconds are measured.
        energy: read what the accelerator takes.
        save_every: seconds between the checkpoints of a denoising run; None: none is written.
        wave: pictures that are denoised at once, at most; None: as many as memory holds.
        encodings: where what this process encodes is kept for later ones; None: in the run folder alone.

    Raises:
        UserError: weights are to wait in main memory for a device that is the main memory.
    """

    def __init__(
        self,
        device: str,
        emit: Emit,
        *,
        batch_size: "Asked | None" = None,
        offload: "Offload" = "none",
        acceleration: Acceleration | None = None,
        encoder: "Executor | None" = None,
        isolate: bool = False,
        energy: bool = False,
        save_every: float | None = None,
        wave: int | None = None,
        encodings: EncodingCache | None = None,
    ) -> None:
        self.device, self.emit = device, emit
        self._encoder, self._kept = encoder, encodings
        self.isolate, self.save_every, self.wave = isolate, save_every, wave
        self._families, self._acceleration = Families(device, offload, acceleration), acceleration
        self._joules = self._meter() if energy else None
        self._batch_size = batch_size
        self._sizes: dict[str, tuple[int, str]] = {}
        self._encoded: dict[str, Encoded] = {}
        self._encoding_seconds: dict[str, dict[str, float]] = {}
        self._encoding_notes: dict[str, tuple[str, ...]] = {}
        self._groupings: dict[tuple[str, str, str], tuple[Grouping, float]] = {}
        self._notes: set[str] = set()
        self._warm: str | None = None

    @classmethod
    def of(
        cls,
        spec: "SweepSpec",
        device: str,
        emit: Emit,
        encoder: "Executor | None" = None,
        encodings: EncodingCache | None = None,
    ) -> "Session":
        """Return the session that a spec asks for."""
        return cls(
            device,
            emit,
            batch_size=spec.batch_size,
            offload=spec.offload,
            acceleration=spec.acceleration(device),
            encoder=encoder,
            isolate=spec.alone,
            energy=spec.energy,
            save_every=spec.save_every,
            wave=spec.wave,
            encodings=encodings,
        )

    def family(self, source: "Source") -> Family:
        """Return the source's model; the one that was loaded before leaves memory.

        Raises:
            NoRoomError: its weights did not fit before.
        """
        return self._families.get(source.entry, source.settings.dtype)

    def release(self) -> None:
        """Give the memory of models and encoded prompts back."""
        self._families.release()
        self._encoded.clear()
        self._warm = None

    def note(self, text: str) -> None:
        """Emit a note, once however often it is given."""
        if text not in self._notes:
            self._notes.add(text)
            self.emit(Note(text))

    def damaged(self, what: str) -> None:
        """Note that a damaged file is made again."""
        self.emit(Note(f"{what}: made again"))

    @contextmanager
    def stage(
        self, name: str, total: int, source: "Source", job: "Job | None" = None, before: int = 0
    ) -> Iterator[dict[str, float]]:
        """Announce a stage, and count its seconds, those of loading weights left out.

        `job` is the one that the stage is for, if it is for one alone; `before` of its units were done before.

        Yields:
            A mapping that has the seconds under the stage's name when it is over.
        """
        seconds: dict[str, float] = {}
        # a stage within which weights happen to be loaded for the first time would look slow in every comparison
        start = clock()
        self.emit(StageStarted(name, total, source.entry.name, job, before))
        try:
            yield seconds
        except NoRoomError as error:
            self._families.refuse(error)
            raise
        finally:
            self.emit(StageFinished())
            seconds[name] = clock() - start

    def encoded(self, source: "Source", run: Path | None = None, job: "Job | None" = None) -> Encoded:
        """Return the prompts' conditioning, encoded if it is not there.

        Args:
            source: the model and the prompts.
            run: the run folder, in which it is kept; None: it is kept nowhere.
            job: whose turn it is, for who watches.
        """
        key = source.conditioning_key
        if key not in self._encoded:
            folder = run / "shared" / key if run else None
            encoded = self._all_encoded(source, folder, job)
            if len(encoded.conditioning) != len(source.prompts):
                encoded = replace(encoded, conditioning=encoded.conditioning.taken(source.encoded_rows))
            self._encoded[key] = encoded
            self._encoding_notes[key] = self._encoded[key].notes
        return self._encoded[key]

    def encoding_notes(self, source: "Source") -> tuple[str, ...]:
        """Return the notes of encoding the source's prompts, if this session encoded or read them."""
        return self._encoding_notes.get(source.conditioning_key, ())

    def encoding_seconds(self, source: "Source") -> dict[str, float]:
        """Return the seconds of encoding the source's prompts, under ``encode``, if that was done in this session."""
        return self._encoding_seconds.get(source.conditioning_key, {})

    def forget(self, source: "Source") -> None:
        """Free the encoded prompts of a source; their notes and seconds stay known."""
        self._encoded.pop(source.conditioning_key, None)

    def grouping(
        self, source: "Source", strategy: "Strategy", features: str, run: Path | None = None
    ) -> tuple[Grouping, float]:
        """Return a strategy's grouping of a source's prompts, and the seconds that it took; made once a session.

        `features` is the embedding that it clusters, by its name in the model's family; `run` as in `encoded`.
        """
        key = (source.key, f"{strategy.name} {strategy.model_dump_json()}", features)
        if key not in self._groupings:
            self.encoded(source, run)  # in a stage of its own
            n = source.prompts.per_prompt
            with self.stage("cluster", 1, source) as seconds:
                rows = self.features(source, features, run)[::n]
                apart = None if source.classes is None else source.classes[::n]
                grouping = grouped(strategy, rows, seed=source.settings.seed, classes=apart)
                grouping = with_copies(grouping, n, source.copies_height, strategy.name)
            self._groupings[key] = grouping, seconds["cluster"]
        return self._groupings[key]

    def features(self, source: "Source", features: str, run: Path | None = None) -> NDArray[np.float64]:
        """Return what a source's prompts are clustered by, [prompts, dimensions]; arguments are those of `grouping`."""
        return self.family(source).features(self.encoded(source, run).conditioning, features)

    def noise(self, source: "Source", plan: "SharingPlan", run: Path | None = None) -> NoiseSource:
        """Return the source of noise of a plan's pictures.

        Under the noise policy ``official`` noise is drawn in the leaf order of the released code's own tree, whatever
        the plan: its baseline is drawn in that order too. The stream continues after the prior's draws or, where the
        prior has a seed of its own, starts with the pictures, as the released code does with embeddings from its cache.
        """
        settings = source.settings
        if settings.noise != "official":
            return KeyedNoise(settings.seed, settings.noise)
        family, stream = self.family(source), self.encoded(source, run).conditioning.stream
        generator = torch.Generator(family.device).manual_seed(settings.seed)
        if stream is not None and not settings.own_embedding_seed:
            generator.set_state(stream)
        released = get_strategy("ward-cosine")
        tree = treed(self.grouping(source, released, family.features_options[0], run)[0], released.name)
        return OfficialNoise(generator, family.dtype, plan, fcluster_order(tree), source.keys)

    def batch_size(
        self, source: "Source", conditioning: Conditioning | None = None, most: int | None = None
    ) -> tuple[int, str]:
        """Return the rows of a denoiser call, and where that number is from (`ExecutionStats.batch_size_from`).

        Args:
            source: whose denoiser is called.
            conditioning: what a size that has to be measured is measured with; None: the default size is returned.
            most: rows that are denoised at once, at most; as many as there are prompts unless given.
        """
        if source.key in self._sizes:
            return self._sizes[source.key]
        rows, origin = resolved(self._batch_size, self.device)
        if rows != "auto":
            return rows, origin
        if self._encoder and not self._encoder.unites:  # the denoisers are elsewhere
            return BATCH_SIZE, "default"
        if conditioning is None:  # as when prompts are encoded: nothing is there yet to call a denoiser with
            return BATCH_SIZE, origin
        most = max(most or len(conditioning), 1)
        with self.stage("batch size", 1, source):
            size, origin, what = largest_batch(self.family(source), source.weights, conditioning, source.settings, most)
        if origin != "remembered":
            self.emit(Note(f"{source.entry.name}: {what}"))
        self._sizes[source.key] = size, origin
        return size, origin

    def shrink(self, source: "Source", rows: int, origin: str) -> None:
        """Remember the batch size that was left when memory ran out."""
        self._sizes[source.key] = rows, origin

    def joules(self) -> float | None:
        """Return the reading of the accelerator's energy counter, in J; None where energy is not measured."""
        return self._joules() if self._joules else None

    def warm_up(self, source: "Source", conditioning: Conditioning) -> None:
        """Call the denoiser (once a compiled size) and the decoder, so that no job's seconds hold first calls."""
        if self._warm == source.key:
            return
        self._warm = source.key
        family, settings = self.family(source), source.settings
        batch_size, _ = self.batch_size(source, conditioning)
        rows = min(batch_size, len(conditioning))
        compiled = [size for size in ladder(batch_size) if size <= rows] if family.acceleration.compiled else []
        latents = torch.zeros(rows, *family.latent_shape(settings), dtype=family.dtype, device=family.device)
        with self.stage("warm-up", 1, source), torch.no_grad():
            family.accelerate()
            for size in compiled or [rows]:
                conditioned = dict(conditioning.read(np.arange(size)))
                family.predict(latents[:size], 0, family.sampler(settings), conditioned, settings)
            with suppress(FloatingPointError):  # whoever decodes pictures says of which
                family.decode(latents, settings, lambda shape, _: torch.zeros(shape))
            family.rest()

    def advance(self, *done: Any) -> None:
        """Emit that a batch of the running stage is done; the signature is an executor's `Observer`."""
        _, nodes, *_ = done
        self.emit(StageAdvanced(len(nodes)))

    def encode(self, source: "Source", one: "ToEncode", batches: Batches) -> Iterator[Conditioning]:
        """Yield the conditioning of some of a source's prompts, encoded in this process, batch by batch.

        The encoders stay in memory until something is denoised. Arguments are those of `Executor.encode`.
        """
        yield from self.family(source).encode_batches(one.prompts, one.keys, one.settings, batches)

    def _all_encoded(self, source: "Source", folder: Path | None, job: "Job | None") -> Encoded:
        """Return a source's conditioning, encoded as far as it is not there, by each of its negative prompts."""
        encoded = []
        for number, one in enumerate(source.encodings):
            own = folder / f"negative-{number:05d}" if folder and one.several else folder
            encoded.append(load_encoding(own, self._encoding_again) or self._encode(source, number, own, job))
        return encoded[0] if len(encoded) == 1 else joined(source, encoded)

    def _encode(self, source: "Source", number: int, folder: Path | None, job: "Job | None") -> Encoded:
        """Return the conditioning of one of a source's `encodings`, by its number: taken from the cache, or made."""
        one, size, one_stream = (
            source.encodings[number],
            self.batch_size(source)[0],
            source.settings.noise == "official",
        )
        # workers elsewhere encode in batches and on devices of their own
        kept = self._kept if folder and self._encoder is None else None
        key = kept.key(self._decides(source, number, size)) if kept else ""
        if kept and folder and (taken := kept.take(key, folder, len(one.prompts), self._encoding_again)):
            self.emit(Note(f"{source.entry.name}: {len(one.prompts):,} prompts were encoded before: {kept.folder}"))
            return taken
        writer = EncodingWriter(folder, size, resumes=not one_stream, on_damage=self._encoding_again)
        batches, done, prompts = writer.batches, writer.batches.start, one.prompts
        if begun := done:
            self.emit(Note(f"{source.entry.name}: {done:,} of {len(prompts):,} prompts were encoded before"))
        encode = partial(self._encoder.encode, self) if self._encoder else self.encode
        with self.stage("encode", len(prompts) - done, source, job) as seconds:
            for part in encode(source, one, batches):
                check_conditioning(part, source.entry.name, source.settings.dtype, prompts, done)
                writer.add(part)
                done += len(part)
                self.emit(StageAdvanced(len(part)))
        notes = tuple(f"encoding: {note}" for note in one.told(dict.fromkeys(batches.notes)))
        for note in notes:
            self.emit(Note(note))
        before = self._encoding_seconds.get(source.conditioning_key, {}).get("encode", 0.0)
        self._encoding_seconds[source.conditioning_key] = {"encode": before + seconds["encode"]}
        encoded = writer.finish(notes)
        # what was begun elsewhere, or went on in smaller batches, may differ in last bits from what the key stands for
        if kept and not begun and batches.size == size and not kept.keep(key, encoded):
            self.emit(Note(f"{source.entry.name}: its encodings are too large to be kept in {kept.folder}"))
        return encoded

    def _decides(self, source: "Source", number: int, batch_size: int) -> dict[str, Any]:
        """Return all that an encoding's bytes follow from: what is in its key, and what rounds otherwise."""
        return {
            "conditioning": source.conditioning_key,
            "number": number,
            "batch_size": batch_size,
            "machine": machine(self.device),
            "threads": torch.get_num_threads(),
            "acceleration": self._acceleration.model_dump() if self._acceleration else None,
            "versions": versions(),
        }

    def _encoding_again(self, what: str) -> None:
        self.emit(Note(f"{what}: encoding the prompts again"))

    def _meter(self) -> Any:
        try:
            return meter(self.device)
        except UserError as error:
            self.emit(Note(f"{error.message} ({error.hint})"))
            return None
