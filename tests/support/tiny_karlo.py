"""A Karlo pipeline with few, random weights: every module of the real one, small."""

import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import KandinskyV22PriorPipeline, UnCLIPPipeline, UnCLIPScheduler, UNet2DConditionModel, UNet2DModel
from tiny_kandinsky import tiny_prior

SMALL, LARGE = 16, 32
CHANNELS, CONTEXT = (16, 32), 16


def save_tiny_karlo(folder: Path) -> Path:
    """Writes a pipeline to `folder`."""
    torch.manual_seed(0)
    tiny_karlo(tiny_prior()).save_pretrained(folder)
    return folder


def tiny_karlo(prior: KandinskyV22PriorPipeline) -> UnCLIPPipeline:
    """The text encoder and prior are those of a Kandinsky, which has the same."""
    width = prior.prior.config.embedding_dim
    text_projection = sys.modules[UnCLIPPipeline.__module__].UnCLIPTextProjModel(
        clip_embeddings_dim=width, time_embed_dim=4 * CHANNELS[0], cross_attention_dim=CONTEXT
    )
    text_projection.learned_classifier_free_guidance_embeddings.data.normal_()
    return UnCLIPPipeline(
        prior=prior.prior,
        decoder=_decoder().eval(),
        text_encoder=prior.text_encoder,
        tokenizer=prior.tokenizer,
        text_proj=text_projection.eval(),
        super_res_first=_super_resolution().eval(),
        super_res_last=_super_resolution().eval(),
        prior_scheduler=UnCLIPScheduler(prediction_type="sample", clip_sample_range=5.0),
        decoder_scheduler=UnCLIPScheduler(variance_type="learned_range"),
        super_res_scheduler=UnCLIPScheduler(),
    )


def _decoder() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=SMALL,
        in_channels=3,
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        class_embed_type="identity",
        cross_attention_dim=CONTEXT,
        attention_head_dim=8,
        resnet_time_scale_shift="scale_shift",
        **_small_unet(),
    )


def _super_resolution() -> UNet2DModel:
    return UNet2DModel(
        sample_size=LARGE,
        in_channels=6,
        out_channels=3,
        down_block_types=("ResnetDownsampleBlock2D",) * 2,
        up_block_types=("ResnetUpsampleBlock2D",) * 2,
        add_attention=False,
        **_small_unet(),
    )


def _small_unet() -> dict[str, Any]:
    return {"block_out_channels": CHANNELS, "layers_per_block": 1, "norm_num_groups": 8}
