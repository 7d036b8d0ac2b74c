"""The largest batch of a denoiser that still gains something: measured once on a machine, then remembered."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import UserError
from common.files import atomic_write, cache_dir, canonical_json, sha256_text
from common.memory import is_out_of_memory
from generators.conditioning import Conditioning
from generators.device_memory import free_bytes, give_back, own_bytes, synchronise, total_bytes
from generators.families.base import Family
from generators.settings import GenerationSettings

Auto = Literal["auto"]
Asked = int | Auto
Origin = Literal["given", "default", "measured", "remembered"]
# On two cores this is within 3% of the best batch of the embedded models, and a search would cost seconds.
BATCH_SIZE = 32
FOLDER, VERSION = "batch_sizes", 1
FIRST, MOST = 1, 1024
GAIN = 0.03  # a doubling that gives less than this is not worth its memory
MISSES = 2  # doublings in a row without that gain: a single one may be the size of a kernel's tiles
LEAST, CALLS, SECONDS = 3, 5, 2.0  # timed at each size: at least, and at most so many, no more after so long
PATIENCE = 60.0  # seconds after which no larger size is tried
RESERVE = 0.1  # of the memory, for decoders and whoever else is there

_unwritten: dict[str, "MeasuredSize"] = {}  # where the cache cannot be written


class Timed(BaseModel):
    """Denoiser calls of one size.

    Attributes:
        rows: plan nodes in a call.
        first: seconds of the first call, which warms up.
        seconds: of a call after it, the median.
        bytes: of the device's memory at most, weights included: an accelerator's that PyTorch allocated, or what this
            process had resident.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: Annotated[int, Field(ge=1)]
    first: Annotated[float, Field(ge=0)]
    seconds: Annotated[float, Field(gt=0)]
    bytes: Annotated[int, Field(ge=0)] = 0

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


class MeasuredSize(BaseModel):
    """A batch size, and all that was measured to find it.

    Attributes:
        about: what it holds for.
        ended: why no larger size was tried.
        sizes: in the order of their rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: dict[str, Any]
    rows: Annotated[int, Field(ge=1)]
    ended: Literal["throughput", "memory", "patience", "limit", "rows"]
    sizes: Annotated[tuple[Timed, ...], Field(min_length=1)]

    def __str__(self) -> str:
        rates = ", ".join(f"{size.rows}: {size.rate:.3g}" for size in self.sizes)
        return f"batches of {self.rows} (rows a second at {rates}; then {ENDED[self.ended]})"


ENDED = {
    "rows": "the run has no more",
    "throughput": "larger ones gained nothing",
    "memory": "memory was at its end",
    "patience": "it had taken long enough",
    "limit": "there was no larger one to try",
}


def resolved(asked: Asked | None, device: str) -> tuple[Asked, Origin]:
    """Return the batch size asked for or this device's default, and which it is; ``auto`` is yet to be measured."""
    if asked is not None:
        return asked, "given"
    return ("auto" if device.startswith("cuda") else BATCH_SIZE), "default"


def largest_batch(
    family: Family, weights: str, conditioning: Conditioning, settings: GenerationSettings, most: int = MOST
) -> tuple[int, Origin, str]:
    """Return the best batch size of this model on this device: remembered in the cache, else measured and left there.

    What was measured on a device whose memory others had, and ended there, is not left: it is not the device's.

    Args:
        family: loaded.
        weights: the hash of its weights (`ModelEntry.weights_hash`).
        conditioning: of the prompts that are about to be denoised; calls repeat its rows.
        settings: of their pictures.
        most: rows that the run has at one step: larger batches would never be called.

    Returns:
        The rows, where they are from, and a sentence with what was measured.

    Raises:
        UserError: memory runs out with a single row.
    """
    if family.acceleration.compiled:
        return BATCH_SIZE, "default", f"batches of {BATCH_SIZE} (to try others, each would be compiled first)"
    about = described(family, weights, settings)
    most, crowded = min(most, MOST), others_have(family.device) > RESERVE
    known = remembered(about)
    if known and (known.ended != "rows" or most <= max(size.rows for size in known.sizes)):
        return known.rows, "remembered", str(known)
    measured = measure(about, family, conditioning, settings, most)
    if crowded and measured.ended == "memory":
        return measured.rows, "measured", f"{measured}; others have some of the memory, so that it is not remembered"
    try:
        atomic_write(_path(about), measured.model_dump_json(indent=1) + "\n")
    except OSError:  # it costs seconds, not correctness
        _unwritten[_key(about)] = measured
    return measured.rows, "measured", str(measured)


def described(family: Family, weights: str, settings: GenerationSettings) -> dict[str, Any]:
    """Return all that the best batch follows from: the model, the device, the library, what decides a call's shapes."""
    cuda = family.device.type == "cuda"
    asked: dict[str, Any] = settings.model_dump(include=set(settings.in_denoiser_calls))
    return {
        **asked,
        "guidance": settings.guidance > 1,
        "model": family.entry.name,
        "family": family.name,
        "weights": weights,
        "offload": family.offload,
        "options": family.acceleration.model_dump(exclude={"compilation", "threads"}),
        "acceleration": family.accelerate(),
        "device": torch.cuda.get_device_name(family.device) if cuda else f"cpu, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "version": VERSION,
    }


def remembered(about: Mapping[str, Any]) -> MeasuredSize | None:
    """Return what was measured before; None if nothing was, or its file is damaged."""
    try:
        measured = MeasuredSize.model_validate_json(_path(about).read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError):
        return _unwritten.get(_key(about))
    return measured if measured.about == about and measured.rows in [size.rows for size in measured.sizes] else None


def all_remembered() -> list[MeasuredSize]:
    """Return every size that this machine remembers, whole ones only."""
    measured = []
    for path in sorted((cache_dir() / FOLDER).glob("*.json")):
        try:
            measured.append(MeasuredSize.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, ValidationError):
            continue
    return measured


def measure(
    about: dict[str, Any], family: Family, conditioning: Conditioning, settings: GenerationSettings, most: int
) -> MeasuredSize:
    """Double the rows of a call until memory ends or nothing is gained any more.

    The smallest size is taken that is within `GAIN` of the fastest.

    Raises:
        UserError: memory runs out with a single row.
    """
    call = _caller(family, conditioning, settings)
    return search(about, lambda rows: _timed(call, rows, family.device), _room(family.device), most)


def search(
    about: dict[str, Any], timed: Callable[[int], Timed | None], room: float, most: int | None = None
) -> MeasuredSize:
    """Search for the smallest size that is within `GAIN` of the fastest.

    Args:
        timed: times calls of so many rows; None if memory ran out.
        room: bytes that calls may take, weights included.
        most: rows of a call; `MOST` unless given.
    """
    most = MOST if most is None else most
    sizes: list[Timed] = []
    start = time.monotonic()
    rows, ended, misses = FIRST, "rows" if most < MOST else "limit", 0
    while rows <= most:
        if time.monotonic() - start > PATIENCE:
            ended = "patience"
            break
        if _expected(sizes) > room:
            ended = "memory"
            break
        this = timed(rows)
        if this is None:
            ended = "memory"
            break
        best = max((size.rate for size in sizes), default=0.0)
        misses = 0 if this.rate > best * (1 + GAIN) else misses + 1
        sizes.append(this)
        if misses == MISSES:
            ended = "throughput"
            break
        rows = min(2 * rows, most) if rows < most else most + 1
    if not sizes:
        raise UserError(
            "memory runs out with a single row in the batch", "use smaller pictures, --dtype fp16, or another device"
        )
    enough = max(size.rate for size in sizes) / (1 + GAIN)
    return MeasuredSize.model_validate(
        {
            "about": about,
            "rows": next(size.rows for size in sizes if size.rate >= enough),
            "ended": ended,
            "sizes": sizes,
        }
    )


def _expected(sizes: list[Timed]) -> float:
    """Return the bytes that calls of twice the last size will take, on the line through the last two."""
    if len(sizes) < 2:
        return 0.0
    before, last = sizes[-2:]
    return last.bytes + (last.bytes - before.bytes) / (last.rows - before.rows) * last.rows


def _caller(family: Family, conditioning: Conditioning, settings: GenerationSettings) -> Callable[[int], None]:
    sampler, shape = family.sampler(settings), family.latent_shape(settings)
    generator = torch.Generator().manual_seed(0)
    if not family.acceleration.compiled:  # each size would be compiled
        family.accelerate()

    @torch.no_grad()
    def call(rows: int) -> None:
        places = torch.arange(rows) % len(conditioning)
        latents = torch.randn(rows, *shape, generator=generator) * sampler.init_sigma
        repeated = dict(conditioning.read(places))
        family.predict(latents.to(family.device, family.dtype), sampler.K // 2, sampler, repeated, settings)

    return call


def _timed(call: Callable[[int], None], rows: int, device: torch.device) -> Timed | None:
    """Time a first call, then several; return None if memory runs out."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    try:
        first, times = _seconds(call, rows, device), list[float]()
        while len(times) < LEAST or (len(times) < CALLS and sum(times) < SECONDS):
            times.append(_seconds(call, rows, device))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        peak = torch.cuda.max_memory_allocated(device) if cuda else _resident_at_most()
        return Timed(rows=rows, first=first, seconds=max(median(times), 1e-9), bytes=peak)
    # Out here the traceback is gone, and with it what held the memory.
    give_back(device)
    return None


def _seconds(call: Callable[[int], None], rows: int, device: torch.device) -> float:
    synchronise(device)
    start = time.perf_counter()
    call(rows)
    synchronise(device)
    return time.perf_counter() - start


def _resident_at_most() -> int:
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _room(device: torch.device) -> float:
    """Return the bytes that calls may take of the device's memory: what is free or ours by now, but for a reserve."""
    return free_bytes(device) + own_bytes(device) - RESERVE * total_bytes(device)


def others_have(device: torch.device) -> float:
    """Return the share of a device's memory that neither is free nor this process's."""
    return 1 - (free_bytes(device) + own_bytes(device)) / total_bytes(device)


def _key(about: Mapping[str, Any]) -> str:
    return sha256_text(canonical_json(about))


def _path(about: Mapping[str, Any]) -> Path:
    return cache_dir() / FOLDER / f"{_key(about)[:32]}.json"
