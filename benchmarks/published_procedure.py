"""The paper's released procedure as it is described, with none of our code: stock pipelines, SciPy and a loop.

One global generator. The prior draws for one prompt after another, then one initial latent is drawn for all; at every
step the clusters that `fcluster` finds are taken by label, 32 at a time, and each batch draws its noise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from torch import Tensor

BATCH = 32


@dataclass(frozen=True)
class Published:
    """Rows are prompts; `pictures` [N, 3, H, W] are in 0..1; `sizes` are the clusters of each step."""

    embeds: Tensor
    latents: Tensor
    pictures: Tensor
    sizes: list[int]


def published(
    prior: Any,
    decoder: Any,
    prompts: list[str],
    *,
    tau: float,
    steps: int,
    guidance: float,
    prior_steps: int,
    prior_guidance: float,
    seed: int,
    height: int,
    width: int,
) -> Published:
    """Pictures of the prompts, of stock `KandinskyV22PriorPipeline` and `KandinskyV22Pipeline` parts."""
    torch.manual_seed(seed)
    asked = {"num_inference_steps": prior_steps, "guidance_scale": prior_guidance}
    both = [torch.cat(prior(prompt, **asked).to_tuple()) for prompt in prompts]
    embeds = torch.stack(both, dim=1)
    latents, sizes = denoised(decoder, embeds, tau=tau, steps=steps, guidance=guidance, height=height, width=width)
    return Published(embeds, latents, decoded(decoder.movq, latents), sizes)


@torch.no_grad()
def denoised(
    decoder: Any,
    embeds: Tensor,
    *,
    tau: float,
    steps: int,
    guidance: float,
    height: int,
    width: int,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, list[int]]:
    """The prompts' latents, and how many clusters each step had.

    Args:
        embeds: [2, N, D], conditional and unconditional.
        generator: the global one unless given.
    """
    Z = linkage(pdist(embeds[0].double().cpu().numpy(), "cosine"), "ward")
    unet = decoder.unet
    scheduler = DDPMScheduler.from_config(decoder.scheduler.config)
    scheduler.set_timesteps(steps, device=unet.device)
    channels, scale = unet.config.in_channels, decoder.movq_scale_factor
    shape, where = (1, channels, height // scale, width // scale), {"device": unet.device, "dtype": unet.dtype}
    latents = torch.randn(shape, generator=generator, **where) * scheduler.init_noise_sigma
    before, sizes = np.ones(embeds.shape[1], dtype=int), []
    for threshold, t in zip(np.linspace(0, tau, steps)[::-1], scheduler.timesteps, strict=True):
        labels = fcluster(Z, threshold, criterion="distance")
        sizes.append(int(labels.max()))
        first = [int(np.flatnonzero(labels == label)[0]) for label in range(1, sizes[-1] + 1)]
        latents = latents[before[first] - 1]
        means = _means(embeds, labels).to(**where)
        parts = []
        for start in range(0, len(latents), BATCH):
            x, (cond, uncond) = latents[start : start + BATCH], means[:, start : start + BATCH]
            output = unet(
                sample=torch.cat([x, x]),
                timestep=t,
                encoder_hidden_states=None,
                added_cond_kwargs={"image_embeds": torch.cat([cond, uncond])},
                return_dict=False,
            )[0]
            noise, variance = output.split(channels, dim=1)
            noise_cond, noise_uncond = noise.chunk(2)
            guided = noise_uncond + guidance * (noise_cond - noise_uncond)
            if scheduler.config.variance_type in ("learned", "learned_range"):
                guided = torch.cat([guided, variance.chunk(2)[0]], dim=1)
            parts.append(scheduler.step(guided, t, x, generator=generator).prev_sample)
        latents, before = torch.cat(parts), labels
    return latents[before - 1], sizes


@torch.no_grad()
def decoded(movq: Any, latents: Tensor) -> Tensor:
    """Pictures in 0..1."""
    pictures = [movq.decode(part, force_not_quantize=True)["sample"] for part in torch.split(latents, BATCH)]
    return (torch.cat(pictures) * 0.5 + 0.5).clamp(0, 1)


def _means(embeds: Tensor, labels: NDArray[np.int32]) -> Tensor:
    """[2, clusters, D]: each cluster's, as differences of float32 running sums over the prompts sorted by cluster."""
    order = np.argsort(labels, kind="stable")
    counts = torch.from_numpy(np.bincount(labels)[1:])
    running = embeds[:, order].float().cumsum(dim=1)
    running = torch.cat([torch.zeros_like(running[:, :1]), running], dim=1)
    ends = counts.cumsum(0)
    sums = running[:, ends] - running[:, ends - counts]
    return (sums / counts[None, :, None].to(sums)).to(embeds.dtype)
