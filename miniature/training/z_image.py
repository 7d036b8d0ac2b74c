"""Z-Image's transformer, small, on the autoencoder's latents, with a Qwen3 that learns to read beside it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler, ZImageTransformer2DModel
from torch import Tensor, nn
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

from miniature.training.autoencoder import LATENT_CHANNELS
from miniature.training.captions import captions_of
from miniature.training.chat_tokenizer import READ, train_chat_tokenizer
from miniature.training.data import training_pictures
from miniature.training.decoder import UNCONDITIONAL, cached_latents
from miniature.training.loop import Recipe, fit, pick_device

RECIPE = Recipe(steps=2_400, batch=96, learning_rate=2e-3, weight_decay=0.0, ema=0.998, newton=3)
TEXT_WIDTH = 128


def build() -> ZImageTransformer2DModel:
    """Return a transformer of 16 tokens of 48 numbers in and out, filled up to 32, and as many of text."""
    return ZImageTransformer2DModel(
        in_channels=LATENT_CHANNELS,
        dim=192,
        n_layers=4,
        n_refiner_layers=1,
        n_heads=6,
        n_kv_heads=6,
        cap_feat_dim=TEXT_WIDTH,
        axes_dims=[8, 12, 12],
        axes_lens=[1024, 32, 32],
    )


def build_text(tokenizer: Qwen2Tokenizer) -> Qwen3Model:
    """Return a language model of four layers, whose last nobody hears: the pipeline takes the states before it."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=3 * TEXT_WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=READ,
        use_cache=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Qwen3Model._from_config(config, attn_implementation="eager" if pick_device() == "cpu" else "sdpa")


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Return Z-Image's scheduler, unshifted: with so few tokens nothing is gained by shifting steps towards noise."""
    return FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False)


def train(work: Path, steps: int | None = None) -> None:
    recipe = replace(RECIPE, steps=steps or RECIPE.steps)
    pictures, device = training_pictures(work), pick_device()
    latents, tokenizer = cached_latents(pictures, work), train_chat_tokenizer(work)
    torch.manual_seed(recipe.seed)
    transformer, text_encoder = build(), build_text(tokenizer)
    if device == "cpu":
        transformer.set_attention_backend("_native_math")  # the fused attention's backward pass is slow there

    def read(told: list[str]) -> list[Tensor]:
        # as the stock pipeline reads, without the padding that it leaves out again
        chats = [[{"role": "user", "content": caption}] for caption in told]
        asked = [
            tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, enable_thinking=True)
            for chat in chats
        ]
        batch = tokenizer(asked, padding=True, return_tensors="pt").to(device)
        states = text_encoder(**batch, output_hidden_states=True).hidden_states[-2]
        return [row[:length] for row, length in zip(states, batch.attention_mask.sum(1).tolist(), strict=True)]

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        rows = rng.integers(len(latents), size=recipe.batch)
        empty = rng.random(recipe.batch) < UNCONDITIONAL
        told = captions_of([pictures.scenes[i] for i in rows], empty, rng)
        real = latents[rows].float().to(device)
        noise, time = torch.randn_like(real), torch.randn(recipe.batch, device=device).sigmoid()
        share = time[:, None, None, None]
        under_way = (1 - share) * real + share * noise
        # its clock runs from noise to picture, and so does its velocity
        guess = transformer(list(under_way.unsqueeze(2)), 1 - time, read(told), return_dict=False)[0]
        return F.mse_loss(torch.stack(guess).squeeze(2).float(), real - noise), {}

    fit("z_image", nn.ModuleDict({"transformer": transformer, "text_encoder": text_encoder}), loss_of, recipe, work)
    transformer.save_pretrained(work / "z-image" / "transformer", safe_serialization=True)
    text_encoder.save_pretrained(work / "z-image" / "text_encoder", safe_serialization=True)
