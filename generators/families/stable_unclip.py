"""Stable unCLIP, computed as diffusers' own pipeline computes it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from common.errors import UserError
from common.logs import errors_alone
from generators.batching import Batches
from generators.checkpoints import load_pipeline, pipeline_class
from generators.component import Component, diffusers_module, transformers_module
from generators.conditioning import Conditioning, LazyRows
from generators.families.base import DTYPES, ROLE, Family, torch_device
from generators.families.encoding import cut_note, torch_generator
from generators.families.stable import (
    decoder_component,
    denoiser_component,
    guided_noise,
    kept,
    latent_shape,
    listed,
    pictures,
    text_encoder_component,
    text_features,
    text_length,
    text_rows,
    trained_size,
)
from generators.families.unclip import PIPELINE as UNCLIP
from generators.families.unclip import unclip_gone
from generators.model_entry import ModelEntry, models
from generators.sampler import Draw, Sampler
from generators.settings import PriorSettings

PIPELINE, WITHOUT_PRIOR = "StableUnCLIPPipeline", "StableUnCLIPImg2ImgPipeline"
ENCODERS = ("tokenizer", "text_encoder", "image_normalizer", "image_noising_scheduler")
PRIOR = ("prior_tokenizer", "prior_text_encoder", "prior", "prior_scheduler")
# What the pipelines that have a prior call its components.
PRIOR_COMPONENTS = {
    PIPELINE: dict(zip(PRIOR, PRIOR, strict=True)),
    UNCLIP: dict(zip(PRIOR, ("tokenizer", "text_encoder", "prior", "prior_scheduler"), strict=True)),
}


class StableUnCLIPSettings(PriorSettings):
    """Stable unCLIP's settings.

    Attributes:
        noise_level: the timestep up to which noise is added to image embeddings.
    """

    noise_level: Annotated[int, Field(ge=0)] = 0


class StableUnCLIP(Family[StableUnCLIPSettings]):
    """Stable unCLIP: a prior turns text into an image embedding, a UNet denoises latents under that and text states.

    Follows `StableUnCLIPPipeline` of diffusers operation by operation, so that the same noise gives the same bits.
    The public checkpoints have no prior and Karlo's is put before them, as in diffusers' documentation. The image
    embedding is conditioning after noise was added to it, with the noise level's own embedding behind it.
    """

    name = "stable-unclip"
    settings_type = StableUnCLIPSettings
    layout = f"a diffusers {PIPELINE} or {WITHOUT_PRIOR}"
    roles = (ROLE, "prior")
    pipelines = (PIPELINE, WITHOUT_PRIOR)
    unused: ClassVar[Mapping[str, tuple[str, ...]]] = {
        WITHOUT_PRIOR: ("feature_extractor", "image_encoder"),
        UNCLIP: (
            "decoder",
            "decoder_scheduler",
            "super_res_first",
            "super_res_last",
            "super_res_scheduler",
            "text_proj",
        ),
    }
    features_options = ("image_embeds", "pooled", "flattened", "mean_token")
    conditioned_on = "both"

    @classmethod
    def sources_of(cls, place: str, pipeline: str) -> dict[str, str]:
        """Return the sources, by role: of a pipeline without a prior, the catalogue's prior."""
        prior = place if pipeline == PIPELINE else models()["stable-unclip"].sources["prior"]
        return {ROLE: place, "prior": prior}

    @classmethod
    def described(cls, name: str, sources: dict[str, str]) -> ModelEntry:
        """Return it with the stock pipeline's settings, at the size the UNet was trained for."""
        entry = models()["stable-unclip"].like(name, sources)
        return entry.like(name, sources, **trained_size(entry))

    @classmethod
    def load(cls, model: ModelEntry, device: str, dtype: str) -> Self:
        _check_kind(model, ROLE, (PIPELINE, WITHOUT_PRIOR))
        _check_kind(model, "prior", tuple(PRIOR_COMPONENTS))
        _check_width(model)
        return cls(model, torch_device(device), DTYPES[dtype])

    @property
    def encoder(self) -> Any:
        """The stock `StableUnCLIPPipeline` as far as the conditioning."""
        if self._encoders is None:
            self._encoders = self._assembled()
        return self._encoders

    @cached_property
    def denoiser(self) -> Any:
        """The stock pipeline's UNet and VAE."""
        return self._only(ROLE, "unet", "vae")

    @property
    def network(self) -> nn.Module:
        module: nn.Module = self.denoiser.unet
        return module

    def _assembled(self) -> Any:
        from diffusers import StableUnCLIPPipeline

        names = PRIOR_COMPONENTS[pipeline_class(self.entry.source("prior"))]
        own, lender = self._only(ROLE, *ENCODERS), self._only("prior", *names.values())
        prior = {name: getattr(lender, theirs) for name, theirs in names.items()}
        if type(lender).__name__ == UNCLIP:
            prior["prior_scheduler"] = _ddpm(prior["prior_scheduler"])
        encoders = {name: getattr(own, name) for name in ENCODERS}
        return StableUnCLIPPipeline(**prior, **encoders, unet=None, scheduler=None, vae=None)

    def _only(self, role: str, *wanted: str) -> Any:
        source = self.entry.source(role)
        parts = kept(self.entry, listed(source), wanted)
        with errors_alone("diffusers.pipelines.pipeline_utils"):  # says every time that Karlo's pipeline is deprecated
            kind, variant = pipeline_class(source), self.entry.variant
            return load_pipeline(kind, source, self.dtype, self.device, parts, self.offload, variant)

    @torch.no_grad()
    def encode_batches(
        self, prompts: Sequence[str], keys: Sequence[str], settings: StableUnCLIPSettings, batches: Batches
    ) -> Iterator[Conditioning]:
        """Encode by `text_rows`, and ``image_embeds`` [N, 2D]: the noised embedding and its noise level's.

        Every prompt has a noise stream of its own, so that its embedding does not depend on its batch.
        Prompts longer than a text encoder reads are cut, as in stock; `batches.notes` says how many.

        Raises:
            UserError: the noise level is higher than the model knows.
        """
        _check_noise_level(self.entry, settings)
        pipeline, negative = self.encoder, settings.negative_prompt
        notes = cut_note(pipeline.prior_tokenizer, "prompt", prompts) + cut_note(pipeline.tokenizer, "prompt", prompts)
        batches.notes += dict.fromkeys(notes)  # the two tokenizers may say the same
        batches.notes += cut_note(pipeline.tokenizer, "negative prompt", [negative])

        def work(rows: slice) -> Conditioning:
            batch = list(prompts[rows])
            generators = [torch_generator(settings.embedding_seed, "prior", key) for key in keys[rows]]
            with errors_alone("diffusers.pipelines.stable_diffusion", "transformers.tokenization_utils_base"):
                embeds = self._image_embeds(batch, generators, settings)
                noised = pipeline.noise_image_embeddings(embeds, settings.noise_level, generator=generators)
                tensors = {"image_embeds": noised, **text_rows(pipeline, batch, negative, self.device)}
            return Conditioning({name: tensor.cpu() for name, tensor in tensors.items()})

        yield from batches.map(len(prompts), work)

    def _image_embeds(
        self, prompts: list[str], generators: list[torch.Generator], settings: StableUnCLIPSettings
    ) -> Tensor:
        """Return the prior's samples, [b, D]."""
        pipeline, guided = self.encoder, settings.prior_guidance > 1
        prior, scheduler = pipeline.prior, pipeline.prior_scheduler
        embeds, states, mask = pipeline._encode_prior_prompt(prompts, self.device, 1, guided)
        scheduler.set_timesteps(settings.prior_steps, device=self.device)
        shape = (len(prompts), prior.config.embedding_dim)
        latents = pipeline.prepare_latents(shape, embeds.dtype, self.device, generators, None, scheduler)
        further = pipeline.prepare_prior_extra_step_kwargs(generators, eta=0.0)
        for timestep in scheduler.timesteps:
            predicted = prior(
                scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, timestep),
                timestep=timestep,
                proj_embedding=embeds,
                encoder_hidden_states=states,
                attention_mask=mask,
            ).predicted_image_embedding
            if guided:
                unconditional, conditional = predicted.chunk(2)
                predicted = unconditional + settings.prior_guidance * (conditional - unconditional)
            latents = scheduler.step(predicted, timestep, latents, **further).prev_sample
        embedding: Tensor = prior.post_process_latents(latents)
        return embedding

    @classmethod
    def conditioning_of(cls, model: ModelEntry, settings: StableUnCLIPSettings) -> dict[str, Tensor]:
        dtype, tokens = DTYPES[settings.dtype], text_length(model)
        width = model.config(ROLE, "text_encoder")["hidden_size"]
        embedding = model.config("prior", "prior")["embedding_dim"]
        states = (tokens, width)
        shapes = {"image_embeds": (2 * embedding,), "text_states": states, "negative_text_states": states}
        shapes |= {"pooled": (width,), "token_mask": (tokens,)}
        return {
            name: torch.empty(shape, dtype=torch.float32 if name == "token_mask" else dtype, device="meta")
            for name, shape in shapes.items()
        }

    def features_of(self, rows: LazyRows, option: str) -> NDArray[np.float64]:
        """Return ``image_embeds`` without the noise level's embedding, which is everybody's, or the text's features."""
        if option != "image_embeds":
            return text_features(rows, option)
        embeds, _ = rows["image_embeds"].chunk(2, dim=1)
        return embeds.double().numpy()

    def sampler(self, settings: StableUnCLIPSettings) -> Sampler:
        _check_noise_level(self.entry, settings)
        config = self.entry.config(ROLE, "scheduler", "scheduler_config.json")
        return Sampler(config, settings.scheduler, settings.steps, self.device)

    def latent_shape(self, settings: StableUnCLIPSettings) -> tuple[int, ...]:
        return latent_shape(self.entry, settings)

    @torch.no_grad()
    def predict(
        self, latents: Tensor, k: int, sampler: Sampler, rows: dict[str, Tensor], settings: StableUnCLIPSettings
    ) -> Tensor:
        states, embeds = rows["text_states"], rows["image_embeds"]
        if settings.guidance > 1:
            states = torch.cat([rows["negative_text_states"], states])
            embeds = torch.cat([torch.zeros_like(embeds), embeds])
        return guided_noise(
            self.denoiser.unet, latents, k, sampler, states, settings.guidance, class_labels=embeds.to(latents)
        )

    def decode(self, latents: Tensor, settings: StableUnCLIPSettings, draw: Draw) -> NDArray[np.uint8]:
        return pictures(self.denoiser, latents)

    @classmethod
    def components_of(cls, model: ModelEntry, settings: StableUnCLIPSettings) -> list[Component]:
        prior_text, prior = _prior_config(model, "prior_text_encoder"), _prior_config(model, "prior")
        tokens, width = prior["num_embeddings"], prior["embedding_dim"]
        prompt_rows = 2 if settings.prior_guidance > 1 else 1
        prior_text_encoder = Component(
            "prior's text encoder",
            phase="encode",
            unit="prompt",
            calls=prompt_rows,
            build=transformers_module("CLIPTextModelWithProjection", prior_text),
            inputs=lambda _: ((torch.zeros(1, tokens, dtype=torch.long),), {}),
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
        node_rows = 2 if settings.guidance > 1 else 1
        return [
            prior_text_encoder,
            prior_transformer,
            text_encoder_component(model),
            denoiser_component(model, settings, node_rows, class_labels=(1, 2 * width)),
            decoder_component(model, settings),
        ]


def _ddpm(scheduler: Any) -> Any:
    """Return what takes the place of an UnCLIPScheduler, which wants the next timestep, as stock does not give it.

    So does diffusers' documentation, but there the prior loses the noise schedule it was trained with: where its file
    does not name it, as Karlo's, `from_config` goes on with DDPMScheduler's default instead of UnCLIPScheduler's.
    """
    from diffusers import DDPMScheduler

    complete = {name: value for name, value in scheduler.config.items() if name != "_use_default_values"}
    return DDPMScheduler.from_config(complete)


def _prior_config(model: ModelEntry, component: str) -> dict[str, Any]:
    names = PRIOR_COMPONENTS[pipeline_class(model.source("prior"))]
    return model.config("prior", names[component])


def _check_kind(model: ModelEntry, role: str, kinds: tuple[str, ...]) -> None:
    kind = pipeline_class(model.source(role))
    if kind not in kinds:
        raise UserError(
            f"{model.source(role)} is a {kind}, not a {' or '.join(kinds)}", "choose a checkpoint of this model family"
        )
    if kind == UNCLIP and (gone := unclip_gone()):
        raise UserError(gone)


def _check_width(model: ModelEntry) -> None:
    """Refuse two halves that do not speak of the same image embedding."""
    width = _prior_config(model, "prior")["embedding_dim"]
    taken = model.config(ROLE, "image_normalizer")["embedding_dim"]
    if width != taken:
        raise UserError(
            f"the prior {model.source('prior')} makes image embeddings of {width} numbers,"
            f" {model.source(ROLE)} takes {taken}",
            "pair two that were trained on the same CLIP model, such as those of the model stable-unclip",
        )


def _check_noise_level(model: ModelEntry, settings: StableUnCLIPSettings) -> None:
    config = model.config(ROLE, "image_noising_scheduler", "scheduler_config.json")
    highest = config.get("num_train_timesteps", 1000) - 1
    if settings.noise_level > highest:
        raise UserError(f"a noise level of {settings.noise_level} is too high", f"use at most {highest}")
