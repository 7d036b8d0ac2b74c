"""Karlo's decoder, small: a UNet that paints 32x32 pixels from an image embedding and the text it was made of."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UnCLIPPipeline, UnCLIPScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnAddedKVProcessor
from torch import Tensor, nn
from transformers import CLIPModel

from miniature.training.captions import Reader, captions_of
from miniature.training.data import training_pictures
from miniature.training.decoder import EMBEDDING_NOISE, UNCONDITIONAL
from miniature.training.encoders import WIDTH
from miniature.training.loop import Recipe, fit, pick_device
from miniature.training.prior import cached_embeddings
from miniature.training.super_resolution import SMALL, shrunk

RECIPE = Recipe(steps=3_200, batch=64, learning_rate=2e-3, weight_decay=0.0, ema=0.998, newton=3)
TEXT_WIDTH, TIME_WIDTH = 128, 128


def build() -> UNet2DConditionModel:
    """Return a UNet of 3 channels in, 6 out: the noise, and a variance that stays the geometric mean of its bounds."""
    model = UNet2DConditionModel(
        sample_size=SMALL,
        in_channels=3,
        out_channels=6,
        block_out_channels=(32, 48, 80, 112),
        layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D",) * 2 + ("SimpleCrossAttnDownBlock2D",) * 2,
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D",) * 2 + ("ResnetUpsampleBlock2D",) * 2,
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=16,
        norm_num_groups=8,
        class_embed_type="identity",
        cross_attention_dim=TEXT_WIDTH,
        time_embedding_dim=TIME_WIDTH,
    )
    with torch.no_grad():
        for parameter in model.conv_out.parameters():
            parameter[3:] = 0
    return model


def text_projection_class() -> Any:
    """Return `UnCLIPTextProjModel`, which diffusers exports nowhere: it lies where the pipeline does."""
    return sys.modules[UnCLIPPipeline.__module__].UnCLIPTextProjModel


def build_projection() -> Any:
    """Return the module that makes the UNet's context of image embedding, pooled text and text states."""
    return text_projection_class()(clip_embeddings_dim=WIDTH, time_embed_dim=TIME_WIDTH, cross_attention_dim=TEXT_WIDTH)


def scheduler() -> UnCLIPScheduler:
    """Return Karlo's scheduler."""
    return UnCLIPScheduler(variance_type="learned_range")


def train(work: Path, steps: int | None = None) -> None:
    recipe = replace(RECIPE, steps=steps or RECIPE.steps)
    pictures, device, reader, noising = training_pictures(work), pick_device(), Reader(work), scheduler()
    embeddings = cached_embeddings(CLIPModel.from_pretrained(work / "clip").eval(), pictures, work)
    torch.manual_seed(recipe.seed)
    model, projection = build(), build_projection()
    if device == "cpu":
        model.set_attn_processor(AttnAddedKVProcessor())  # the fused attention's backward pass is slow there

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        rows = rng.integers(len(embeddings), size=recipe.batch)
        empty = rng.random(recipe.batch) < UNCONDITIONAL
        told = reader.read(captions_of([pictures.scenes[i] for i in rows], empty, rng))
        seen = (embeddings[rows] + EMBEDDING_NOISE * torch.randn(recipe.batch, WIDTH)).to(device)
        no_picture = torch.from_numpy(empty[:, None]).to(device)
        states, additive = projection(
            image_embeddings=torch.where(no_picture, projection.learned_classifier_free_guidance_embeddings, seen),
            prompt_embeds=told.embeds,
            text_encoder_hidden_states=told.states,
            do_classifier_free_guidance=False,  # the unconditional rows are in the batch
        )
        real = shrunk(pictures.tensor(rows)).to(device)
        t = torch.from_numpy(rng.integers(noising.config.num_train_timesteps, size=recipe.batch)).to(device)
        noise = torch.randn_like(real)
        guess = model(
            noising.add_noise(real, noise, t),
            t,
            states,
            class_labels=additive,
            attention_mask=F.pad(told.mask, (projection.clip_extra_context_tokens, 0), value=True),
        ).sample
        return F.mse_loss(guess[:, :3].float(), noise), {}

    fit("karlo", nn.ModuleDict({"decoder": model, "text_proj": projection}), loss_of, recipe, work)
    model.save_pretrained(work / "karlo" / "decoder", safe_serialization=True)
    projection.save_pretrained(work / "karlo" / "text_proj", safe_serialization=True)
