"""Memory of a run, from shapes alone: weights, latents, and what its modules compute on the way."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import ceil, prod
from typing import TYPE_CHECKING

from metrics.flops import Component, Phase
from metrics.live_bytes import activations

if TYPE_CHECKING:
    from torch import Tensor

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
SHARE = 1 / 3  # of the memory that is free, for what is kept between steps: where nodes begin latents are there thrice
CONDITIONING = BYTES["fp32"]  # of active nodes, in main memory whatever the denoiser's type, so that means round once
COMBINING = 3 * 2**29  # bytes at most, while clusters' conditioning is read and combined, chunk by chunk
HOLES = (
    1 / 5
)  # of what is taken of main memory, beside it: blocks of many sizes come and go, and leave gaps in the heap
COMBINED = 6  # of its prompts' rows, that are there meanwhile at most where they are no whole chunk


@lru_cache(maxsize=256)
def parameters(component: Component) -> int:
    """Return the number of parameters of the component's module, built on the meta device.

    Examples:
        >>> from torch import nn, zeros
        >>> class Linear:
        ...     name, phase, unit, calls, together = "denoiser", "denoise", "node_step", 2, 2
        ...     build = staticmethod(lambda: nn.Linear(3, 5, bias=False))
        ...     inputs = staticmethod(lambda module: ((zeros(1, 3),), {}))
        >>> parameters(Linear())
        15
    """
    import torch

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in component.build().parameters())


@lru_cache(maxsize=256)
def largest_layer(component: Component) -> int:
    """Return the most parameters that one module has itself, not in its parts, built on the meta device.

    Examples:
        >>> from torch import nn, zeros
        >>> class Two:
        ...     name, phase, unit, calls, together = "denoiser", "denoise", "node_step", 2, 2
        ...     build = staticmethod(lambda: nn.Sequential(nn.Linear(3, 5, bias=False), nn.Linear(5, 2)))
        ...     inputs = staticmethod(lambda module: ((zeros(1, 3),), {}))
        >>> largest_layer(Two()), parameters(Two())
        (15, 27)
    """
    import torch

    with torch.device("meta"):
        layers = component.build().modules()
    return max(sum(parameter.numel() for parameter in layer.parameters(recurse=False)) for layer in layers)


def conditioning_bytes(row: Mapping[str, "Tensor"], prompts: int = 1) -> int:
    """Return the bytes of prompts' conditioning as it is kept on disk, each tensor in the dtype that it is made in.

    Args:
        row: of one prompt (`Family.conditioning_of`).
        prompts: how many there are.

    Examples:
        >>> import torch
        >>> conditioning_bytes({"text": torch.empty(512, 4096, dtype=torch.bfloat16, device="meta")}, prompts=20_000)
        83886080000
    """
    return prompts * sum(tensor.nbytes for tensor in row.values())


def row_bytes(
    latent_shape: Sequence[int], dtype: str, *, remembered: float = 0.0, conditioning: Iterable[Sequence[int]] = ()
) -> int:
    """Return the bytes that one active node holds between two steps.

    Args:
        latent_shape: of one row.
        dtype: of latents and of the scheduler state: ``fp32``, ``fp16`` or ``bf16``.
        remembered: numbers of the scheduler state for each number of a latent (`Sampler.remembered`).
        conditioning: the shape of one row of each tensor; an active node's are float32, in main memory whatever the
            device is, so whoever bounds an accelerator's memory leaves them out. Prompts' own are on disk
            (`conditioning_bytes`).

    Examples:
        >>> row_bytes((4, 64, 64), "fp16")
        32768
        >>> row_bytes((4, 64, 64), "fp16", remembered=2.0, conditioning=[(77, 768)])  # 3 latents, and float32 states
        334848
    """
    held = ceil(prod(latent_shape) * (1 + remembered)) * BYTES[dtype]
    return held + CONDITIONING * sum(prod(shape) for shape in conditioning)


def held_bytes(
    device: str,
    latent_shape: Sequence[int],
    dtype: str,
    *,
    remembered: float = 0.0,
    conditioning: Iterable[Sequence[int]] = (),
) -> dict[str, int]:
    """Return the bytes that one active node holds between two steps, by device; ``cpu`` stands for main memory.

    Where denoising is elsewhere, conditioning waits in main memory, and finished latents go there. The arguments are
    those of `row_bytes`.

    Examples:
        >>> held_bytes("cpu", (4, 64, 64), "fp16", conditioning=[(77, 768)])
        {'cpu': 269312}
        >>> held_bytes("cuda", (4, 64, 64), "fp16", remembered=2.0, conditioning=[(77, 768)])
        {'cpu': 269312, 'cuda': 98304}
    """
    here = row_bytes(latent_shape, dtype, remembered=remembered)
    if device == "cpu":
        return {"cpu": here + row_bytes((0,), dtype, conditioning=conditioning)}
    return {"cpu": row_bytes(latent_shape, dtype, conditioning=conditioning), device: here}


def wave_rows(leaves: int, held: Mapping[str, int], free: Mapping[str, float], least: int) -> int:
    """Return how many rows are denoised at once at most: all, if memory holds them, else a power of two that fits.

    A power of two, so that on one machine it is the same again whatever else runs there, and batches are full.

    Args:
        leaves: of the plan, which is the most rows that can be.
        held: bytes a row, by device (`held_bytes`).
        free: bytes that are free, by device; `SHARE` of them are for this.
        least: rows of a batch: no fewer are worth it, and whoever runs out of memory then halves its batches.

    Examples:
        >>> wave_rows(20_000, {"cpu": 2**20}, {"cpu": 64 * 2**30}, least=32)
        20000
        >>> wave_rows(20_000, {"cpu": 2**23, "cuda": 2**19}, {"cpu": 64 * 2**30, "cuda": 40 * 2**30}, least=32)
        2048
    """
    fit = int(min(SHARE * free[device] / taken for device, taken in held.items() if taken))
    return leaves if leaves <= fit else max(least, 1 << max(fit.bit_length() - 1, 0))


def wave_bytes(
    held: Mapping[str, int], rows: int, batch_size: int, *, conditioning: int, prompts: int
) -> dict[str, int]:
    """Return the bytes that a wave takes at its worst moment beside the weights, by device.

    Where nodes begin, latents are there as they were, as far as they are new, and as they are then; a batch is copied.
    A row's conditioning is there once, in main memory, where prompts' are combined a chunk at a time, in double
    precision, and `HOLES` are left.

    Args:
        held: bytes a row (`held_bytes`).
        rows: that are active at once.
        batch_size: rows a call, at most.
        conditioning: bytes of `held` that are a row's conditioning (`Conditioning.wide_bytes`).
        prompts: of the plan.

    Examples:
        >>> wave_bytes({"cpu": 100, "cuda": 10}, rows=4, batch_size=2, conditioning=90, prompts=5)
        {'cpu': 4056, 'cuda': 140}
    """
    copied = min(batch_size, rows)
    taken = {device: (3 * rows + copied) * own for device, own in held.items()}
    taken["cpu"] += min(COMBINING, COMBINED * prompts * conditioning) - 2 * rows * conditioning
    taken["cpu"] = ceil(taken["cpu"] * (1 + HOLES))
    return taken


def peaks(
    components: Sequence[Component],
    latent_shape: Sequence[int],
    n_prompts: int,
    dtype: str,
    *,
    batch_size: int,
    active: int | None = None,
    remembered: float = 0.0,
    conditioning: Sequence[Sequence[int]] = (),
    offload: str = "none",
    decoded: int | None = None,
) -> dict[Phase, int]:
    """Return the bytes at each phase's worst moment.

    Encoders leave before the denoiser comes, which stays beside the decoder. Under offload one component at a time is
    on the device, or one layer, its own weights alone. What kernels need inside themselves is not counted;
    `benchmarks.memory` measures it.

    Args:
        components: the modules that the family calls.
        latent_shape: of one row.
        n_prompts: encoded and decoded.
        dtype: ``fp32``, ``fp16`` or ``bf16``.
        batch_size: rows a call at most, before guidance doubles them.
        active: nodes at the step that has the most of them; by default as many as there are prompts, which is a single
            plan's last step.
        remembered: as in `row_bytes`.
        conditioning: likewise, where the device is the CPU.
        offload: ``none``, ``model`` or ``sequential``.
        decoded: pictures at once, at most; as `batch_size` unless given.

    Examples:
        >>> from torch import nn, zeros
        >>> class Linear:
        ...     name, phase, unit, calls, together = "denoiser", "denoise", "node_step", 2, 2
        ...     build = staticmethod(lambda: nn.Linear(3, 5, bias=False))
        ...     inputs = staticmethod(lambda module: ((zeros(1, 3),), {}))
        >>> peaks([Linear()], (3,), n_prompts=4, dtype="fp32", batch_size=2)
        {'encode': 0, 'denoise': 236, 'decode': 108}
    """
    active = n_prompts if active is None else active
    at_once: dict[Phase, int] = {"encode": batch_size, "denoise": batch_size, "decode": decoded or batch_size}
    weights: dict[Phase, int] = dict.fromkeys(at_once, 0)
    working, alone = dict(weights), dict(weights)
    for component in components:
        phase = component.phase
        own = (largest_layer(component) if offload == "sequential" else parameters(component)) * BYTES[dtype]
        rows = component.together * min(at_once[phase], active if phase == "denoise" else n_prompts)
        computed = activations(component, rows, dtype)
        weights[phase] += own
        working[phase] = max(working[phase], computed)
        alone[phase] = max(alone[phase], own + computed)
    combining = min(COMBINING, CONDITIONING * n_prompts * sum(prod(shape) for shape in conditioning))
    # while a step runs, the scheduler state is there twice: as it was before, and as far as it is made anew
    between = active * row_bytes(latent_shape, dtype, remembered=2 * remembered, conditioning=conditioning)
    if offload != "none":  # finished latents wait in main memory
        return {"encode": alone["encode"], "denoise": alone["denoise"] + between, "decode": alone["decode"]}
    both = weights["denoise"] + weights["decode"]
    return {
        "encode": weights["encode"] + working["encode"],
        "denoise": both + between + max(working["denoise"], combining),
        "decode": both + n_prompts * row_bytes(latent_shape, dtype) + working["decode"],
    }
