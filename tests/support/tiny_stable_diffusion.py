"""A Stable Diffusion pipeline with few, random weights: every module of the real one, small."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tiny_parts import TOKENS, WIDTH, clip, clip_tokenizer, vae
from transformers import CLIPTextModel, CLIPTokenizer

SIDE = 16


def save_tiny_stable_diffusion(folder: Path, scheduler: Any = None, **unet: Any) -> Path:
    """Writes a pipeline to `folder`; `unet` are further arguments of its UNet."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    StableDiffusionPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=tiny_unet(**unet),
        scheduler=scheduler or PNDMScheduler(**SD_SCHEDULE, skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


# Of the scheduler that Stable Diffusion 1.5 comes with.
SD_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def tiny_unet(**further: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **{
            "sample_size": SIDE // 2,
            "block_out_channels": (32, 64),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "cross_attention_dim": WIDTH,
            "attention_head_dim": 4,
            "norm_num_groups": 8,
            **further,
        }
    ).eval()


def tiny_vae() -> AutoencoderKL:
    return vae(shift_factor=None, scaling_factor=0.18215).eval()


def tiny_text_encoder(tokenizer: CLIPTokenizer, kind: Any = CLIPTextModel) -> Any:
    return clip(tokenizer, kind, tokens=TOKENS).eval()
