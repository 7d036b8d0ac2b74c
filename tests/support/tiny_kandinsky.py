"""A Kandinsky 2.2 pipeline with few, random weights: every module of the real one, small."""

import string
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDPMScheduler,
    KandinskyV22Pipeline,
    KandinskyV22PriorPipeline,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

WIDTH, TOKENS, SIDE = 32, 24, 32


def save_tiny_kandinsky(folder: Path, levels: int = 2, **scheduler: Any) -> Path:
    """Writes prior/ and decoder/ under `folder`; the UNet has 1 or 2 levels; `scheduler` are DDPMScheduler's arguments.

    With one level the UNet has every kind of layer still, and takes half the time.
    """
    torch.manual_seed(0)
    tiny_prior().save_pretrained(folder / "prior")
    tiny_decoder(levels, **scheduler).save_pretrained(folder / "decoder")
    return folder


def tiny_prior() -> KandinskyV22PriorPipeline:
    tokenizer = _tokenizer()
    prior = PriorTransformer(
        num_attention_heads=2, attention_head_dim=12, num_layers=1, embedding_dim=WIDTH, num_embeddings=TOKENS
    )
    prior.clip_std.data.fill_(1.0)
    prior.clip_mean.data.normal_()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    image = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=28,
        patch_size=14,
        projection_dim=WIDTH,
    )
    return KandinskyV22PriorPipeline(
        prior=prior.eval(),
        text_encoder=CLIPTextModelWithProjection(text).eval(),
        image_encoder=CLIPVisionModelWithProjection(image).eval(),
        tokenizer=tokenizer,
        scheduler=UnCLIPScheduler(prediction_type="sample", clip_sample_range=10.0),
        image_processor=CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
    )


def tiny_decoder(levels: int = 2, **scheduler: Any) -> KandinskyV22Pipeline:
    unet = UNet2DConditionModel(
        sample_size=SIDE // 2,
        in_channels=4,
        out_channels=8,
        addition_embed_type="image",
        encoder_hid_dim_type="image_proj",
        encoder_hid_dim=WIDTH,
        cross_attention_dim=16,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D")[-levels:],
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D")[:levels],
        block_out_channels=(32, 64)[:levels],
        layers_per_block=1,
        attention_head_dim=8,
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=8,
    )
    movq = VQModel(
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(32, 64),
        latent_channels=4,
        vq_embed_dim=4,
        num_vq_embeddings=12,
        norm_num_groups=8,
        norm_type="spatial",
    )
    return KandinskyV22Pipeline(unet=unet.eval(), scheduler=DDPMScheduler(**scheduler), movq=movq.eval())


def _tokenizer() -> CLIPTokenizer:
    specials = ("<|startoftext|>", "<|endoftext|>")
    letters = string.ascii_lowercase + string.digits + string.punctuation
    words = [*specials, *letters, *(letter + "</w>" for letter in letters)]
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=TOKENS)
