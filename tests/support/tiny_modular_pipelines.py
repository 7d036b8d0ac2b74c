"""The components of small pipelines that diffusers has as modular ones alone, and such pipelines saved."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import transformers
from tiny_llm_pipelines import flux2_parts
from tiny_parts import LANGUAGE, VISION, VOCABULARY, flow, letters, qwen3, t5_tokenizer, vae_qwen


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


def flux3(*, flow_map: bool = False) -> dict[str, Any]:
    width, layers = LANGUAGE["hidden_size"], 32  # of which the states of eight are read, up to the last
    config = transformers.Qwen3VLConfig(
        text_config={**LANGUAGE, "num_hidden_layers": layers, "head_dim": 8, "vocab_size": VOCABULARY},
        vision_config={**VISION, "out_hidden_size": width},
        image_token_id=270,
        video_token_id=271,
        vision_start_token_id=272,
        vision_end_token_id=273,
    )
    reading = letters()
    return {
        "transformer": diffusers.Flux3Transformer2DModel(
            in_channels=16,
            cond_in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=8 * width,
            timestep_channels=32,
            axes_dims_rope=(4, 4, 4, 4),
            flow_map=flow_map,
        ),
        "vae": flux2_parts()["vae"],
        "text_encoder": transformers.Qwen3VLForConditionalGeneration(config),
        "tokenizer": transformers.Qwen3VLProcessor(
            transformers.Qwen2VLImageProcessor(),
            reading,
            transformers.Qwen3VLVideoProcessor(),
            chat_template=reading.chat_template,
        ),
    }


MODULAR: dict[str, Callable[[], dict[str, Any]]] = {
    "AnimaModularPipeline": anima,
    "Flux3ModularPipeline": flux3,
    "Flux3DistilledModularPipeline": partial(flux3, flow_map=True),
}


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
