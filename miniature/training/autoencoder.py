"""The autoencoder: a `VQModel` used as Kandinsky 2.2 uses its MoVQ, without quantising (``force_not_quantize``)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import VQModel
from torch import Tensor

from miniature.pictures import pool
from miniature.training.data import Pictures, training_pictures
from miniature.training.loop import Recipe, fit, pick_device, write_report

LATENT_CHANNELS = 12
RECIPE = Recipe(steps=3_600, batch=16, learning_rate=2e-3, weight_decay=0.0, ema=0.998)


def build() -> VQModel:
    """Return an untrained autoencoder of 64x64 pictures to 8x8 latents of 12 channels."""
    channels = (16, 32, 64, 128)
    return VQModel(
        block_out_channels=channels,
        down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        vq_embed_dim=LATENT_CHANNELS,
        num_vq_embeddings=1,
        norm_num_groups=8,
    )


def encode(model: VQModel, pictures: Tensor) -> Tensor:
    """Return latents [n, 12, 8, 8] of pictures [n, 3, 64, 64] in [-1, 1]."""
    return model.encode(pictures).latents


def decode(model: VQModel, latents: Tensor) -> Tensor:
    return model.decode(latents, force_not_quantize=True, return_dict=False)[0]


@torch.no_grad()
def whiten(model: VQModel, pictures: Pictures) -> None:
    """Fold the latents' mean and spread into the 1x1 convolutions around them.

    Kandinsky's pipeline knows no scaling factor, so that latents must come out with mean 0 and variance 1.
    """
    rows = np.random.default_rng(1).choice(len(pictures), 4096, replace=False)
    latents = torch.cat([encode(model, pictures.tensor(part).to(model.device)) for part in np.array_split(rows, 32)])
    mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    first, last = model.quant_conv, model.post_quant_conv
    first.weight.div_(spread[:, None, None, None])
    first.bias.sub_(mean).div_(spread)
    last.bias.add_(torch.einsum("oc,c->o", last.weight[:, :, 0, 0], mean))
    last.weight.mul_(spread[None, :, None, None])


def decibels(back: Tensor, real: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB of copies [n, 3, H, W] of pictures in [-1, 1], over 8-bit values."""
    error = ((back.clamp(-1, 1) - real) / 2).square().mean((1, 2, 3))
    return float((-10 * torch.log10(error)).mean())


@torch.no_grad()
def psnr(model: VQModel, pixels: Tensor) -> float:
    """Return `decibels` of the reconstructions of pictures."""
    device = model.device
    back = torch.cat([decode(model, encode(model, part.to(device))).cpu() for part in pixels.split(128)])
    return decibels(back, pixels)


def drawing_loss(back: Tensor, real: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Return the squared error, and a little of the edges' absolute error; both pictures in [-1, 1]."""
    error = F.mse_loss(back, real)
    edges = F.l1_loss(back.diff(dim=3), real.diff(dim=3)) + F.l1_loss(back.diff(dim=2), real.diff(dim=2))
    return 10 * error + 0.3 * edges, {"psnr": float(-10 * torch.log10(error.detach() / 4))}


def with_noise(latents: Tensor) -> Tensor:
    """Return latents with noise: the denoiser's are never exact, and a decoder that has seen noise forgives it."""
    return latents + 0.05 * latents.detach().std() * torch.randn_like(latents)


def report(model: VQModel, work: Path) -> None:
    fresh = torch.from_numpy(pool(512, 99, work)[0]).permute(0, 3, 1, 2).float() / 127.5 - 1
    figure = psnr(model, fresh)
    print(f"autoencoder  PSNR {figure:.2f} dB")
    write_report(work, "autoencoder", psnr=figure)


def train(work: Path, steps: int | None = None) -> None:
    """Train both halves together, then give latents of mean 0 and variance 1."""
    recipe = replace(RECIPE, steps=steps or RECIPE.steps)
    pictures = training_pictures(work)
    torch.manual_seed(recipe.seed)
    model, device = build(), pick_device()

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        real = pictures.tensor(rng.integers(len(pictures), size=recipe.batch)).to(device)
        latents = encode(model, real)
        loss, figures = drawing_loss(decode(model, with_noise(latents)).float(), real)
        return loss + 1e-4 * latents.float().square().mean(), figures

    fit("autoencoder", model, loss_of, recipe, work)
    whiten(model, pictures)
    model.save_pretrained(work / "movq", safe_serialization=True)
    report(model, work)
