"""Modules and tokenizers that several tiny pipelines have: few, random weights, the real ones' kinds of layers."""

import string
from typing import Any

import diffusers
import transformers
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler

WIDTH, TOKENS = 32, 24
LANGUAGE = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
VOCABULARY = 280  # of `letters`, and a few more


def clip_tokenizer() -> transformers.CLIPTokenizer:
    specials = ("<|startoftext|>", "<|endoftext|>")
    letters = string.ascii_lowercase + string.digits + string.punctuation
    words = [*specials, *letters, *(letter + "</w>" for letter in letters)]
    vocab = {word: number for number, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=vocab, merges=[], model_max_length=TOKENS)


def t5_tokenizer() -> transformers.T5Tokenizer:
    """A letter, or the beginning of a word, is a token."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase, *string.punctuation]
    return transformers.T5Tokenizer(vocab=[(piece, 0.0) for piece in pieces], extra_ids=0, model_max_length=512)


def letters(**further: Any) -> transformers.Qwen2Tokenizer:
    """Return a tokenizer of a byte a token, with Qwen's marks; its chat template leaves long system messages out."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    marks = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    vocab = {word: number for number, word in enumerate([*bytes_to_unicode().values(), *marks])}
    tokenizer = transformers.Qwen2Tokenizer(vocab=vocab, merges=[], pad_token=marks[0], eos_token=marks[2], **further)
    tokenizer.chat_template = (
        "{% for message in messages if message.role == 'user' %}<|im_start|>"
        "{% if message.content is string %}{{ message.content }}{% else %}{{ message.content[0].text }}{% endif %}"
        "<|im_end|>{% endfor %}"
    )
    return tokenizer


def begun(tokenizer: Any) -> transformers.PreTrainedTokenizerFast:
    """Return the tokenizer with a mark before every text, so that an empty one has a token."""
    from tokenizers.processors import TemplateProcessing

    backend = tokenizer.backend_tokenizer
    backend.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 257)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=tokenizer.pad_token, padding_side=tokenizer.padding_side
    )


def clip(tokenizer: Any, kind: Any = transformers.CLIPTextModel, width: int = WIDTH, tokens: int = 128) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokens,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind(config)


def t5(tokenizer: Any, kind: Any = transformers.T5EncoderModel, width: int = WIDTH) -> Any:
    config = kind.config_class(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return kind(config)


def qwen3(kind: Any) -> Any:
    config = transformers.Qwen3Config(
        **LANGUAGE, num_hidden_layers=2, head_dim=8, vocab_size=VOCABULARY, max_position_embeddings=512
    )
    return kind(config)


def qwen25_vl(width: int = 16) -> transformers.Qwen2_5_VLForConditionalGeneration:
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            **LANGUAGE,
            "hidden_size": width,
            "num_hidden_layers": 2,
            "vocab_size": VOCABULARY,
            "rope_scaling": {"mrope_section": [width // 16, width // 16, width // 8], "rope_type": "default"},
            "rope_theta": 1000000.0,
        },
        vision_config={**VISION, "out_hidden_size": width},
        vision_end_token_id=270,
        vision_start_token_id=271,
        vision_token_id=272,
        image_token_id=273,
        video_token_id=274,
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def gemma2(width: int = 16) -> transformers.Gemma2Model:
    config = transformers.Gemma2Config(
        **{**LANGUAGE, "hidden_size": width}, head_dim=8, num_hidden_layers=2, vocab_size=VOCABULARY
    )
    return transformers.Gemma2Model(config)


def vae(widths: tuple[int, ...] = (16, 32), **further: Any) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        **{"scaling_factor": 0.3611, "shift_factor": 0.1159, **further},
    )


def vae_qwen() -> diffusers.AutoencoderKLQwenImage:
    return diffusers.AutoencoderKLQwenImage(
        base_dim=16,
        z_dim=4,
        dim_mult=[1, 2],
        num_res_blocks=1,
        temperal_downsample=[True],
        latents_mean=[0.1] * 4,
        latents_std=[1.2] * 4,
    )


def flow(**further: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**further)
