"""The decoder: Kandinsky 2.2's UNet, small, on the autoencoder's latents, conditioned on an image embedding alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel, VQModel
from diffusers.models.attention_processor import AttnAddedKVProcessor
from torch import Tensor
from transformers import CLIPModel

from common.files import atomic_path
from miniature.pictures import SIDE
from miniature.training.autoencoder import LATENT_CHANNELS, encode
from miniature.training.data import Pictures, training_pictures
from miniature.training.encoders import WIDTH, embed_pictures
from miniature.training.loop import Recipe, fit, pick_device
from miniature.training.prior import cached_embeddings

RECIPE = Recipe(steps=3_300, batch=96, learning_rate=2e-3, weight_decay=0.0, ema=0.998, newton=3)
UNCONDITIONAL = 0.1
EMBEDDING_NOISE = 0.1


def build() -> UNet2DConditionModel:
    """Return a UNet of 12 channels in, 24 out (Kandinsky's also has a variance that its scheduler does not use)."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=LATENT_CHANNELS,
        out_channels=2 * LATENT_CHANNELS,
        block_out_channels=(128, 192),
        layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=32,
        norm_num_groups=16,
        cross_attention_dim=WIDTH,
        encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        addition_embed_type_num_heads=6,
    )


def scheduler() -> DDPMScheduler:
    """Return a scheduler of Kandinsky 2.2's noise that predicts velocity, which few steps and small models take better.

    Latents have unit variance, so predictions must not be clipped to [-1, 1] as pixels would be.
    """
    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="linear",
        prediction_type="v_prediction",
        clip_sample=False,
        timestep_spacing="trailing",
    )


def cached_latents(pictures: Pictures, work: Path) -> Tensor:
    """Return the training pictures' latents, float16 [N, 12, 8, 8]; computed once."""
    store = work / "latents.npy"
    if not store.exists():
        model = VQModel.from_pretrained(work / "movq").to(pick_device()).eval()
        parts = np.array_split(np.arange(len(pictures)), len(pictures) // 256)
        with torch.no_grad(), atomic_path(store) as beside, beside.open("wb") as file:
            np.save(
                file,
                torch.cat([encode(model, pictures.tensor(p).to(model.device)).half().cpu() for p in parts]).numpy(),
            )
    return torch.from_numpy(np.load(store, allow_pickle=False))


def train(work: Path, steps: int | None = None) -> None:
    recipe = replace(RECIPE, steps=steps or RECIPE.steps)
    pictures, device = training_pictures(work), pick_device()
    clip = CLIPModel.from_pretrained(work / "clip").eval()
    embeddings, latents = cached_embeddings(clip, pictures, work), cached_latents(pictures, work)
    # what the stock prior pipeline feeds as "no picture": the embedding of zeros
    nothing = embed_pictures(clip, torch.zeros(1, 3, SIDE, SIDE))
    alpha_bar = scheduler().alphas_cumprod.to(device)
    torch.manual_seed(recipe.seed)
    model = build()
    if device == "cpu":
        model.set_attn_processor(AttnAddedKVProcessor())  # the fused attention's backward pass is slow there

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        rows = rng.integers(len(embeddings), size=recipe.batch)
        told = embeddings[rows] + EMBEDDING_NOISE * torch.randn(recipe.batch, WIDTH)
        told = torch.where(torch.from_numpy(rng.random((recipe.batch, 1)) < UNCONDITIONAL), nothing, told).to(device)
        real = latents[rows].float().to(device)
        t = torch.from_numpy(rng.integers(len(alpha_bar), size=recipe.batch)).to(device)
        signal, spread = alpha_bar[t].sqrt()[:, None, None, None], (1 - alpha_bar[t]).sqrt()[:, None, None, None]
        noise = torch.randn_like(real)
        guess = model(signal * real + spread * noise, t, None, added_cond_kwargs={"image_embeds": told}).sample
        return F.mse_loss(guess[:, :LATENT_CHANNELS].float(), signal * noise - spread * real), {}

    fit("decoder", model, loss_of, recipe, work)
    model.save_pretrained(work / "unet", safe_serialization=True)
