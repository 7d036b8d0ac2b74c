"""What each denoiser is taught is what its scheduler takes: a perfect one leads from noise to the very latents."""

import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, FluxPipeline
from torch import Tensor

import miniature
from miniature.training import flux, karlo, stable_diffusion, super_resolution


@pytest.fixture
def latents() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 12, 8, 8)


def test_stable_diffusion_follows_velocities(latents: Tensor) -> None:
    scheduler = stable_diffusion.scheduler()
    noising = DDPMScheduler.from_config(scheduler.config)
    scheduler.set_timesteps(20)
    x = torch.randn_like(latents)
    for t in scheduler.timesteps:
        signal = noising.alphas_cumprod[t] ** 0.5
        noise = (x - signal * latents) / (1 - signal**2) ** 0.5
        velocity = noising.get_velocity(latents, noise, t.repeat(2))
        x = scheduler.step(velocity, t, x).prev_sample
    assert (x - latents).abs().mean() < 0.05


def test_flux_follows_straight_lines(latents: Tensor) -> None:
    scheduler, real = flux.scheduler(), flux.packed(latents)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / 20, 20), mu=0.5)
    x = noise = torch.randn_like(real)
    for t in scheduler.timesteps:
        x = scheduler.step(noise - real, t, x, return_dict=False)[0]
    torch.testing.assert_close(FluxPipeline._unpack_latents(x, 64, 64, 8), latents, atol=1e-4, rtol=0)


@pytest.mark.parametrize("part", [karlo, super_resolution])
def test_karlo_follows_noise(latents: Tensor, part) -> None:  # type: ignore[no-untyped-def]
    scheduler, real = part.scheduler(), latents[:, :3].clamp(-1, 1)
    scheduler.set_timesteps(20)
    x, timesteps = torch.randn_like(real), scheduler.timesteps
    for k, t in enumerate(timesteps):
        signal = scheduler.alphas_cumprod[t] ** 0.5
        noise = (x - signal * real) / (1 - signal**2) ** 0.5
        output = torch.cat([noise, torch.zeros_like(noise)], 1) if part is karlo else noise
        x = scheduler.step(output, t, x, prev_timestep=timesteps[k + 1] if k + 1 < len(timesteps) else None).prev_sample
    torch.testing.assert_close(x, real, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler"])
@pytest.mark.parametrize("place", ["stable-diffusion/scheduler", "kandinsky/decoder/scheduler"])
def test_a_scheduler_that_takes_the_place_of_a_checkpoint_s_own_does_not_clip_latents(name: str, place: str) -> None:
    """Its class would by default, and latents are beyond -1 and 1: pictures were washed out."""
    folder = Path(miniature.__file__).parent / "checkpoints" / place
    own = json.loads((folder / "scheduler_config.json").read_text())
    assert not getattr(diffusers, name).from_config(own).config.clip_sample


def test_what_is_exported_says_so_too() -> None:
    assert stable_diffusion.scheduler().config.clip_sample is False
