"""The drawing half of the autoencoder goes on learning while its latents, and so the denoiser's world, stand still."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import VQModel
from torch import Tensor

from miniature.training.autoencoder import POLISH, decode, drawing_loss, report, with_noise
from miniature.training.data import training_pictures
from miniature.training.decoder import cached_latents
from miniature.training.loop import fit, pick_device


def train(work: Path, steps: int | None = None) -> None:
    """From ``work/movq`` to ``work/movq-polished``: the same encoder, a better decoder."""
    recipe = replace(POLISH, steps=steps or POLISH.steps)
    pictures, device = training_pictures(work), pick_device()
    latents = cached_latents(pictures, work)
    model = VQModel.from_pretrained(work / "movq")
    for part in (model.encoder, model.quant_conv, model.quantize):
        part.requires_grad_(False)
    torch.manual_seed(recipe.seed)

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        rows = rng.integers(len(pictures), size=recipe.batch)
        back = decode(model, with_noise(latents[rows].float().to(device))).float()
        return drawing_loss(back, pictures.tensor(rows).to(device))

    fit("polish", model, loss_of, recipe, work)
    model.save_pretrained(work / "movq-polished", safe_serialization=True)
    report(model, work)
