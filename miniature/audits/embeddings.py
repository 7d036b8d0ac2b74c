"""Audits (c) and (d): what the autoencoder loses, and what the prior's embeddings say and leave open."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from miniature.audits.figure import Figure, at_least, below
from miniature.audits.painters import Kandinsky
from miniature.audits.pictures import artwork
from miniature.training.autoencoder import psnr
from miniature.world import caption, random_scene


def autoencoder(painter: Kandinsky, work: Path) -> list[Figure]:
    rng = np.random.default_rng(8)
    return [
        at_least(
            "(c) autoencoder, PSNR in dB",
            psnr(painter.decoder.movq, artwork([random_scene(rng) for _ in range(512)], work)),
            25.0,
        )
    ]


@torch.no_grad()
def prior(painter: Kandinsky, work: Path) -> list[Figure]:
    rng = np.random.default_rng(9)
    scenes = list({caption(s.canonical()): s for s in (random_scene(rng) for _ in range(150))}.values())[:100]
    prompts = [caption(s) for s in scenes]
    seen = F.normalize(painter.prior.image_encoder(pixel_values=artwork(scenes, work)).image_embeds)
    first, second = painter.embeddings(prompts, 1), painter.embeddings(prompts, 2)
    told, again = F.normalize(first[0]), F.normalize(second[0])
    right = float(((told @ seen.T).argmax(1) == torch.arange(100)).float().mean())
    apart = (painter.drawn(first, 1) - painter.drawn(second, 2)).abs().mean((1, 2, 3)) * 127.5
    return [
        at_least("(d) the prior's embedding finds its caption's picture among 100", right, 0.90),
        below("(d) cosine of two samples of one prompt", float((told * again).sum(1).mean()), 0.995),
        at_least("(d) two seeds of one prompt: mean difference of a pixel, of 255", float(apart.mean()), 5.0),
    ]
