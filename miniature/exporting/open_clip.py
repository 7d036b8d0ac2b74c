"""The contrastive encoders as an open_clip checkpoint, float16 safetensors with the tokenizer beside it."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from miniature.pictures import SIDE
from miniature.training.tokenizer import CONTEXT


def open_clip_layers(state: dict[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    """Return a tower's transformer blocks under open_clip's names: query, key and value in one matrix."""
    named = {}
    count = 1 + max(int(key.split(".")[3]) for key in state if key.startswith(f"{theirs}.encoder.layers."))
    for i in range(count):
        block, to = f"{theirs}.encoder.layers.{i}", f"{ours}transformer.resblocks.{i}"
        for kind in ("weight", "bias"):
            three = [state[f"{block}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            named[f"{to}.attn.in_proj_{kind}"] = torch.cat(three)
            named[f"{to}.attn.out_proj.{kind}"] = state[f"{block}.self_attn.out_proj.{kind}"]
            for there, here in (
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ):
                named[f"{to}.{here}.{kind}"] = state[f"{block}.{there}.{kind}"]
    return named


def open_clip_state(clip: CLIPModel) -> dict[str, Tensor]:
    """Return the same encoders under open_clip's names."""
    state = clip.state_dict()
    direct = {
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "ln_final.weight": "text_model.final_layer_norm.weight",
        "ln_final.bias": "text_model.final_layer_norm.bias",
        "logit_scale": "logit_scale",
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
        "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
        "visual.ln_post.weight": "vision_model.post_layernorm.weight",
        "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    }
    named = {to: state[key] for to, key in direct.items()}
    named |= {"text_projection": state["text_projection.weight"].T, "visual.proj": state["visual_projection.weight"].T}
    return named | open_clip_layers(state, "text_model", "") | open_clip_layers(state, "vision_model", "visual.")


def open_clip_config(clip: CLIPModel) -> dict[str, object]:
    text, vision = clip.config.text_config, clip.config.vision_config
    return {
        "model_cfg": {
            "embed_dim": clip.config.projection_dim,
            "vision_cfg": {
                "image_size": SIDE,
                "patch_size": vision.patch_size,
                "width": vision.hidden_size,
                "layers": vision.num_hidden_layers,
                "head_width": vision.hidden_size // vision.num_attention_heads,
            },
            "text_cfg": {
                "context_length": CONTEXT,
                "vocab_size": text.vocab_size,
                "width": text.hidden_size,
                "heads": text.num_attention_heads,
                "layers": text.num_hidden_layers,
                "hf_tokenizer_name": "tokenizer beside this file",
            },
        },
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"},
    }


def save_open_clip(clip: CLIPModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    folder.mkdir(parents=True)
    save_file(
        {key: value.half().contiguous() for key, value in open_clip_state(clip).items()},
        folder / "open_clip_model.safetensors",
    )
    (folder / "open_clip_config.json").write_text(json.dumps(open_clip_config(clip), indent=1))
    tokenizer.save_pretrained(folder)
