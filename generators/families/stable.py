"""The second stage of Stable unCLIP: CLIP's text states, a UNet under them, a VAE between latents and pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.errors import UserError
from generators.checkpoints import load_config
from generators.component import Component, diffusers_module, transformers_module
from generators.families.base import ENCODE_BATCH, ROLE, pictures_of
from generators.families.heard import Listener
from generators.model_entry import ModelEntry
from generators.overflow import refuse_overflow, within
from generators.sampler import Sampler
from generators.settings import GenerationSettings

CLIP_TOKENS = 77
# The stock pipelines refuse other sizes whatever their VAE's scale is.
STOCK_UNIT = 8


def kept(model: ModelEntry, components: Sequence[str], wanted: Sequence[str]) -> dict[str, str | None]:
    """Return `load_pipeline`'s parts of a pipeline of which only the wanted components are loaded."""
    borrowed = {name: place for name, place in model.borrowed.items() if name in wanted}
    return {**{name: None for name in components if name not in wanted}, **borrowed}


def listed(source: str) -> list[str]:
    """Return the components that the pipeline's model_index.json names, loaded or not."""
    index = load_config(source, "", "model_index.json")
    return [name for name, value in index.items() if isinstance(value, list)]


@torch.no_grad()
def text_rows(pipeline: Any, prompts: list[str], negative: str, device: torch.device) -> dict[str, Tensor]:
    """Return one batch's text conditioning by the stock pipeline's own `encode_prompt`.

    The negative prompt is encoded by itself, so that all prompts have the same row in whatever batch they are, and so
    has every cluster of them.

    Returns:
        ``text_states`` and ``negative_text_states`` [b, L, D]; ``pooled`` [b, D], what the text model pools, in other
        words the state of the end token; ``token_mask`` [b, L], 1 for a token of the prompt and 0 for padding.
    """
    listener = Listener(pipeline)
    with listener.batch():
        states, _ = pipeline.encode_prompt(prompts, device, 1, False)
    unconditional, _ = pipeline.encode_prompt([negative], device, 1, False)
    return {
        "text_states": states,
        "negative_text_states": unconditional.expand(len(prompts), -1, -1),
        **listener.rows(prompts, states.shape[1]),
    }


def text_features(tensors: Mapping[str, Tensor], option: str) -> NDArray[np.float64]:
    """Return the text's [n, D]: ``pooled``, ``flattened`` (all states in a row), ``mean_token`` (over the tokens)."""
    if option == "pooled":
        return tensors["pooled"].double().numpy()
    states = tensors["text_states"].double()
    if option == "flattened":
        return states.flatten(1).numpy()
    mask = tensors["token_mask"].double()[:, :, None]
    means: NDArray[np.float64] = ((states * mask).sum(1) / mask.sum(1)).numpy()
    return means


def guided_noise(
    unet: nn.Module, latents: Tensor, k: int, sampler: Sampler, text_states: Tensor, guidance: float, **further: Any
) -> Tensor:
    """Return the UNet's prediction at step k, guided where `text_states` has twice the rows, unconditional first."""
    guided = len(text_states) > len(latents)
    noise: Tensor = unet(
        sampler.scale_input(torch.cat([latents] * 2) if guided else latents, k),
        sampler.timesteps[k],
        encoder_hidden_states=text_states.to(latents),
        return_dict=False,
        **further,
    )[0]
    if not guided:
        return noise
    unconditional, conditional = noise.chunk(2)
    return unconditional + guidance * (conditional - unconditional)


@torch.no_grad()
def pictures(pipeline: Any, latents: Tensor) -> NDArray[np.uint8]:
    """Return the VAE's pictures of finished latents, uint8 [b, height, width, 3].

    Raises:
        NotFiniteError: some of them are none.
    """
    vae = pipeline.vae
    latents = latents.to(pipeline._execution_device, vae.dtype)
    image = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
    refuse_overflow(within(image))
    values: NDArray[np.float32] = pipeline.image_processor.postprocess(image, output_type="np")
    return pictures_of(values)


def trained_size(model: ModelEntry) -> dict[str, int]:
    """Return the height and width in pixels that the UNet was trained for, if its configuration says."""
    size, scale = model.config(ROLE, "unet").get("sample_size"), _scale(model)
    if size is None:
        return {}
    height, width = (size, size) if isinstance(size, int) else size
    return {"height": height * scale, "width": width * scale}


def latent_shape(model: ModelEntry, settings: GenerationSettings) -> tuple[int, ...]:
    """Return the shape of one row's latent.

    Raises:
        UserError: the stock pipeline would refuse the size, or cut it.
    """
    scale = _scale(model)
    unit = max(scale, STOCK_UNIT)
    for side, pixels in (("height", settings.height), ("width", settings.width)):
        if pixels % unit:
            near = max(unit, round(pixels / unit) * unit)
            raise UserError(f"{side} {pixels} is not a multiple of {unit}, which this model needs", f"use {near}")
    return (model.config(ROLE, "unet")["in_channels"], settings.height // scale, settings.width // scale)


def text_encoder_component(model: ModelEntry) -> Component:
    """Describe the text encoder in full batches, with each of which the negative prompt is encoded once."""
    tokens = text_length(model)
    return Component(
        "text encoder",
        phase="encode",
        unit="prompt",
        calls=1 + 1 / ENCODE_BATCH,
        build=transformers_module("CLIPTextModel", model.config(ROLE, "text_encoder")),
        inputs=lambda _: ((torch.zeros(1, tokens, dtype=torch.long),), {}),
    )


def denoiser_component(
    model: ModelEntry, settings: GenerationSettings, calls: int, **further: tuple[int, ...]
) -> Component:
    """Describe the UNet with `calls` rows a node and step; `further` are the shapes of its other arguments."""
    latent, tokens = latent_shape(model, settings), text_length(model)
    width = model.config(ROLE, "text_encoder")["hidden_size"]
    return Component(
        "denoiser",
        phase="denoise",
        unit="node_step",
        calls=calls,
        build=diffusers_module("UNet2DConditionModel", model.config(ROLE, "unet")),
        inputs=lambda _: (
            (torch.zeros(1, *latent), torch.zeros(1), torch.zeros(1, tokens, width)),
            {name: torch.zeros(shape) for name, shape in further.items()},
        ),
        together=calls,
    )


def decoder_component(model: ModelEntry, settings: GenerationSettings) -> Component:
    """Describe the VAE's half that makes pictures."""
    config, latent = model.config(ROLE, "vae"), latent_shape(model, settings)
    build = diffusers_module(config.get("_class_name", "AutoencoderKL"), config)
    return Component(
        "decoder",
        phase="decode",
        unit="image",
        calls=1,
        build=lambda: _Decoder(build()),
        inputs=lambda _: ((torch.zeros(1, *latent),), {}),
    )


def text_length(model: ModelEntry) -> int:
    """Return the tokens that every prompt is padded or cut to: as many as CLIP has positions for."""
    return int(model.config(ROLE, "text_encoder").get("max_position_embeddings", CLIP_TOKENS))


def _scale(model: ModelEntry) -> int:
    """Return the width of a latent pixel in picture pixels."""
    return int(2 ** (len(model.config(ROLE, "vae")["block_out_channels"]) - 1))


class _Decoder(nn.Module):
    """The half of a VAE that makes pictures, as a component counts it."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        image: Tensor = self.vae.decode(latents, return_dict=False)[0]
        return image
