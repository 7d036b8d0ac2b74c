"""Stable Diffusion 1.5's UNet, small, on the autoencoder's latents under the text encoder's states."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, PNDMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from miniature.training.autoencoder import LATENT_CHANNELS
from miniature.training.captions import Reader, captions_of
from miniature.training.data import training_pictures
from miniature.training.decoder import cached_latents
from miniature.training.encoders import WIDTH
from miniature.training.loop import Recipe, fit, pick_device
from miniature.training.prior import UNCAPTIONED

RECIPE = Recipe(steps=2_600, batch=96, learning_rate=2e-3, weight_decay=0.0, ema=0.998, newton=3)


def build() -> UNet2DConditionModel:
    """Return a UNet of 12 channels of 8x8 in and out; cross-attention to text at both of its resolutions."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 120),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        attention_head_dim=4,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
    )


def scheduler() -> PNDMScheduler:
    """Return Stable Diffusion's scheduler, but predicting velocity, which few steps and small models take better.

    As Stable Diffusion's own file, it says `clip_sample: false`, which PNDM does not know: DDPM and DDIM, made from it,
    would clip latents to -1 and 1 by default, and wash pictures out.
    """
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    scheduler.register_to_config(clip_sample=False)
    return scheduler


def train(work: Path, steps: int | None = None) -> None:
    recipe = replace(RECIPE, steps=steps or RECIPE.steps)
    pictures, device, reader = training_pictures(work), pick_device(), Reader(work)
    latents, noising = cached_latents(pictures, work), DDPMScheduler.from_config(scheduler().config)
    torch.manual_seed(recipe.seed)
    model = build()
    if device == "cpu":
        model.set_attn_processor(AttnProcessor())  # the fused attention's backward pass is slow there

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        rows = rng.integers(len(latents), size=recipe.batch)
        empty = rng.random(recipe.batch) < UNCAPTIONED
        told = reader.read(captions_of([pictures.scenes[i] for i in rows], empty, rng))
        real = latents[rows].float().to(device)
        t = torch.from_numpy(rng.integers(noising.config.num_train_timesteps, size=recipe.batch)).to(device)
        noise = torch.randn_like(real)
        guess = model(noising.add_noise(real, noise, t), t, told.states).sample
        return F.mse_loss(guess.float(), noising.get_velocity(real, noise, t)), {}

    fit("stable_diffusion", model, loss_of, recipe, work)
    model.save_pretrained(work / "stable-diffusion", safe_serialization=True)
