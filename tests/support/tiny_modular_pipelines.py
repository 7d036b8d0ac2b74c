"""The components of small pipelines that diffusers has as modular ones alone, and such pipelines saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import transformers
from tiny_parts import flow, letters, qwen3, t5_tokenizer, vae_qwen


def anima() -> dict[str, Any]:
    reading = t5_tokenizer()
    return {
        "transformer": diffusers.CosmosTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=24,
            num_layers=2,
            mlp_ratio=2.0,
            text_embed_dim=16,
            adaln_lora_dim=8,
            max_size=(4, 32, 32),
            extra_pos_embed_type=None,
        ),
        "text_conditioner": diffusers.AnimaTextConditioner(
            source_dim=16,
            target_dim=16,
            model_dim=16,
            num_layers=1,
            num_attention_heads=2,
            target_vocab_size=len(reading),
            min_sequence_length=128,
        ),
        "vae": vae_qwen(),
        "scheduler": flow(shift=3.0),
        "text_encoder": qwen3(transformers.Qwen3Model),
        "tokenizer": letters(),
        "t5_tokenizer": reading,
    }


MODULAR: dict[str, Callable[[], dict[str, Any]]] = {"AnimaModularPipeline": anima}


def save_modular(name: str, parts: dict[str, Any], folder: Path) -> None:
    """Write a modular pipeline of that class, as diffusers saves one, with these components."""
    pipeline = getattr(diffusers, name)()
    pipeline.update_components(**parts)
    pipeline.save_pretrained(str(folder), overwrite_modular_index=True)


def stock_modular_of(folder: Path, torch_dtype: Any = None) -> Any:
    """The stock modular pipeline of a folder, all its workflows, but for the step that rewrites prompts."""
    pipeline = diffusers.ModularPipeline.from_pretrained(str(folder))
    pipeline._blocks.sub_blocks.pop("prompt_upsampler", None)
    pipeline.load_components(torch_dtype=torch_dtype)
    return pipeline
