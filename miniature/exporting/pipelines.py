"""The trained parts as diffusers pipelines, without the components that they borrow from each other."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    KandinskyV22Pipeline,
    PriorTransformer,
    StableDiffusionPipeline,
    UnCLIPPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, Qwen3Model, T5EncoderModel

from miniature.exporting.autoencoder_kl import as_autoencoder_kl
from miniature.pictures import SIDE
from miniature.training import decoder, flux, karlo, prior, stable_diffusion, super_resolution, z_image
from miniature.training.chat_tokenizer import train_chat_tokenizer
from miniature.training.t5_tokenizer import train_t5_tokenizer


def save(pipeline: DiffusionPipeline, folder: Path, **borrowed: type) -> None:
    """Write a pipeline in float16; its index also names the classes of what it borrows, which is not written."""
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    index = folder / "model_index.json"
    named = {name: [kind.__module__.partition(".")[0], kind.__name__] for name, kind in borrowed.items()}
    index.write_text(json.dumps(json.loads(index.read_text()) | named, indent=2, sort_keys=True) + "\n")


def save_kandinsky(work: Path, folder: Path) -> None:
    save(prior.pipeline(work), folder / "prior")
    picture = KandinskyV22Pipeline(
        unet=UNet2DConditionModel.from_pretrained(work / "unet"),
        scheduler=decoder.scheduler(),
        movq=VQModel.from_pretrained(work / "movq"),
    )
    save(picture, folder / "decoder")


def save_stable_diffusion(work: Path, folder: Path) -> None:
    pipeline = StableDiffusionPipeline(
        vae=as_autoencoder_kl(VQModel.from_pretrained(work / "movq"), SIDE),
        unet=UNet2DConditionModel.from_pretrained(work / "stable-diffusion"),
        scheduler=stable_diffusion.scheduler(),
        **absent("text_encoder", "tokenizer", "safety_checker", "feature_extractor"),
        requires_safety_checker=False,
    )
    save(pipeline, folder, text_encoder=CLIPTextModel, tokenizer=CLIPTokenizer)


def save_stable_diffusion_shared(work: Path, folder: Path) -> None:
    pipeline = StableDiffusionPipeline(
        unet=UNet2DConditionModel.from_pretrained(work / "stable-diffusion-shared"),
        scheduler=stable_diffusion.scheduler(),
        **absent("vae", "text_encoder", "tokenizer", "safety_checker", "feature_extractor"),
        requires_safety_checker=False,
    )
    save(pipeline, folder, text_encoder=CLIPTextModel, tokenizer=CLIPTokenizer, vae=AutoencoderKL)


def save_flux(work: Path, folder: Path) -> None:
    pipeline = FluxPipeline(
        transformer=FluxTransformer2DModel.from_pretrained(work / "flux" / "transformer"),
        text_encoder_2=T5EncoderModel.from_pretrained(work / "flux" / "text_encoder_2"),
        tokenizer_2=train_t5_tokenizer(work),
        scheduler=flux.scheduler(),
        **absent("text_encoder", "tokenizer", "vae"),
    )
    save(pipeline, folder, text_encoder=CLIPTextModel, tokenizer=CLIPTokenizer, vae=AutoencoderKL)


def save_z_image(work: Path, folder: Path) -> None:
    pipeline = ZImagePipeline(
        transformer=ZImageTransformer2DModel.from_pretrained(work / "z-image" / "transformer"),
        text_encoder=Qwen3Model.from_pretrained(work / "z-image" / "text_encoder"),
        tokenizer=train_chat_tokenizer(work),
        scheduler=z_image.scheduler(),
        **absent("vae"),
    )
    save(pipeline, folder, vae=AutoencoderKL)


def save_karlo(work: Path, folder: Path) -> None:
    parts = work / "karlo"
    pipeline = UnCLIPPipeline(
        decoder=UNet2DConditionModel.from_pretrained(parts / "decoder"),
        text_proj=karlo.text_projection_class().from_pretrained(parts / "text_proj"),
        super_res_first=UNet2DModel.from_pretrained(parts / "super_res_first"),
        super_res_last=UNet2DModel.from_pretrained(parts / "super_res_last"),
        prior_scheduler=prior.scheduler(),
        decoder_scheduler=karlo.scheduler(),
        super_res_scheduler=super_resolution.scheduler(),
        **absent("prior", "text_encoder", "tokenizer"),
    )
    save(pipeline, folder, prior=PriorTransformer, text_encoder=CLIPTextModelWithProjection, tokenizer=CLIPTokenizer)


def absent(*components: str) -> dict[str, Any]:
    return dict.fromkeys(components)
