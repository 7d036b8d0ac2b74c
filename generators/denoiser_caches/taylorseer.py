"""TaylorSeer."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from generators.denoiser_caches.base import DenoiserCache

if TYPE_CHECKING:
    from torch.nn import Module


class TaylorSeer(DenoiserCache):
    """Attention is computed every few steps, and between them forecast by a Taylor series of its outputs."""

    name = "taylorseer"
    source = "TaylorSeerCache of diffusers, arXiv 2503.06923"

    interval: int = Field(5, ge=1, description="compute every so many steps")
    warmup: int = Field(3, ge=1, description="and the first so many")
    order: int = Field(1, ge=0, description="of the series")

    @classmethod
    def unavailable(cls) -> str | None:
        import diffusers.hooks

        return None if hasattr(diffusers.hooks, "TaylorSeerCacheConfig") else "this diffusers has no TaylorSeerCache"

    def install(self, denoiser: "Module", timestep: Callable[[], float]) -> None:
        import torch
        from diffusers.hooks import TaylorSeerCacheConfig, apply_taylorseer_cache

        config = TaylorSeerCacheConfig(
            cache_interval=self.interval,
            disable_cache_before_step=self.warmup,
            max_order=self.order,
            taylor_factors_dtype=torch.float32,
        )
        apply_taylorseer_cache(denoiser, config)
