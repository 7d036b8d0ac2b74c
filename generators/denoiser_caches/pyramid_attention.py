"""Pyramid Attention Broadcast."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from generators.denoiser_caches.base import DenoiserCache

if TYPE_CHECKING:
    from torch.nn import Module


class PyramidAttention(DenoiserCache):
    """Attention is computed every few steps and its output reused between, in a range of timesteps."""

    name = "pyramid-attention"
    source = "PyramidAttentionBroadcast of diffusers, arXiv 2408.12588"

    every: int = Field(2, ge=1, description="compute self-attention, or joint attention, every so many steps")
    cross_every: int | None = Field(None, ge=1, description="the same of cross-attention; null: always")
    earliest: float = Field(800, description="timesteps (of 1000) from this on are computed")
    latest: float = Field(100, description="and those up to this")

    def install(self, denoiser: "Module", timestep: Callable[[], float]) -> None:
        from diffusers.hooks import PyramidAttentionBroadcastConfig, apply_pyramid_attention_broadcast

        within = (self.latest, self.earliest)
        config = PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=self.every,
            cross_attention_block_skip_range=self.cross_every,
            spatial_attention_timestep_skip_range=within,
            cross_attention_timestep_skip_range=within,
            current_timestep_callback=timestep,
        )
        apply_pyramid_attention_broadcast(denoiser, config)
