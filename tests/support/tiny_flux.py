"""A FLUX pipeline with few, random weights: every module of the real one, small."""

import string
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

CLIP_WIDTH, CLIP_TOKENS, T5_WIDTH, SIDE = 32, 24, 40, 16

# Of the schedulers that FLUX.1-dev and FLUX.1-schnell come with.
DEV_SCHEDULE = {"shift": 3.0, "use_dynamic_shifting": True}
SCHNELL_SCHEDULE = {"shift": 1.0, "use_dynamic_shifting": False}


def save_tiny_flux(folder: Path, guidance_embeds: bool, scheduler: Any = None) -> Path:
    """Writes a pipeline to `folder`: FLUX.1-dev's kind, or schnell's without the guidance embedding."""
    torch.manual_seed(0)
    schedule = DEV_SCHEDULE if guidance_embeds else SCHNELL_SCHEDULE
    tokenizer, tokenizer_2 = tiny_clip_tokenizer(), tiny_t5_tokenizer()
    FluxPipeline(
        scheduler=scheduler or FlowMatchEulerDiscreteScheduler(**schedule),
        vae=tiny_vae(),
        text_encoder=tiny_clip(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=tiny_t5(tokenizer_2),
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
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 4, 8),
    ).eval()


def tiny_vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(16, 32),
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIDE,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def tiny_clip(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=CLIP_WIDTH,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CLIP_TOKENS,
        projection_dim=CLIP_WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config).eval()


def tiny_t5(tokenizer: T5Tokenizer) -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=T5_WIDTH,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return T5EncoderModel(config).eval()


def tiny_clip_tokenizer() -> CLIPTokenizer:
    specials = ("<|startoftext|>", "<|endoftext|>")
    letters = string.ascii_lowercase + string.digits + string.punctuation
    words = [*specials, *letters, *(letter + "</w>" for letter in letters)]
    vocab = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=CLIP_TOKENS)


def tiny_t5_tokenizer() -> T5Tokenizer:
    """A letter, or the beginning of a word, is a token."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase, *string.punctuation]
    return T5Tokenizer(vocab=[(piece, 0.0) for piece in pieces], extra_ids=0, model_max_length=512)
