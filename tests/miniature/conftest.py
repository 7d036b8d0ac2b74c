"""The miniature's models at their own sizes and random weights, for what must hold before anything is learned."""

from pathlib import Path

import pytest
import torch
from transformers import CLIPTokenizer

from miniature.export import CHECKPOINTS, export
from miniature.training import (
    autoencoder,
    decoder,
    encoders,
    flux,
    karlo,
    prior,
    stable_diffusion,
    super_resolution,
    z_image,
)
from miniature.training.chat_tokenizer import train_chat_tokenizer
from miniature.training.t5_tokenizer import train_t5_tokenizer


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder as training leaves it, but for what the weights know."""
    work = tmp_path_factory.mktemp("work")
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(CHECKPOINTS / "kandinsky" / "prior" / "tokenizer")
    tokenizer.save_pretrained(work / "tokenizer")
    models = {
        "clip": encoders.build(tokenizer),
        "movq": autoencoder.build(),
        "prior": prior.build(),
        "unet": decoder.build(),
        "stable-diffusion": stable_diffusion.build(),
        "stable-diffusion-shared": stable_diffusion.build(),
        "flux/transformer": flux.build(),
        "flux/text_encoder_2": flux.build_text(train_t5_tokenizer(work)),
        "z-image/transformer": z_image.build(),
        "z-image/text_encoder": z_image.build_text(train_chat_tokenizer(work)),
        "karlo/decoder": karlo.build(),
        "karlo/text_proj": karlo.build_projection(),
        "karlo/super_res_first": super_resolution.build(),
        "karlo/super_res_last": super_resolution.build(),
    }
    for name, built in models.items():
        built.save_pretrained(work / name)
    return work


@pytest.fixture(scope="session")
def exported(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints made of it."""
    out = tmp_path_factory.mktemp("checkpoints")
    export(work, out)
    return out
