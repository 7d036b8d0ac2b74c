"""Captions for denoisers that read text, through the contrastive text encoder, whose weights stay as they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPModel

from miniature.training.data import any_caption
from miniature.training.loop import pick_device
from miniature.training.prior import halves
from miniature.training.tokenizer import CONTEXT, train_tokenizer
from miniature.world import Scene


class Told(NamedTuple):
    """The text encoder's outputs for n captions.

    Attributes:
        states: [n, 32, 192] of every token, padding included.
        pooled: [n, 192] of the end token.
        embeds: [n, 192] in the space of image embeddings.
        mask: bool [n, 32], True for a token and False for padding.
    """

    states: Tensor
    pooled: Tensor
    embeds: Tensor
    mask: Tensor


class Reader:
    """The text half of ``work/clip`` with its tokenizer."""

    def __init__(self, work: Path) -> None:
        self.tokenizer, self.device = train_tokenizer(work), pick_device()
        self.encoder = halves(CLIPModel.from_pretrained(work / "clip"))[0].to(self.device)

    @torch.no_grad()
    def read(self, captions: list[str]) -> Told:
        """Return the outputs in float32, on the training device."""
        batch = self.tokenizer(
            captions, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt"
        ).to(self.device)
        out = self.encoder.text_model(batch.input_ids)
        embeds = self.encoder.text_projection(out.pooler_output)
        return Told(
            out.last_hidden_state.float(), out.pooler_output.float(), embeds.float(), batch.attention_mask.bool()
        )


def captions_of(scenes: Sequence[Scene], empty: NDArray[np.bool_], rng: np.random.Generator) -> list[str]:
    """Return a true caption of each scene, or nothing where `empty`: from that the unconditional branch learns."""
    return ["" if left_out else any_caption(scene, rng)[0] for scene, left_out in zip(scenes, empty, strict=True)]
