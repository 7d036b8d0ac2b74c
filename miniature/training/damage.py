"""Damage that pictures take when steps are saved, imitated without a denoiser: blends, blur, noise, bad latents."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import VQModel
from numpy.typing import NDArray
from torch import Tensor

from common.files import atomic_path
from miniature.training.autoencoder import decode, encode
from miniature.training.data import Pictures
from miniature.training.loop import pick_device

DECODED = 12_000


def blur(pictures: Tensor, factor: int) -> Tensor:
    """Return pictures at a `factor`-th of their size, drawn large again."""
    small = F.avg_pool2d(pictures, factor)
    return F.interpolate(small, scale_factor=factor, mode="bilinear", align_corners=False)


def spoil(pictures: Tensor, others: Tensor, rng: np.random.Generator) -> Tensor:
    """Return each picture blended with another, blurred or drowned in coarse noise: its caption is no longer true."""
    spoilt = pictures.clone()
    for i in range(len(pictures)):
        match rng.integers(3):
            case 0:
                part = rng.uniform(0.35, 0.6)
                spoilt[i] = (1 - part) * pictures[i] + part * others[i]
            case 1:
                spoilt[i] = blur(pictures[i : i + 1], int(rng.choice([8, 16])))[0]
            case _:
                coarse = torch.randn(1, 3, 16, 16) * float(rng.uniform(0.5, 0.9))
                spoilt[i] = (
                    pictures[i] * 0.8 + F.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False)[0]
                )
    return spoilt.clamp(-1, 1)


@torch.no_grad()
def decoded(pictures: Pictures, work: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures as the autoencoder draws them, whole and spoilt; computed once.

    Returns:
        rows [n] into `pictures`; uint8 [n, 64, 64, 3] drawn from their latents with a little noise; the same drawn
        from latents half way to another picture's, or under much noise.
    """
    store = work / "decoded.npz"
    if not store.exists():
        model = VQModel.from_pretrained(work / "movq").to(pick_device()).eval()
        rng = np.random.default_rng(7)
        torch.manual_seed(7)
        rows = rng.choice(len(pictures), DECODED, replace=False)
        whole: list[NDArray[np.uint8]] = []
        spoilt: list[NDArray[np.uint8]] = []
        for part in np.array_split(rows, DECODED // 100):
            real = encode(model, pictures.tensor(part).to(model.device))
            other = real[torch.from_numpy(rng.permutation(len(part)))]
            mixed = torch.from_numpy(rng.random((len(part), 1, 1, 1)) < 0.6).to(real.device)
            share = torch.from_numpy(rng.uniform(0.4, 0.6, (len(part), 1, 1, 1))).to(real)
            strong = torch.from_numpy(rng.uniform(0.9, 1.4, (len(part), 1, 1, 1))).to(real)
            broken = torch.where(
                mixed, (1 - share) * real + share * other, 0.7 * real + strong * torch.randn_like(real)
            )
            for latents, kept in ((real + 0.1 * torch.randn_like(real), whole), (broken, spoilt)):
                drawn = (decode(model, latents).clamp(-1, 1) + 1) * 127.5
                kept.append(drawn.round().byte().permute(0, 2, 3, 1).cpu().numpy())
        with atomic_path(store) as beside:
            np.savez(beside, rows=rows, whole=np.concatenate(whole), spoilt=np.concatenate(spoilt))
    found = np.load(store, allow_pickle=False)
    return torch.from_numpy(found["rows"]), torch.from_numpy(found["whole"]), torch.from_numpy(found["spoilt"])
