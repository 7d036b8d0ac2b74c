"""First Block Cache."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from generators.denoiser_caches.base import DenoiserCache

if TYPE_CHECKING:
    from torch.nn import Module


class FirstBlock(DenoiserCache):
    """All blocks but the first are skipped where the first one's residual is nearly that of the last computed step."""

    name = "first-block"
    source = "FirstBlockCache of diffusers, after ParaAttention and TeaCache (arXiv 2411.19108)"

    threshold: float = Field(0.05, ge=0, description="the relative change of the first block's residual below which")

    def install(self, denoiser: "Module", timestep: Callable[[], float]) -> None:
        from diffusers.hooks import FirstBlockCacheConfig, apply_first_block_cache
        from diffusers.hooks._common import _ALL_TRANSFORMER_BLOCK_IDENTIFIERS

        if not any(name in _ALL_TRANSFORMER_BLOCK_IDENTIFIERS for name, _ in denoiser.named_children()):
            raise TypeError("it is no stack of transformer blocks")
        apply_first_block_cache(denoiser, FirstBlockCacheConfig(threshold=self.threshold))
