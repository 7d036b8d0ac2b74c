"""Kandinsky 2.2, computed as diffusers' own pipelines compute it."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.errors import UserError
from common.logs import errors_alone
from generators.batching import Batches
from generators.checkpoints import check_pipeline, load_config, load_pipeline
from generators.component import Component, diffusers_module, transformers_module
from generators.conditioning import Conditioning, LazyRows
from generators.families.base import DTYPES, ENCODE_BATCH, Family, pictures_of, torch_device
from generators.families.encoding import cut_note, torch_generator
from generators.model_entry import ModelEntry, locate, models
from generators.overflow import refuse_overflow, within
from generators.sampler import Draw, Sampler
from generators.settings import PriorSettings

PIPELINES = {"prior": "KandinskyV22PriorPipeline", "decoder": "KandinskyV22Pipeline"}


class Kandinsky(Family[PriorSettings]):
    """Kandinsky 2.2: a prior turns text into an image embedding, a UNet and MoVQ turn that into a picture.

    Follows `KandinskyV22PriorPipeline` and `KandinskyV22Pipeline` of diffusers operation by operation,
    so that the same noise gives the same bits. Both embeddings, conditional and unconditional, are
    conditioning, and a cluster's are combined alike (as in the official code).
    """

    name = "kandinsky"
    settings_type = PriorSettings
    layout = "a folder with prior/ and decoder/, each a diffusers pipeline"
    roles = tuple(PIPELINES)
    pipelines = tuple(PIPELINES.values())
    features_options = ("image_embeds",)
    conditioned_on = "image"
    one_stream = True

    @classmethod
    def recognise(cls, folder: Path) -> ModelEntry | None:
        sources = {role: str(folder / role) for role in cls.roles}
        one_pipeline = (folder / "model_index.json").is_file()  # whose components may have the same names: Karlo's
        if one_pipeline or not all(Path(source).is_dir() for source in sources.values()):
            return None
        return cls.described(str(folder), sources)

    @classmethod
    def sources_of(cls, place: str, pipeline: str) -> dict[str, str]:
        """Return the prior and the decoder of a pair whose names differ in that word, as the public ones' do.

        Raises:
            UserError: the other one's name does not follow, or it cannot be had.
        """
        role = cls.roles[cls.pipelines.index(pipeline)]
        (other,) = set(cls.roles) - {role}
        hint = f"name both parts: {cls.name}:OWNER/PRIOR+OWNER/DECODER"
        if f"-{role}" not in place:
            raise UserError(f"{place} is the {role} of a model, whose {other} does not follow from its name", hint)
        partner = place.replace(f"-{role}", f"-{other}")
        try:
            check_pipeline(PIPELINES[other], partner)
        except UserError as error:
            raise UserError(f"the {other} of {place}: {error.message}", f"{error.hint}; or {hint}") from error
        return {name: place if name == role else partner for name in cls.roles}

    @classmethod
    def described(cls, name: str, sources: dict[str, str]) -> ModelEntry:
        """Return it with the settings of the paper's Kandinsky 2.2, at the size the UNet was trained for."""
        decoder = locate(sources["decoder"])
        defaults: dict[str, Any] = {"scheduler": "default"}
        side = load_config(decoder, "unet").get("sample_size")
        if isinstance(side, int):
            defaults["height"] = defaults["width"] = side * _scale(decoder)
        return models()["kandinsky-2.2"].like(name, sources, **defaults)

    @classmethod
    def load(cls, model: ModelEntry, device: str, dtype: str) -> Self:
        for role, pipeline in PIPELINES.items():
            check_pipeline(pipeline, model.source(role))
        return cls(model, torch_device(device), DTYPES[dtype])

    @cached_property
    def decoder(self) -> Any:
        """The stock `KandinskyV22Pipeline`."""
        return self._pipeline("decoder")

    @property
    def network(self) -> nn.Module:
        module: nn.Module = self.decoder.unet
        return module

    @property
    def prior(self) -> Any:
        """The stock `KandinskyV22PriorPipeline`."""
        if self._encoders is None:
            self._encoders = self._pipeline("prior")
        return self._encoders

    def _pipeline(self, role: str) -> Any:
        source = self.entry.source(role)
        offload, variant = self.offload, self.entry.variant
        return load_pipeline(PIPELINES[role], source, self.dtype, self.device, offload=offload, variant=variant)

    def encode_batches(
        self, prompts: Sequence[str], keys: Sequence[str], settings: PriorSettings, batches: Batches
    ) -> Iterator[Conditioning]:
        """Encode by the stock prior's own call: `image_embeds` and `negative_image_embeds`, [N, D].

        Every prompt has a noise stream of its own, so that its embedding does not depend on its batch; but under the
        noise policy ``official`` they follow one another in one stream, a prompt a call, as in the released code.
        An empty negative prompt is the stock default: the image encoder's embedding of a black picture.
        Prompts longer than the text encoder reads are cut, as in stock; `batches.notes` says how many.
        """
        seed, negative = settings.embedding_seed, settings.negative_prompt
        batches.notes += cut_note(self.prior.tokenizer, "prompt", prompts)
        batches.notes += cut_note(self.prior.tokenizer, "negative prompt", [negative])

        stream = torch.Generator(self.device).manual_seed(seed) if settings.noise == "official" else None

        def work(rows: slice) -> Conditioning:
            batch, batch_keys = list(prompts[rows]), keys[rows]
            generators = [torch_generator(seed, "prior", key) for key in batch_keys]
            if negative:  # the stock prior embeds the negative prompts as further rows of the batch
                generators += [torch_generator(seed, "negative prior", key) for key in batch_keys]
            with errors_alone(type(self.prior).__module__, "transformers.tokenization_utils_base"):
                output = self.prior(
                    batch,
                    negative_prompt=[negative] * len(batch) if negative else None,
                    num_inference_steps=settings.prior_steps,
                    guidance_scale=settings.prior_guidance,
                    generator=stream or generators,
                )
            embeds = {name: output[name].cpu() for name in ("image_embeds", "negative_image_embeds")}
            return Conditioning(embeds, stream.get_state() if stream else None)

        yield from (Batches(1) if stream else batches).map(len(prompts), work)

    @classmethod
    def conditioning_of(cls, model: ModelEntry, settings: PriorSettings) -> dict[str, Tensor]:
        one = torch.empty(model.config("prior", "prior")["embedding_dim"], dtype=DTYPES[settings.dtype], device="meta")
        return {"image_embeds": one, "negative_image_embeds": one}

    def features_of(self, rows: LazyRows, option: str) -> NDArray[np.float64]:
        return rows[option].double().numpy()

    def sampler(self, settings: PriorSettings) -> Sampler:
        config = load_config(self.entry.source("decoder"), "scheduler", "scheduler_config.json")
        return Sampler(config, settings.scheduler, settings.steps, self.device)

    def latent_shape(self, settings: PriorSettings) -> tuple[int, ...]:
        return _latent_shape(self.entry.source("decoder"), settings)

    @classmethod
    def one_unconditional(cls, settings: PriorSettings) -> bool:
        """Return whether it is the empty negative prompt's: the prior draws another embedding of a text each time."""
        return not settings.negative_prompt

    @torch.no_grad()
    def predict(
        self, latents: Tensor, k: int, sampler: Sampler, rows: dict[str, Tensor], settings: PriorSettings
    ) -> Tensor:
        guided = settings.guidance > 1
        embeds = torch.cat([rows["negative_image_embeds"], rows["image_embeds"]]) if guided else rows["image_embeds"]
        noise: Tensor = self.decoder.unet(
            sample=sampler.scale_input(torch.cat([latents] * 2) if guided else latents, k),
            timestep=sampler.timesteps[k],
            encoder_hidden_states=None,
            added_cond_kwargs={"image_embeds": embeds.to(self.device, self.dtype)},
            return_dict=False,
        )[0]
        noise, variance = torch.split(noise, latents.shape[1], dim=1)
        if guided:
            unconditional, conditional = noise.chunk(2)
            noise = unconditional + settings.guidance * (conditional - unconditional)
            variance = variance.chunk(2)[1]
        return torch.cat([noise, variance], dim=1) if sampler.learned_variance else noise

    @torch.no_grad()
    def decode(self, latents: Tensor, settings: PriorSettings, draw: Draw) -> NDArray[np.uint8]:
        image = self.decoder.movq.decode(latents.to(self.device, self.dtype), force_not_quantize=True)["sample"]
        refuse_overflow(within(image))
        image = (image * 0.5 + 0.5).clamp(0, 1).cpu().permute(0, 2, 3, 1).float().numpy()
        return pictures_of(image)

    @classmethod
    def components_of(cls, model: ModelEntry, settings: PriorSettings) -> list[Component]:
        """Count calls as `encode` makes them, in full batches or singly: each embeds a black picture."""
        prior_source, decoder_source = model.source("prior"), model.source("decoder")
        text, image, prior = (load_config(prior_source, part) for part in ("text_encoder", "image_encoder", "prior"))
        unet, movq = (load_config(decoder_source, part) for part in ("unet", "movq"))
        tokens, width, side = prior["num_embeddings"], prior["embedding_dim"], image["image_size"]
        latent = _latent_shape(decoder_source, settings)
        prompt_rows = (2 if settings.negative_prompt else 1) * (2 if settings.prior_guidance > 1 else 1)

        text_encoder = Component(
            "text encoder",
            phase="encode",
            unit="prompt",
            calls=prompt_rows,
            build=transformers_module("CLIPTextModelWithProjection", text),
            inputs=lambda _: ((torch.zeros(1, tokens, dtype=torch.long),), {}),
        )
        image_encoder = Component(
            "image encoder",
            phase="encode",
            unit="prompt",
            calls=0 if settings.negative_prompt else 1 if settings.noise == "official" else 1 / ENCODE_BATCH,
            build=transformers_module("CLIPVisionModelWithProjection", image),
            inputs=lambda _: ((torch.zeros(1, 3, side, side),), {}),
        )
        prior_transformer = Component(
            "prior",
            phase="encode",
            unit="prompt",
            calls=prompt_rows * settings.prior_steps,
            build=diffusers_module("PriorTransformer", prior),
            inputs=lambda _: (
                (torch.zeros(1, width), torch.zeros(1), torch.zeros(1, width), torch.zeros(1, tokens, width)),
                {},
            ),
            together=2 if settings.prior_guidance > 1 else 1,
        )
        denoiser = Component(
            "denoiser",
            phase="denoise",
            unit="node_step",
            calls=2 if settings.guidance > 1 else 1,
            build=diffusers_module("UNet2DConditionModel", unet),
            inputs=lambda _: (
                (torch.zeros(1, *latent), torch.zeros(1), None),
                {"added_cond_kwargs": {"image_embeds": torch.zeros(1, width)}},
            ),
            together=2 if settings.guidance > 1 else 1,
        )
        decoder = Component(
            "decoder",
            phase="decode",
            unit="image",
            calls=1,
            build=lambda: _MoVQDecoder(diffusers_module("VQModel", movq)()),
            inputs=lambda _: ((torch.zeros(1, *latent),), {}),
        )
        return [text_encoder, image_encoder, prior_transformer, denoiser, decoder]


class _MoVQDecoder(nn.Module):
    """The half of the MoVQ that makes pictures."""

    def __init__(self, movq: Any) -> None:
        super().__init__()
        self.movq = movq

    def forward(self, latents: Tensor) -> Tensor:
        pictures: Tensor = self.movq.decode(latents, force_not_quantize=True)["sample"]
        return pictures


def _scale(decoder: str) -> int:
    """Return f of `downscale_height_and_width`: a latent pixel is f picture pixels wide."""
    return int(2 ** (len(load_config(decoder, "movq")["block_out_channels"]) - 1))


def _latent_shape(decoder: str, settings: PriorSettings) -> tuple[int, ...]:
    """Return the shape of a latent; sizes must be multiples of f^2, to which stock rounds without a word."""
    scale = _scale(decoder)
    unit = scale**2
    for side, pixels in (("height", settings.height), ("width", settings.width)):
        if pixels % unit:
            near = max(unit, round(pixels / unit) * unit)
            raise UserError(f"{side} {pixels} is not a multiple of {unit}, which this model needs", f"use {near}")
    channels = load_config(decoder, "unet")["in_channels"]
    return (channels, settings.height // scale, settings.width // scale)
