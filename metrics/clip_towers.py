"""An open_clip folder whose weights are stored elsewhere, as the two encoders of a diffusers pipeline."""

from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.files import atomic_path, atomic_write, cache_dir, canonical_json, parse_json, sha256_text, sha256_tree

if TYPE_CHECKING:
    from torch import Tensor

TOWERS = "towers.json"
ENCODERS = ("text_encoder", "image_encoder")
BORROWED = (*ENCODERS, "tokenizer")
WEIGHTS = "open_clip_model.safetensors"


def assembled(folder: Path) -> Path:
    """Return the folder as open_clip loads it: itself, or one in the cache if its `TOWERS` name other folders.

    These are transformers' ``text_encoder`` and ``image_encoder``, and the ``tokenizer``, each relative to the folder;
    beside them is the ``logit_scale``. What is assembled is the same file by file, wherever it was stored.

    Raises:
        UserError: one of those folders is missing or holds something else.
    """
    if not (folder / TOWERS).is_file():
        return folder
    try:
        towers = parse_json((folder / TOWERS).read_text(encoding="utf-8"))
        places = {name: (folder / towers[name]).resolve(strict=True) for name in BORROWED}
        parts = {name: sha256_tree(place) for name, place in places.items()}
        target = cache_dir() / "open_clip" / sha256_text(canonical_json([sha256_tree(folder), parts]))[:16]
        if not (target / WEIGHTS).is_file():  # which is written last
            for kept in (*folder.iterdir(), *places["tokenizer"].iterdir()):
                if kept.is_file() and kept.name != TOWERS:
                    atomic_write(target / kept.name, kept.read_bytes())
            _write_weights(places, float(towers["logit_scale"]), target / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"cannot assemble the CLIP encoder {folder} from what its {TOWERS} names: {error}",
            "copy it together with those folders, and let the cache be written to",
        ) from error
    return target


def _write_weights(places: dict[str, Path], logit_scale: float, file: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    state = {
        name: tensor for part in ENCODERS for name, tensor in load_file(places[part] / "model.safetensors").items()
    }
    state["logit_scale"] = torch.tensor(logit_scale, dtype=next(iter(state.values())).dtype)
    with atomic_path(file) as beside:
        save_file(open_clip_state(state), beside)


def open_clip_state(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Return the weights of transformers' CLIPModel under open_clip's names."""
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
    named |= _layers(state, "text_model", "") | _layers(state, "vision_model", "visual.")
    return {name: tensor.contiguous() for name, tensor in named.items()}


def _layers(state: "dict[str, Tensor]", theirs: str, ours: str) -> "dict[str, Tensor]":
    """Return a tower's transformer blocks under open_clip's names: query, key and value in one matrix."""
    import torch

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
