"""FLUX.1, computed as diffusers' own pipeline computes it."""

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from common.errors import UserError
from generators.batching import Batches
from generators.checkpoints import load_pipeline
from generators.component import Component, diffusers_module, transformers_module
from generators.conditioning import Conditioning
from generators.families.base import pictures_of
from generators.families.encoding import cut_note, errors_alone
from generators.families.one_pipeline import ROLE, OnePipeline, VAEDecoder, following_a_flow
from generators.model_entry import ModelEntry, models
from generators.sampler import Draw, Sampler
from generators.settings import GenerationSettings

PIPELINE = "FluxPipeline"
ENCODING = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")
DENOISING = ("transformer", "vae", "scheduler")
ENCODE_BATCH = 32
MOST_TOKENS = 512  # more are refused by the stock pipeline
PATCH = 2  # latent pixels, in either direction, in one token of the transformer
FEATURES = {"pooled": "pooled", "mean_token": "mean_token", "flattened": "text_states"}
# Those whose timesteps `FluxPipeline` can set; others take no shift, or add noise to a flow that needs none.
SCHEDULERS = (
    "FlowMatchEulerDiscreteScheduler",
    "UniPCMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
)


class FluxSettings(GenerationSettings):
    """FLUX's settings.

    Attributes:
        max_sequence_length: tokens that T5 reads of a prompt; shorter ones are padded to as many.
    """

    in_denoiser_calls: ClassVar[frozenset[str]] = GenerationSettings.in_denoiser_calls | {"max_sequence_length"}

    max_sequence_length: Annotated[int, Field(ge=1)] = MOST_TOKENS


class Flux(OnePipeline[FluxSettings]):
    """FLUX.1, dev and schnell: a transformer moves noise along a flow under T5's text states and CLIP's pooled one.

    Follows `FluxPipeline` of diffusers operation by operation, so that the same noise gives the same bits. A cluster's
    text states are its prompts' means, position by position; the transformer attends to padding as well, so no
    position is masked. The flow draws no noise: a split's children part by their conditioning alone. Guidance is an
    input of the transformer (dev) or trained into it (schnell), so there are no unconditional rows.
    """

    name = "flux"
    settings_type = FluxSettings
    layout = f"a diffusers {PIPELINE}"
    pipelines = (PIPELINE,)
    features_options = tuple(FEATURES)
    conditioned_on = "text"

    @classmethod
    def described(cls, name: str, sources: dict[str, str]) -> ModelEntry:
        """Return it with the settings of dev or schnell, whichever it is built like, at the size of the VAE."""
        entry = ModelEntry(name=name, family=cls.name, sources=sources, defaults={})
        like = models()["flux-dev" if _guided(entry) else "flux-schnell"]
        defaults = {**like.defaults, "scheduler": "default"}
        side = entry.config(ROLE, "vae").get("sample_size")
        if isinstance(side, int):
            defaults["height"] = defaults["width"] = side
        scorers = {"scorers": like.scorers, "optional_scorers": like.optional_scorers}
        return entry.model_copy(update={"defaults": defaults, **scorers})

    @property
    def encoders(self) -> Any:
        """The stock pipeline's tokenizers and text encoders."""
        if self._encoders is None:
            self._encoders = self._pipeline(without=DENOISING)
        return self._encoders

    @cached_property
    def denoiser(self) -> Any:
        """The stock pipeline's transformer and VAE."""
        return self._pipeline(without=ENCODING)

    @property
    def network(self) -> nn.Module:
        module: nn.Module = self.denoiser.transformer
        return module

    def _pipeline(self, without: tuple[str, ...]) -> Any:
        parts = {**self.entry.borrowed, **dict.fromkeys(without)}
        return load_pipeline(PIPELINE, self.entry.source(ROLE), self.dtype, self.device, parts, self.offload)

    def encode(
        self,
        prompts: Sequence[str],
        keys: Sequence[str],
        settings: FluxSettings,
        batches: Batches | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Conditioning:
        """Encode by the stock `encode_prompt`: `text_states` [N, L, D] of T5 and `pooled` [N, P] of CLIP.

        With them `mean_token` [N, D], the mean of T5's states over the tokens that are not padding, by which prompts
        can be clustered. Prompts longer than an encoder reads are cut, as in stock; `batches.notes` says how many.
        """
        _refuse(self.entry, settings)
        stock, length = self.encoders, settings.max_sequence_length
        batches = batches or Batches(ENCODE_BATCH)
        batches.notes += cut_note(stock.tokenizer, "prompt", prompts, "CLIP")
        batches.notes += cut_note(stock.tokenizer_2, "prompt", prompts, "T5", length)

        @torch.no_grad()
        def work(rows: slice) -> dict[str, Tensor]:
            batch = list(prompts[rows])
            states, pooled, _ = stock.encode_prompt(batch, device=self.device, max_sequence_length=length)
            tokens = stock.tokenizer_2(
                batch, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
            )
            states, mask = states.float().cpu(), tokens.attention_mask[:, :, None]
            if on_progress is not None:
                on_progress(len(batch))
            means = (states * mask).sum(1) / mask.sum(1)
            return {"text_states": states, "pooled": pooled.float().cpu(), "mean_token": means}

        with errors_alone(type(stock).__module__, "transformers.tokenization_utils_base"):
            done = list(batches.map(len(prompts), work))
        return Conditioning({name: torch.cat([rows[name] for rows in done]) for name in done[0]})

    def features(self, conditioning: Conditioning, option: str) -> NDArray[np.float64]:
        """Return the `pooled` state, the `mean_token`, or all states `flattened` into one row."""
        if option not in FEATURES:
            raise UserError(f"{self.name} has no features {option!r}", "known: " + ", ".join(FEATURES))
        return conditioning.tensors[FEATURES[option]].flatten(1).double().numpy()

    def sampler(self, settings: FluxSettings) -> Sampler:
        _refuse(self.entry, settings)
        config = _flowing(self.entry.config(ROLE, "scheduler", "scheduler_config.json"), settings.scheduler)
        timing = _timing(config, self.latent_shape(settings)[0], settings.steps)
        return Sampler(config, settings.scheduler, settings.steps, self.device, **timing)

    def latent_shape(self, settings: FluxSettings) -> tuple[int, ...]:
        """Return the shape as the transformer takes it, packed: [tokens, channels]."""
        rows, columns = _grid(self.entry, settings)
        return (rows * columns, self.entry.config(ROLE, "transformer")["in_channels"])

    @torch.no_grad()
    def predict(
        self, latents: Tensor, k: int, sampler: Sampler, rows: dict[str, Tensor], settings: FluxSettings
    ) -> Tensor:
        transformer, count = self.denoiser.transformer, len(latents)
        unit = self.denoiser.vae_scale_factor * PATCH
        states, pooled = (rows[name].to(latents) for name in ("text_states", "pooled"))
        guidance = None
        if transformer.config.guidance_embeds:
            guidance = torch.full([1], settings.guidance, device=self.device, dtype=torch.float32).expand(count)
        output: Tensor = transformer(
            hidden_states=latents,
            timestep=sampler.timesteps[k].expand(count).to(latents.dtype) / 1000,
            guidance=guidance,
            pooled_projections=pooled,
            encoder_hidden_states=states,
            txt_ids=torch.zeros(states.shape[1], 3).to(latents),
            img_ids=self.denoiser._prepare_latent_image_ids(
                count, settings.height // unit, settings.width // unit, latents.device, latents.dtype
            ),
            return_dict=False,
        )[0]
        return output

    @torch.no_grad()
    def decode(self, latents: Tensor, settings: FluxSettings, draw: Draw) -> NDArray[np.uint8]:
        pipeline = self.denoiser
        packed = latents.to(self.device, self.dtype)
        unpacked = pipeline._unpack_latents(packed, settings.height, settings.width, pipeline.vae_scale_factor)
        config = pipeline.vae.config
        image = pipeline.vae.decode(unpacked / config.scaling_factor + config.shift_factor, return_dict=False)[0]
        values: NDArray[np.float32] = pipeline.image_processor.postprocess(image, output_type="np")
        return pictures_of(values)

    @classmethod
    def components_of(cls, model: ModelEntry, settings: FluxSettings) -> list[Component]:
        _refuse(model, settings)
        clip, t5, transformer, vae = (
            model.config(ROLE, part) for part in ("text_encoder", "text_encoder_2", "transformer", "vae")
        )
        rows, columns = _grid(model, settings)
        image, text, scale = rows * columns, settings.max_sequence_length, _vae_scale(model)
        guidance = {"guidance": (1,)} if _guided(model) else {}
        shapes = {
            "hidden_states": (1, image, transformer["in_channels"]),
            "timestep": (1,),
            **guidance,
            "pooled_projections": (1, transformer["pooled_projection_dim"]),
            "encoder_hidden_states": (1, text, transformer["joint_attention_dim"]),
            "txt_ids": (text, 3),
            "img_ids": (image, 3),
        }
        latent = (1, vae["latent_channels"], settings.height // scale, settings.width // scale)
        return [
            _text_encoder("text encoder", "CLIPTextModel", clip, clip["max_position_embeddings"]),
            _text_encoder("text encoder 2", "T5EncoderModel", t5, text),
            Component(
                "denoiser",
                phase="denoise",
                unit="node_step",
                calls=1,
                build=lambda: _plain_attention(diffusers_module("FluxTransformer2DModel", transformer)()),
                inputs=lambda _: ((), {name: torch.zeros(shape) for name, shape in shapes.items()}),
            ),
            Component(
                "decoder",
                phase="decode",
                unit="image",
                calls=1,
                build=lambda: VAEDecoder(diffusers_module("AutoencoderKL", vae)()),
                inputs=lambda _: ((torch.zeros(latent),), {}),
            ),
        ]


def _text_encoder(name: str, class_name: str, config: dict[str, Any], tokens: int) -> Component:
    return Component(
        name,
        phase="encode",
        unit="prompt",
        calls=1,
        build=transformers_module(class_name, config),
        inputs=lambda _: ((torch.zeros(1, tokens, dtype=torch.long),), {}),
    )


def _plain_attention(transformer: Any) -> nn.Module:
    """Have attention computed by matrix products: FLUX's layers are of a class that `diffusers_module` leaves."""
    from diffusers.models.attention_dispatch import attention_backend

    # set_attention_backend changes the default of all other models too, which the end of this block undoes
    with errors_alone("diffusers.models.modeling_utils"), attention_backend("native"):
        transformer.set_attention_backend("_native_math")
    module: nn.Module = transformer
    return module


def _refuse(model: ModelEntry, settings: FluxSettings) -> None:
    """Refuse what the stock pipeline refuses, and what it would pass over in silence."""
    if settings.negative_prompt:
        raise UserError(f"{model.name} takes no negative prompt: it has no unconditional rows", "leave it out")
    if settings.max_sequence_length > MOST_TOKENS:
        asked = settings.max_sequence_length
        raise UserError(f"max_sequence_length = {asked} is more than FLUX reads", f"use {MOST_TOKENS} or fewer")
    if settings.guidance and not _guided(model):
        raise UserError(f"{model.name} takes no guidance: its transformer embeds none", "use --guidance 0")


def _guided(model: ModelEntry) -> bool:
    """Return whether guidance is an input of the transformer: FLUX.1-dev, not schnell."""
    return bool(model.config(ROLE, "transformer").get("guidance_embeds"))


def _vae_scale(model: ModelEntry) -> int:
    """Return the width of a latent pixel in picture pixels."""
    return int(2 ** (len(model.config(ROLE, "vae")["block_out_channels"]) - 1))


def _grid(model: ModelEntry, settings: FluxSettings) -> tuple[int, int]:
    """Return the rows and columns of tokens.

    Raises:
        UserError: a size that the stock pipeline would round down.
    """
    unit = _vae_scale(model) * PATCH
    for side, pixels in (("height", settings.height), ("width", settings.width)):
        if pixels % unit:
            near = max(unit, round(pixels / unit) * unit)
            raise UserError(f"{side} {pixels} is not a multiple of {unit}, which this model needs", f"use {near}")
    return settings.height // unit, settings.width // unit


def _flowing(config: dict[str, Any], asked: str) -> dict[str, Any]:
    """Return the checkpoint's scheduler configuration; for a class in its place, with what it needs to follow a flow.

    Raises:
        UserError: a scheduler whose timesteps `FluxPipeline` cannot set.
    """
    import diffusers

    name = str(config.get("_class_name")) if asked == "default" else asked
    kind: Any = getattr(diffusers, name, None)
    if kind is None:
        return config  # which `Sampler` refuses
    if name not in SCHEDULERS:
        raise UserError(f"{name} cannot be used: it does not follow FLUX's flow", _instead(SCHEDULERS))
    if "sigmas" not in inspect.signature(kind.set_timesteps).parameters and not config.get("use_dynamic_shifting"):
        reason = "it shifts its timesteps with the picture's size, and this checkpoint does not"
        raise UserError(f"{name} cannot be used: {reason}", _instead(SCHEDULERS[:2]))
    if asked == "default":
        return config
    return following_a_flow(config, kind)


def _instead(schedulers: Sequence[str]) -> str:
    return f"use --scheduler {', '.join(schedulers[:-1])} or {schedulers[-1]}"


def _timing(config: dict[str, Any], tokens: int, steps: int) -> dict[str, Any]:
    """Return what `FluxPipeline` gives `set_timesteps` for pictures of that many tokens."""
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    shift = calculate_shift(
        tokens,
        config.get("base_image_seq_len", 256),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.5),
        config.get("max_shift", 1.15),
    )
    if config.get("use_flow_sigmas"):
        return {"mu": shift}
    return {"mu": shift, "sigmas": np.linspace(1.0, 1 / steps, steps)}
