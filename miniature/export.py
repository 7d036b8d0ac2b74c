"""``python -m miniature.export``: trained parts to checkpoints that stock libraries load, float16 safetensors."""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import KandinskyV22Pipeline, UNet2DConditionModel, VQModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import BlipForQuestionAnswering, CLIPModel, CLIPTokenizer

from common.files import cache_dir
from miniature.pictures import SIDE
from miniature.training import decoder, prior, vqa
from miniature.training.tokenizer import CONTEXT, QUESTION

CHECKPOINTS = Path(__file__).parent / "checkpoints"
# the audits' own; no part of the product
JUDGE = Path(__file__).parent / "judge.safetensors"


def open_clip_layers(state: dict[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    """A tower's transformer blocks under open_clip's names: query, key and value in one matrix."""
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
    """The same encoders under open_clip's names."""
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


def as_float32(value: object) -> object:
    """A configuration that loads its float16 weights as float32, as diffusers' own models load theirs."""
    if isinstance(value, dict):
        return {key: "float32" if key == "dtype" else as_float32(part) for key, part in value.items()}
    return value


def export(work: Path, out: Path) -> None:
    """Write every checkpoint under `out`, replacing what was there."""
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    parts = {name: out / name for name in ("kandinsky", "clip", "vqa")}
    for folder in parts.values():
        shutil.rmtree(folder, ignore_errors=True)
    prior.pipeline(work).to(torch.float16).save_pretrained(parts["kandinsky"] / "prior", safe_serialization=True)
    polished = work / "movq-polished"
    picture = KandinskyV22Pipeline(
        unet=UNet2DConditionModel.from_pretrained(work / "unet"),
        scheduler=decoder.scheduler(),
        movq=VQModel.from_pretrained(polished if polished.exists() else work / "movq"),
    )
    picture.to(torch.float16).save_pretrained(parts["kandinsky"] / "decoder", safe_serialization=True)
    save_open_clip(CLIPModel.from_pretrained(work / "clip"), tokenizer, parts["clip"])
    BlipForQuestionAnswering.from_pretrained(work / "vqa").half().save_pretrained(parts["vqa"], safe_serialization=True)
    vqa.processor(tokenizer).save_pretrained(parts["vqa"])
    (parts["vqa"] / "vqa.json").write_text(json.dumps({"question": QUESTION, "answer": "yes"}))
    for config in out.rglob("config.json"):
        config.write_text(json.dumps(as_float32(json.loads(config.read_text())), indent=2) + "\n")
    shutil.copy(work / "judge.safetensors", JUDGE)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m miniature.export", description=__doc__)
    parser.add_argument("--work", type=Path, default=cache_dir() / "miniature")
    parser.add_argument("--out", type=Path, default=CHECKPOINTS)
    chosen = parser.parse_args()
    export(chosen.work, chosen.out)
    for folder in sorted(chosen.out.iterdir()):
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        print(f"{folder.name:12} {size / 2**20:6.1f} MiB")


if __name__ == "__main__":
    main()
