"""Karlo (unCLIP), computed as diffusers' own pipeline computes it."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import count, zip_longest
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from common.errors import UserError
from common.logs import errors_alone
from generators.batching import Batches
from generators.checkpoints import check_pipeline, load_config
from generators.component import Component, diffusers_module, transformers_module
from generators.conditioning import Conditioning, LazyRows
from generators.families.base import DTYPES, ROLE, Family, pictures_of, torch_device
from generators.families.encoding import cut_note, torch_generator
from generators.families.stable import text_length
from generators.families.unclip import (
    PIPELINE,
    TEXT_PROJECTION,
    load_text_projection,
    load_unclip,
    text_projection_class,
    unclip_gone,
)
from generators.model_entry import ModelEntry, locate, models
from generators.overflow import refuse_overflow, within
from generators.sampler import Draw, Sampler
from generators.scheduler_state import Rows
from generators.settings import PriorSettings

ENCODERS = ("text_encoder", "tokenizer", "prior")
DENOISERS = ("decoder", "super_res_first", "super_res_last")
TEXT = ("text_embeds", "text_states", "text_states.mask")


class KarloSettings(PriorSettings):
    """Karlo's settings.

    Attributes:
        super_res_steps: of the super-resolution's own diffusion.
    """

    not_in_conditioning: ClassVar[frozenset[str]] = PriorSettings.not_in_conditioning | {"super_res_steps"}

    super_res_steps: Annotated[int, Field(ge=2)] = 7


class Karlo(Family[KarloSettings]):
    """Karlo: a prior turns text into an image embedding, a UNet makes a small picture of both, two more enlarge it.

    Follows `UnCLIPPipeline` of diffusers operation by operation, so that the same noise gives the same bits. Image
    embedding, pooled text and text states are conditioning, and so are the text rows of the empty prompt, which are
    everybody's: the text encoder is gone when they are needed. As in stock, the decoder has unconditional rows where
    either guidance is above 1. The prior has them where its own is, since a conditioning serves every guidance of the
    decoder; only a prior guidance of 1 or less beside a decoder guidance above 1 differs from stock.
    """

    name = "karlo"
    settings_type = KarloSettings
    layout = f"a diffusers {PIPELINE}"
    roles = (ROLE,)
    pipelines = (PIPELINE,)
    features_options = ("image_embeds", "text_embeds")
    conditioned_on = "image"

    @classmethod
    def unavailable(cls) -> str | None:
        return unclip_gone()

    @classmethod
    def described(cls, name: str, sources: dict[str, str]) -> ModelEntry:
        """Return it with the settings of Karlo's authors, at the only size that the super-resolution model makes."""
        source = locate(sources[ROLE])
        check_pipeline(PIPELINE, source)
        side = load_config(source, "super_res_first")["sample_size"]
        return models()["karlo"].like(name, sources, height=side, width=side)

    @classmethod
    def load(cls, model: ModelEntry, device: str, dtype: str) -> Self:
        if gone := cls.unavailable():
            raise UserError(gone)
        check_pipeline(PIPELINE, model.source(ROLE))
        return cls(model, torch_device(device), DTYPES[dtype])

    @property
    def encoders(self) -> Any:
        """The stock `UnCLIPPipeline` as far as the image embedding."""
        if self._encoders is None:
            self._encoders = load_unclip(self.entry, self.dtype, self.device, DENOISERS, self.offload)
        return self._encoders

    @cached_property
    def denoisers(self) -> Any:
        """The stock `UnCLIPPipeline` from the image embedding on."""
        pipeline = load_unclip(self.entry, self.dtype, self.device, ENCODERS, self.offload)
        pipeline.register_modules(text_proj=load_text_projection(self.entry, self.dtype).to(self.device))
        return pipeline

    @property
    def network(self) -> nn.Module:
        module: nn.Module = self.denoisers.decoder
        return module

    @torch.no_grad()
    def encode_batches(
        self, prompts: Sequence[str], keys: Sequence[str], settings: KarloSettings, batches: Batches
    ) -> Iterator[Conditioning]:
        """Encode N prompts of at most L tokens by the stock text encoder and prior:

        ``image_embeds``, ``text_embeds`` [N, D], ``text_states`` [N, L, D] with ``text_states.mask`` [N, L], and with
        ``negative_`` before their names the text rows of the empty prompt.

        Every prompt has a noise stream of its own, so that its embedding does not depend on its batch.
        Prompts longer than the text encoder reads are cut, as in stock; `batches.notes` says how many.

        Raises:
            UserError: there is a negative prompt, which the stock pipeline does not have.
        """
        _refuse_negative_prompt(settings)
        pipeline = self.encoders
        batches.notes += cut_note(pipeline.tokenizer, "prompt", prompts)

        def work(rows: slice) -> Conditioning:
            generators = [torch_generator(settings.embedding_seed, "prior", key) for key in keys[rows]]
            with errors_alone(type(pipeline).__module__, "transformers.tokenization_utils_base"):
                text = pipeline._encode_prompt(list(prompts[rows]), self.device, 1, True)
            negative, positive = zip(*(part.chunk(2) for part in text), strict=True)
            guided = settings.prior_guidance > 1
            tensors = dict(zip(TEXT, positive, strict=True))
            tensors |= {f"negative_{name}": part for name, part in zip(TEXT, negative, strict=True)}
            tensors["image_embeds"] = self._image_embeds(text if guided else positive, generators, settings)
            return Conditioning({name: tensor.cpu() for name, tensor in tensors.items()})

        yield from batches.map(len(prompts), work)

    @classmethod
    def conditioning_of(cls, model: ModelEntry, settings: KarloSettings) -> dict[str, Tensor]:
        width, dtype = model.config(ROLE, "prior")["embedding_dim"], DTYPES[settings.dtype]
        tokens = text_length(model)
        text = {"text_embeds": (width,), "text_states": (tokens, width)}
        shapes = {"image_embeds": (width,), **text, **{f"negative_{name}": shape for name, shape in text.items()}}
        masks = {f"{name}.mask": (tokens,) for name in ("text_states", "negative_text_states")}
        rows = {name: torch.empty(shape, dtype=dtype, device="meta") for name, shape in shapes.items()}
        return rows | {name: torch.empty(shape, dtype=torch.bool, device="meta") for name, shape in masks.items()}

    def _image_embeds(
        self, text: Sequence[Tensor], generators: list[torch.Generator], settings: KarloSettings
    ) -> Tensor:
        """Return the prior's samples, [b, D], for the text's rows: [2b, ...] to guide it, unconditional ones first."""
        prior, scheduler = self.encoders.prior, self.encoders.prior_scheduler
        embeds, states, mask = text
        guided = len(embeds) > len(generators)
        scheduler.set_timesteps(settings.prior_steps, device=self.device)
        shape = (len(generators), prior.config.embedding_dim)
        latents = self.encoders.prepare_latents(shape, embeds.dtype, self.device, generators, None, scheduler)
        for timestep, previous in zip_longest(scheduler.timesteps, scheduler.timesteps[1:]):
            predicted = prior(
                torch.cat([latents] * 2) if guided else latents,
                timestep=timestep,
                proj_embedding=embeds,
                encoder_hidden_states=states,
                attention_mask=mask,
            ).predicted_image_embedding
            if guided:
                unconditional, conditional = predicted.chunk(2)
                predicted = unconditional + settings.prior_guidance * (conditional - unconditional)
            latents = scheduler.step(
                predicted, timestep=timestep, sample=latents, generator=generators, prev_timestep=previous
            ).prev_sample
        embedding: Tensor = prior.post_process_latents(latents)
        return embedding

    def features_of(self, rows: LazyRows, option: str) -> NDArray[np.float64]:
        return rows[option].double().numpy()

    def sampler(self, settings: KarloSettings) -> Sampler:
        """Return the decoder's sampler.

        Raises:
            UserError: there is a negative prompt, or the scheduler cannot be used so.
        """
        _refuse_negative_prompt(settings)
        return self._sampler("decoder_scheduler", settings.scheduler, settings.steps)

    def _sampler(self, component: str, name: str, steps: int) -> Sampler:
        return Sampler(self.entry.config(ROLE, component, "scheduler_config.json"), name, steps, self.device)

    def latent_shape(self, settings: KarloSettings) -> tuple[int, ...]:
        """Return the shape of the decoder's picture, which super-resolution enlarges to its one size."""
        side = self.entry.config(ROLE, "super_res_first")["sample_size"]
        if (settings.height, settings.width) != (side, side):
            asked = f"{settings.width}x{settings.height}"
            raise UserError(
                f"{self.entry.name} makes pictures of {side}x{side} only, not {asked}",
                f"use --height {side} --width {side}",
            )
        return _pixels(self.entry, "decoder")

    @classmethod
    def unguided(cls, model: ModelEntry, settings: KarloSettings) -> KarloSettings:
        """Return the settings without unconditional rows: both samplers have them or neither (`_guided`)."""
        return super().unguided(model, settings).model_copy(update={"prior_guidance": 1.0})

    @torch.no_grad()
    def predict(
        self, latents: Tensor, k: int, sampler: Sampler, rows: dict[str, Tensor], settings: KarloSettings
    ) -> Tensor:
        guided, pipeline = _guided(settings), self.denoisers
        embeds, states, mask = (
            (torch.cat([rows[f"negative_{name}"], rows[name]]) if guided else rows[name]).to(self.device, self.dtype)
            for name in TEXT
        )
        states, additive_embeds = pipeline.text_proj(
            image_embeddings=rows["image_embeds"].to(self.device, self.dtype),
            prompt_embeds=embeds,
            text_encoder_hidden_states=states,
            do_classifier_free_guidance=guided,
        )
        extra_tokens = pipeline.text_proj.clip_extra_context_tokens
        noise: Tensor = pipeline.decoder(
            sample=sampler.scale_input(torch.cat([latents] * 2) if guided else latents, k),
            timestep=sampler.timesteps[k],
            encoder_hidden_states=states,
            class_labels=additive_embeds,
            attention_mask=functional.pad(mask, (extra_tokens, 0), value=1).bool(),
        ).sample
        noise, variance = torch.split(noise, latents.shape[1], dim=1)
        if guided:
            unconditional, conditional = noise.chunk(2)
            noise = unconditional + settings.guidance * (conditional - unconditional)
            variance = variance.chunk(2)[1]
        return torch.cat([noise, variance], dim=1) if sampler.learned_variance else noise

    @torch.no_grad()
    def decode(self, latents: Tensor, settings: KarloSettings, draw: Draw) -> NDArray[np.uint8]:
        """Enlarge by super-resolution, a diffusion of its own whose last step has a model of its own."""
        small = latents.to(self.device, self.dtype).clamp(-1, 1)
        sampler = self._sampler("super_res_scheduler", "default", settings.super_res_steps)
        channels, *size = _pixels(self.entry, "super_res_first")
        draws = count()
        memory: Rows = ()
        held = within(small)
        image = draw((len(small), channels // 2, *size), next(draws)).to(small) * sampler.init_sigma
        # in float32, since half precision has no antialiasing on the CPU
        upscaled = functional.interpolate(
            small.float(), size=size, mode="bicubic", align_corners=False, antialias=True
        ).to(small)
        for k, timestep in enumerate(sampler.timesteps):
            unet = self.denoisers.super_res_first if k < sampler.K - 1 else self.denoisers.super_res_last
            noise = unet(sample=torch.cat([image, upscaled], dim=1), timestep=timestep).sample
            step = sampler.step(noise, k, image, lambda shape, _: draw(shape, next(draws)), memory)
            image, memory = step.latents, step.memory
            held &= within(noise) & within(image)
        refuse_overflow(held)
        array = (image * 0.5 + 0.5).clamp(0, 1).cpu().permute(0, 2, 3, 1).float().numpy()
        return pictures_of(array)

    @classmethod
    def components_of(cls, model: ModelEntry, settings: KarloSettings) -> list[Component]:
        text, prior, projection, decoder, first, last = (
            model.config(ROLE, part) for part in ("text_encoder", "prior", TEXT_PROJECTION, *DENOISERS)
        )
        tokens, width = prior["num_embeddings"], prior["embedding_dim"]
        context = (1, tokens + projection["clip_extra_context_tokens"], projection["cross_attention_dim"])
        pixels, large = _pixels(model, "decoder"), _pixels(model, "super_res_first")
        node_rows = 2 if _guided(settings) else 1

        def enlarger(name: str, config: dict[str, Any], calls: int) -> Component:
            return Component(
                name,
                phase="decode",
                unit="image",
                calls=calls,
                build=diffusers_module("UNet2DModel", config),
                inputs=lambda _: ((torch.zeros(1, *large), torch.zeros(1)), {}),
            )

        text_encoder = Component(
            "text encoder",
            phase="encode",
            unit="prompt",
            calls=2,  # the empty prompt is encoded beside every prompt
            build=transformers_module("CLIPTextModelWithProjection", text),
            inputs=lambda _: ((torch.zeros(1, tokens, dtype=torch.long),), {}),
        )
        prior_transformer = Component(
            "prior",
            phase="encode",
            unit="prompt",
            calls=settings.prior_steps * (2 if settings.prior_guidance > 1 else 1),
            build=diffusers_module("PriorTransformer", prior),
            inputs=lambda _: (
                (torch.zeros(1, width), torch.zeros(1), torch.zeros(1, width), torch.zeros(1, tokens, width)),
                {},
            ),
            together=2 if settings.prior_guidance > 1 else 1,
        )
        text_projection = Component(
            "text projection",
            phase="denoise",
            unit="node_step",
            calls=node_rows,
            build=lambda: text_projection_class().from_config(projection).eval(),
            inputs=lambda _: (
                (),
                {
                    "image_embeddings": torch.zeros(1, width),
                    "prompt_embeds": torch.zeros(1, width),
                    "text_encoder_hidden_states": torch.zeros(1, tokens, width),
                    "do_classifier_free_guidance": False,
                },
            ),
            together=node_rows,
        )
        denoiser = Component(
            "denoiser",
            phase="denoise",
            unit="node_step",
            calls=node_rows,
            build=diffusers_module("UNet2DConditionModel", decoder),
            inputs=lambda _: (
                (torch.zeros(1, *pixels), torch.zeros(1), torch.zeros(context)),
                {"class_labels": torch.zeros(1, projection["time_embed_dim"])},
            ),
            together=node_rows,
        )
        return [
            text_encoder,
            prior_transformer,
            text_projection,
            denoiser,
            enlarger("super-resolution", first, settings.super_res_steps - 1),
            enlarger("super-resolution, last step", last, 1),
        ]


def _guided(settings: KarloSettings) -> bool:
    """Return whether the decoder has unconditional rows: in stock, both samplers have them or neither."""
    return settings.prior_guidance > 1 or settings.guidance > 1


def _refuse_negative_prompt(settings: KarloSettings) -> None:
    if settings.negative_prompt:
        raise UserError("Karlo takes no negative prompt", "leave --negative-prompt out, or use another model")


def _pixels(entry: ModelEntry, component: str) -> tuple[int, ...]:
    """Return the shape of a UNet's input: (channels, height, width)."""
    config = entry.config(ROLE, component)
    return (config["in_channels"], config["sample_size"], config["sample_size"])
