"""What a run holds in the accelerator's memory, from shapes alone: weights and latents, not activations."""

from collections.abc import Sequence
from functools import lru_cache
from math import prod

from metrics.flops import Component

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


@lru_cache(maxsize=256)
def parameters(component: Component) -> int:
    """Of the component's module, built on the meta device."""
    import torch

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in component.build().parameters())


def peak_bytes(components: Sequence[Component], latent_shape: Sequence[int], n_prompts: int, dtype: str) -> int:
    """Bytes at most: encoders leave before the denoiser comes, which shares the memory with the decoder.

    Activations are not in it; they grow with the batch, which gives way when memory runs out.

    Args:
        components: what the family calls; those that are never called are not loaded.
        latent_shape: of one row; at the last step every prompt has one.
        dtype: ``fp32``, ``fp16`` or ``bf16``.
    """
    numbers = {"encode": 0, "generate": 0}
    for component in components:
        numbers["encode" if component.phase == "encode" else "generate"] += parameters(component)
    numbers["generate"] += n_prompts * prod(latent_shape)
    return max(numbers.values()) * BYTES[dtype]
