"""Text-to-image pipelines of diffusers with few, random weights: every module of the real ones, small."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import diffusers
import tiny_clip_t5_pipelines as text
import tiny_llm_pipelines as llm
import torch
import transformers
from tiny_flux import save_tiny_flux
from tiny_modular_pipelines import MODULAR, save_modular
from tiny_stable_diffusion import save_tiny_stable_diffusion
from torch import nn

# What some pipelines have for pictures of a million pixels, whatever their modules' sizes.
SMALLER: dict[str, dict[str, Any]] = {
    "HiDreamImagePipeline": {"default_sample_size": 8},
    "Kandinsky5T2IPipeline": {"resolutions": [(32, 32)]},
}


def shrink(patch: Any, name: str) -> None:
    """Make every pipeline of that class small, with pytest's MonkeyPatch."""
    kind = getattr(diffusers, name)
    own = kind.__init__

    @wraps(own)
    def smaller(self: Any, *args: Any, **kwargs: Any) -> None:
        own(self, *args, **kwargs)
        for attribute, value in SMALLER.get(name, {}).items():
            setattr(self, attribute, value)

    patch.setattr(kind, "__init__", smaller)


def save_tiny_pipeline(name: str, folder: Path, scheduler: Any = None) -> Path:
    """Write a pipeline of that class to `folder`."""
    if name == "StableDiffusionPipeline":
        return save_tiny_stable_diffusion(folder)
    if name == "FluxPipeline":
        return save_tiny_flux(folder, guidance_embeds=True)
    torch.manual_seed(0)
    parts = {**BUILDERS, **MODULAR}[name]()
    if scheduler is not None:
        parts["scheduler"] = scheduler
    for part in parts.values():
        if isinstance(part, nn.Module):
            part.eval()
            _settle(part)
    if name in MODULAR:
        save_modular(name, parts, folder)
        return folder
    getattr(diffusers, name)(**parts).save_pretrained(folder)
    if name == "PRXPipeline":  # public checkpoints have the whole model's configuration, of which stock takes a half
        own = folder / "text_encoder/config.json"
        encoder = json.loads(own.read_text(encoding="utf-8"))
        whole = transformers.T5GemmaConfig(encoder=encoder, is_encoder_decoder=False)
        own.write_text(json.dumps(whole.to_dict()), encoding="utf-8")
    return folder


def _settle(module: nn.Module) -> None:
    """Give parameters that a constructor leaves as memory was, or at zero, values of their own."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        if not torch.isfinite(parameter).all() or parameter.abs().max() > 10 or not parameter.any():
            parameter.data = torch.randn(parameter.shape, generator=generator).to(parameter) * 0.1


BUILDERS: dict[str, Callable[[], dict[str, Any]]] = {
    "StableDiffusionXLPipeline": text.stable_diffusion_xl,
    "StableDiffusion3Pipeline": text.stable_diffusion_3,
    "QwenImagePipeline": llm.qwen_image,
    "ZImagePipeline": llm.z_image,
    "Flux2Pipeline": llm.flux2,
    "Flux2KleinPipeline": llm.flux2_klein,
    "SanaPipeline": text.sana,
    "PixArtSigmaPipeline": text.pixart_sigma,
    "Lumina2Pipeline": llm.lumina2,
    "CogView4Pipeline": llm.cogview4,
    "ChromaPipeline": text.chroma,
    "HiDreamImagePipeline": text.hidream,
    "HunyuanImagePipeline": llm.hunyuan_image,
    "AuraFlowPipeline": text.aura_flow,
    "Kandinsky5T2IPipeline": text.kandinsky5,
    "Krea2Pipeline": llm.krea2,
    "BriaPipeline": text.bria,
    "PRXPipeline": llm.prx,
}
