"""Stable Diffusion 1.5, computed as diffusers' own pipeline computes it."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from inspect import signature
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.errors import UserError
from generators.batching import Batches
from generators.checkpoints import load_pipeline
from generators.component import Component
from generators.conditioning import Conditioning
from generators.families.encoding import cut_note, errors_alone
from generators.families.one_pipeline import ROLE, OnePipeline
from generators.families.stable import (
    ENCODE_BATCH,
    decoder_component,
    denoiser_component,
    encoded,
    guided_noise,
    kept,
    latent_shape,
    listed,
    pictures,
    text_encoder_component,
    text_features,
    text_rows,
    trained_size,
)
from generators.model_entry import ModelEntry, models
from generators.sampler import Draw, Sampler
from generators.settings import GenerationSettings

PIPELINE = "StableDiffusionPipeline"
MENDED = {"steps_offset": 1, "clip_sample": False}


class StableDiffusion(OnePipeline[GenerationSettings]):
    """Stable Diffusion 1.5: a UNet denoises latents under CLIP's text states, a VAE turns them into a picture.

    Follows `StableDiffusionPipeline` of diffusers operation by operation, without its safety checker, so that the
    same noise gives the same bits. A cluster's text states are its prompts' means, position by position; the UNet
    attends to padding as well, so no position is masked.
    """

    name = "stable-diffusion"
    layout = f"a diffusers {PIPELINE}"
    pipelines = (PIPELINE,)
    unused: ClassVar[Mapping[str, tuple[str, ...]]] = {
        PIPELINE: ("safety_checker", "feature_extractor", "image_encoder")
    }
    features_options = ("pooled", "flattened", "mean_token")
    conditioned_on = "text"

    @classmethod
    def described(cls, name: str, sources: dict[str, str]) -> ModelEntry:
        """Return it with the settings of Stable Diffusion 1.5, at the size the UNet was trained for."""
        entry = models()["sd15"].model_copy(update={"name": name, "description": "", "sources": sources})
        return entry.model_copy(update={"defaults": {**entry.defaults, **trained_size(entry)}})

    @property
    def encoder(self) -> Any:
        """The stock pipeline's tokenizer and text encoder."""
        if self._encoders is None:
            self._encoders = self._only("tokenizer", "text_encoder")
        return self._encoders

    @cached_property
    def denoiser(self) -> Any:
        """The stock pipeline's UNet and VAE."""
        return self._only("unet", "vae")

    @property
    def network(self) -> nn.Module:
        module: nn.Module = self.denoiser.unet
        return module

    def _only(self, *wanted: str) -> Any:
        source = self.entry.source(ROLE)
        parts = kept(self.entry, listed(source), wanted)
        with errors_alone("diffusers.pipelines.stable_diffusion"):  # it has no safety checker
            return load_pipeline(PIPELINE, source, self.dtype, self.device, parts, self.offload, self.entry.variant)

    def encode(
        self,
        prompts: Sequence[str],
        keys: Sequence[str],
        settings: GenerationSettings,
        batches: Batches | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Conditioning:
        """Encode by `text_rows`; prompts that are too long are cut, and `batches.notes` says how many."""
        batches, negative = batches or Batches(ENCODE_BATCH), settings.negative_prompt
        batches.notes += cut_note(self.encoder.tokenizer, "prompt", prompts)
        batches.notes += cut_note(self.encoder.tokenizer, "negative prompt", [negative])
        return encoded(
            prompts,
            batches,
            on_progress,
            lambda rows: text_rows(self.encoder, list(prompts[rows]), negative, self.device),
        )

    def features(self, conditioning: Conditioning, option: str) -> NDArray[np.float64]:
        if option not in self.features_options:
            raise UserError(f"{self.name} has no features {option!r}", "known: " + ", ".join(self.features_options))
        return text_features(conditioning, option)

    def sampler(self, settings: GenerationSettings) -> Sampler:
        config = self.entry.config(ROLE, "scheduler", "scheduler_config.json")
        return Sampler(_mended(config, settings.scheduler), settings.scheduler, settings.steps, self.device)

    def latent_shape(self, settings: GenerationSettings) -> tuple[int, ...]:
        return latent_shape(self.entry, settings)

    @torch.no_grad()
    def predict(
        self, latents: Tensor, k: int, sampler: Sampler, rows: dict[str, Tensor], settings: GenerationSettings
    ) -> Tensor:
        states = rows["text_states"]
        if _guided(settings, self.denoiser.unet.config):
            states = torch.cat([rows["negative_text_states"], states])
        return guided_noise(
            self.denoiser.unet,
            latents,
            k,
            sampler,
            states,
            settings.guidance,
            timestep_cond=self._embedded_guidance(latents, settings),
        )

    def _embedded_guidance(self, latents: Tensor, settings: GenerationSettings) -> Tensor | None:
        """Return what a UNet distilled with its guidance takes in place of unconditional rows; None for others."""
        width = self.denoiser.unet.config.time_cond_proj_dim
        if width is None:
            return None
        scales = torch.tensor(settings.guidance - 1).repeat(len(latents))
        embedding: Tensor = self.denoiser.get_guidance_scale_embedding(scales, embedding_dim=width)
        return embedding.to(latents)

    def decode(self, latents: Tensor, settings: GenerationSettings, draw: Draw) -> NDArray[np.uint8]:
        return pictures(self.denoiser, latents)

    @classmethod
    def components_of(cls, model: ModelEntry, settings: GenerationSettings) -> list[Component]:
        unet = model.config(ROLE, "unet")
        width = unet.get("time_cond_proj_dim")
        further = {} if width is None else {"timestep_cond": (1, width)}
        return [
            text_encoder_component(model),
            denoiser_component(model, settings, 2 if _guided(settings, unet) else 1, **further),
            decoder_component(model, settings),
        ]


def _guided(settings: GenerationSettings, unet: Mapping[str, Any]) -> bool:
    """Return whether every step takes unconditional rows as well."""
    return settings.guidance > 1 and unet.get("time_cond_proj_dim") is None


def _mended(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a scheduler's configuration as stock changes it on loading where it is older than these two keys.

    Another class that takes the scheduler's place (as `pipeline.scheduler = Other.from_config(...)`) gets the change
    only of keys that the file has: diffusers does not hand on defaults.
    """
    import diffusers

    own = getattr(diffusers, str(config.get("_class_name")), None)
    if own is None:
        return config
    known = {*config, *(signature(own).parameters if name == "default" else ())}
    return {**config, **{key: value for key, value in MENDED.items() if key in known}}
