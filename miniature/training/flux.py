"""FLUX.1's transformer, small, on the autoencoder's packed latents, with a T5 text encoder that learns beside it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from miniature.training.autoencoder import LATENT_CHANNELS
from miniature.training.captions import Reader, captions_of
from miniature.training.data import training_pictures
from miniature.training.decoder import UNCONDITIONAL, cached_latents
from miniature.training.encoders import WIDTH
from miniature.training.loop import Recipe, fit, pick_device
from miniature.training.t5_tokenizer import LONGEST, train_t5_tokenizer

RECIPE = Recipe(steps=2_400, batch=96, learning_rate=2e-3, weight_decay=0.0, ema=0.998, newton=3)
# FLUX has guidance distilled into it. So has this, without a second model: once it can paint, its target is the true
# velocity plus this share of what the caption changes in its own (arXiv 2502.12154), which settles where guidance of
# 1 / (1 - share) would be
GUIDED_FROM, GUIDED = 0.6, 0.6
PATCH = 2  # latent pixels, in either direction, in one token of the transformer
TEXT_WIDTH = 128


def build() -> FluxTransformer2DModel:
    """Return a transformer of 16 tokens of 48 channels in and out, without guidance embedding, as FLUX.1-schnell's."""
    return FluxTransformer2DModel(
        in_channels=LATENT_CHANNELS * PATCH**2,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=32,
        num_attention_heads=6,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )


def build_text(tokenizer: T5Tokenizer) -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=TEXT_WIDTH,
        d_kv=32,
        d_ff=3 * TEXT_WIDTH,
        num_layers=4,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return T5EncoderModel._from_config(config, attn_implementation="eager" if pick_device() == "cpu" else "sdpa")


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Return FLUX.1-schnell's scheduler: with so few tokens nothing is gained by shifting steps towards noise."""
    return FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False)


def packed(latents: Tensor) -> Tensor:
    """Return latents [n, 12, 8, 8] as the transformer takes them: [n, 16, 48]."""
    return FluxPipeline._pack_latents(latents, *latents.shape)


def train(work: Path, steps: int | None = None) -> None:
    recipe = replace(RECIPE, steps=steps or RECIPE.steps)
    pictures, device, reader = training_pictures(work), pick_device(), Reader(work)
    latents, tokenizer = cached_latents(pictures, work), train_t5_tokenizer(work)
    torch.manual_seed(recipe.seed)
    transformer, text_encoder = build(), build_text(tokenizer)
    if device == "cpu":
        transformer.set_attention_backend("_native_math")  # the fused attention's backward pass is slow there
    side = latents.shape[-1] // PATCH
    places = FluxPipeline._prepare_latent_image_ids(1, side, side, device, torch.float32)
    nowhere = torch.zeros(LONGEST, 3, device=device)

    def velocity(under_way: Tensor, time: Tensor, told: list[str]) -> Tensor:
        # as the stock pipeline calls it: padding is read like words
        ids = tokenizer(told, padding="max_length", max_length=LONGEST, truncation=True, return_tensors="pt").input_ids
        said: Tensor = transformer(
            hidden_states=under_way,
            timestep=time,  # which the transformer multiplies by 1000
            pooled_projections=reader.read(told).pooled,
            encoder_hidden_states=text_encoder(ids.to(device)).last_hidden_state,
            txt_ids=nowhere,
            img_ids=places,
        ).sample
        return said.float()

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        rows = rng.integers(len(latents), size=recipe.batch)
        empty = rng.random(recipe.batch) < UNCONDITIONAL
        told = captions_of([pictures.scenes[i] for i in rows], empty, rng)
        real = packed(latents[rows].float().to(device))
        noise, time = torch.randn_like(real), torch.randn(recipe.batch, device=device).sigmoid()
        share = time[:, None, None]
        under_way = (1 - share) * real + share * noise
        guess, target = velocity(under_way, time, told), noise - real
        if step >= GUIDED_FROM * recipe.steps:
            with torch.no_grad():
                untold = velocity(under_way, time, [""] * recipe.batch)
                target = target + GUIDED * (guess - untold)  # of an empty caption, nothing
        return F.mse_loss(guess, target), {}

    fit("flux", nn.ModuleDict({"transformer": transformer, "text_encoder": text_encoder}), loss_of, recipe, work)
    transformer.save_pretrained(work / "flux" / "transformer", safe_serialization=True)
    text_encoder.save_pretrained(work / "flux" / "text_encoder_2", safe_serialization=True)
