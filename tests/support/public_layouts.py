"""Tiny checkpoints laid out as the public repositories are: their file names, shards, old keys, tokenizers, decoys."""

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file
from tiny_flux import save_tiny_flux
from tiny_kandinsky import save_tiny_kandinsky, tiny_prior
from tiny_karlo import tiny_karlo
from tiny_stable_diffusion import save_tiny_stable_diffusion
from tiny_stable_unclip import as_published, save_tiny_stable_unclip

KANDINSKY = ("kandinsky-community/kandinsky-2-2-prior", "kandinsky-community/kandinsky-2-2-decoder")
SD15, KARLO = "stable-diffusion-v1-5/stable-diffusion-v1-5", "kakaobrain/karlo-v1-alpha"
UNCLIP, FLUX = "sd2-community/stable-diffusion-2-1-unclip-small", "black-forest-labs/FLUX.1-schnell"
# Of the attention of VAEs that diffusers 0.6 saved.
OLD_KEYS = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
PICKLE = b"no pickle, and never to be read as one"


def kandinsky(folder: Path) -> dict[str, Path]:
    """Write prior and decoder."""
    save_tiny_kandinsky(folder, variance_type="learned_range", clip_sample=False)
    parts = {KANDINSKY[0]: folder / "prior", KANDINSKY[1]: folder / "decoder"}
    for part in parts.values():
        _as_published(part)
    return parts


def stable_diffusion(folder: Path) -> dict[str, Path]:
    """Write Stable Diffusion 1.5: half-precision and pickled weights too, a safety checker, an old VAE."""
    save_tiny_stable_diffusion(folder)
    _as_published(folder)
    _edit(folder / "model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    _edit(folder / "model_index.json", feature_extractor=["transformers", "CLIPImageProcessor"])
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({_old(key): value for key, value in load_file(weights).items()}, weights, {"format": "pt"})
    for part in ("unet", "vae", "text_encoder"):
        half(folder / part, keep=True)
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "config.json").write_text("{}")
    (folder / "safety_checker" / "model.safetensors").write_bytes(bytes(1000))
    (folder / "v1-5-pruned-emaonly.safetensors").write_bytes(bytes(1000))
    return {SD15: folder}


def unclip(folder: Path) -> dict[str, Path]:
    """Write Stable unCLIP without a prior, and a whole Karlo of other weights; both name libraries that are gone."""
    stable, _ = as_published(save_tiny_stable_unclip(folder / "complete"), folder)
    shutil.rmtree(folder / "karlo")
    tiny_karlo(tiny_prior()).save_pretrained(folder / "karlo")
    _edit(folder / "karlo" / "model_index.json", text_proj=["unclip", "UnCLIPTextProjModel"])
    for part in (stable, folder / "karlo"):
        _as_published(part)
    return {UNCLIP: stable, KARLO: folder / "karlo"}


def flux(folder: Path) -> dict[str, Path]:
    """Write FLUX.1-schnell: bf16 shards, a fast and a slow tokenizer, the single files beside them."""
    from diffusers import FluxTransformer2DModel

    save_tiny_flux(folder, guidance_embeds=False)
    transformer = FluxTransformer2DModel.from_pretrained(folder / "transformer")
    shutil.rmtree(folder / "transformer")
    transformer.save_pretrained(folder / "transformer", max_shard_size="30KB")
    (folder / "tokenizer_2" / "spiece.model").write_bytes(PICKLE)
    (folder / "flux1-schnell.safetensors").write_bytes(bytes(2000))
    return {FLUX: folder}


def half(component: Path, *, keep: bool) -> None:
    """Store a component's weights in half precision too, or `keep` only those; pickles beside them are decoys."""
    for plain in list(component.glob("*model.safetensors")):
        named = plain.with_name(plain.name.replace(".safetensors", ".fp16.safetensors"))
        save_file({key: value.half() for key, value in load_file(plain).items()}, named, {"format": "pt"})
        for pickled in (plain, named):
            pickled.with_name(pickled.name.replace(".safetensors", ".bin")).write_bytes(PICKLE)
        if not keep:
            plain.unlink()


def _as_published(folder: Path) -> None:
    """Make the tokenizers slow ones alone, and the versions old ones."""
    for tokenizer in folder.glob("*tokenizer*/tokenizer.json"):
        model = json.loads(tokenizer.read_text())["model"]
        (tokenizer.parent / "vocab.json").write_text(json.dumps(model["vocab"]))
        (tokenizer.parent / "merges.txt").write_text("#version: 0.2\n")
        tokenizer.unlink()
    for config in folder.glob("*/config.json"):
        if "_diffusers_version" in json.loads(config.read_text()):
            _edit(config, _diffusers_version="0.6.0")
    (folder / "README.md").write_text("---\nlicense: openrail\n---\n")


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _old(key: str) -> str:
    for new, old in OLD_KEYS.items():
        if ".attentions." in key:
            key = key.replace(f".{new}.", f".{old}.")
    return key
