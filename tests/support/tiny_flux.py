"""A FLUX pipeline with few, random weights: every module of the real one, small."""

from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from tiny_parts import TOKENS, WIDTH, clip, clip_tokenizer, t5, t5_tokenizer, vae

T5_WIDTH, SIDE = 40, 16

# Of the schedulers that FLUX.1-dev and FLUX.1-schnell come with.
DEV_SCHEDULE = {"shift": 3.0, "use_dynamic_shifting": True}
SCHNELL_SCHEDULE = {"shift": 1.0, "use_dynamic_shifting": False}


def save_tiny_flux(folder: Path, guidance_embeds: bool, scheduler: Any = None) -> Path:
    """Writes a pipeline to `folder`: FLUX.1-dev's kind, or schnell's without the guidance embedding."""
    torch.manual_seed(0)
    schedule = DEV_SCHEDULE if guidance_embeds else SCHNELL_SCHEDULE
    tokenizer, tokenizer_2 = clip_tokenizer(), t5_tokenizer()
    FluxPipeline(
        scheduler=scheduler or FlowMatchEulerDiscreteScheduler(**schedule),
        vae=vae(sample_size=SIDE, use_quant_conv=False, use_post_quant_conv=False).eval(),
        text_encoder=clip(tokenizer, tokens=TOKENS).eval(),
        tokenizer=tokenizer,
        text_encoder_2=t5(tokenizer_2, width=T5_WIDTH).eval(),
        tokenizer_2=tokenizer_2,
        transformer=tiny_transformer(guidance_embeds),
    ).save_pretrained(folder)
    return folder


def tiny_transformer(guidance_embeds: bool) -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 4, 8),
    ).eval()
