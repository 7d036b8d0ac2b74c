"""Karlo's super-resolution, small: two UNets that enlarge a picture of 32x32 pixels to 64x64, a diffusion of its own.

As in Karlo, the first makes all steps but the last; the second, which starts from the first's weights, makes that one
and mends what they left.
"""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UnCLIPScheduler, UNet2DModel
from torch import Tensor, nn

from miniature.pictures import SIDE, pool
from miniature.training.autoencoder import decibels
from miniature.training.data import Pictures, training_pictures
from miniature.training.loop import Recipe, fit, pick_device, write_report

RECIPE = Recipe(steps=900, batch=32, learning_rate=2e-3, weight_decay=0.0, ema=0.998)
LAST = Recipe(steps=400, batch=32, learning_rate=1e-3, weight_decay=0.0, ema=0.998, seed=1)
SMALL = SIDE // 2
# of the catalogue's mini-karlo
STEPS = 4


def build() -> UNet2DModel:
    """Return a UNet of 6 channels in, the picture under way and the small one enlarged; 3 out, the noise."""
    return UNet2DModel(
        sample_size=SIDE,
        in_channels=6,
        out_channels=3,
        block_out_channels=(16, 24, 48),
        layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D",) * 3,
        up_block_types=("ResnetUpsampleBlock2D",) * 3,
        add_attention=False,
        norm_num_groups=4,
    )


def scheduler() -> UnCLIPScheduler:
    """Return Karlo's scheduler."""
    return UnCLIPScheduler(variance_type="fixed_small_log")


def shrunk(pictures: Tensor) -> Tensor:
    """Return pictures [n, 3, 64, 64] at half their size."""
    return F.avg_pool2d(pictures, SIDE // SMALL)


def enlarged(small: Tensor) -> Tensor:
    """Return pictures [n, 3, 32, 32] at twice their size, as `UnCLIPPipeline` enlarges them: bicubically."""
    return F.interpolate(small, size=(SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True)


@torch.no_grad()
def sketched(first: nn.Module, wide: Tensor, steps: int = STEPS) -> Tensor:
    """Run all steps of `UnCLIPPipeline`'s super-resolution but the last on bicubic enlargements [n, 3, 64, 64]."""
    noise = scheduler()
    noise.set_timesteps(steps)
    image = torch.randn_like(wide)
    for t, after in pairwise(noise.timesteps):
        guess = first(torch.cat([image, wide], 1), t).sample.float()
        image = noise.step(guess, t, image, prev_timestep=after).prev_sample
    return image


@torch.no_grad()
def super_resolved(first: nn.Module, last: nn.Module, small: Tensor, steps: int = STEPS) -> Tensor:
    """Return pictures [n, 3, 64, 64] of small ones, as `UnCLIPPipeline` makes them."""
    wide = enlarged(small)
    image = sketched(first, wide, steps)
    guess = last(torch.cat([image, wide], 1), 0).sample
    return scheduler().step(guess, 0, image).prev_sample


def train_first(model: UNet2DModel, pictures: Pictures, recipe: Recipe, work: Path) -> None:
    noising, device = scheduler(), pick_device()

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        real, wide = drawn(pictures, rng, recipe.batch, device)
        t = torch.from_numpy(rng.integers(noising.config.num_train_timesteps, size=recipe.batch)).to(device)
        noise = torch.randn_like(real)
        guess = model(torch.cat([noising.add_noise(real, noise, t), wide], 1), t).sample
        return F.mse_loss(guess.float(), noise), {}

    fit("super_res_first", model, loss_of, recipe, work)


def train_last(model: UNet2DModel, first: UNet2DModel, pictures: Pictures, recipe: Recipe, work: Path) -> None:
    """Teach the last step what is wrong with the picture that the first UNet's steps leave.

    So little noise is left by then that the scheduler, which takes the output for noise, subtracts 1/150 of it: the
    model learns the mistake itself, and its last layer is scaled up when it has.
    """
    signal = float(scheduler().alphas_cumprod[0])
    device = pick_device()
    first.to(device)

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        real, wide = drawn(pictures, rng, recipe.batch, device)
        image = sketched(first, wide)
        mistake = model(torch.cat([image, wide], 1), 0).sample.float()
        error = F.mse_loss(image - mistake, signal**0.5 * real)
        return error, {"psnr": float(-10 * torch.log10(error.detach() / 4))}

    fit("super_res_last", model, loss_of, recipe, work)
    with torch.no_grad():
        for parameter in model.conv_out.parameters():
            parameter.div_((1 - signal) ** 0.5)


def drawn(pictures: Pictures, rng: np.random.Generator, count: int, device: str) -> tuple[Tensor, Tensor]:
    """Return pictures and their small versions' enlargements; small ones are a bit noisy, as the decoder's may be."""
    real = pictures.tensor(rng.integers(len(pictures), size=count)).to(device)
    small = shrunk(real)
    return real, enlarged(small + 0.03 * torch.randn_like(small))


@torch.no_grad()
def gain(first: nn.Module, last: nn.Module, real: Tensor, steps: int = STEPS) -> float:
    """Return by how many dB super-resolution is nearer to pictures [n, 3, 64, 64] than bicubic enlargement is."""
    small = shrunk(real)
    made = torch.cat([super_resolved(first, last, part, steps) for part in small.split(64)])
    return decibels(made, real) - decibels(enlarged(small), real)


def train(work: Path, steps: int | None = None) -> None:
    recipes = [replace(recipe, steps=steps or recipe.steps) for recipe in (RECIPE, LAST)]
    pictures = training_pictures(work)
    torch.manual_seed(RECIPE.seed)
    first, last = build(), build()
    train_first(first, pictures, recipes[0], work)
    last.load_state_dict(first.state_dict())
    train_last(last, first, pictures, recipes[1], work)
    first.save_pretrained(work / "karlo" / "super_res_first", safe_serialization=True)
    last.save_pretrained(work / "karlo" / "super_res_last", safe_serialization=True)
    fresh = torch.from_numpy(pool(256, 98, work)[0]).permute(0, 3, 1, 2).float() / 127.5 - 1
    figure = gain(first.cpu(), last.cpu(), fresh)
    print(f"super_resolution  {figure:+.2f} dB beside bicubic enlargement")
    write_report(work, "super_resolution", gain=figure)
