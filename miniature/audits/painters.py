"""The miniature's models as anyone would run them: stock pipelines, at the catalogue's settings."""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from diffusers import (
    AutoencoderKL,
    FluxPipeline,
    KandinskyV22Pipeline,
    KandinskyV22PriorPipeline,
    PriorTransformer,
    StableDiffusionPipeline,
    UnCLIPPipeline,
    ZImagePipeline,
)
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from miniature.training.karlo import text_projection_class

CATALOGUE = Path(__file__).parents[2] / "generators" / "catalogue.yaml"
BATCH = 64


class Painter(ABC):
    """One model of the catalogue.

    Attributes:
        name: its family, and its folder among the checkpoints.
        model: what the catalogue calls it.
        settings: the catalogue's defaults.
    """

    name: ClassVar[str]
    model: ClassVar[str]

    def __init__(self, checkpoints: Path) -> None:
        entry = yaml.safe_load(CATALOGUE.read_text())["models"][self.model]
        self.settings: dict[str, Any] = entry["defaults"]
        sources = {**entry["sources"], **entry.get("components", {})}
        self.places = {part: checkpoints / source.removeprefix("embedded:") for part, source in sources.items()}

    def present(self) -> bool:
        return all(place.exists() for place in self.places.values())

    def pipeline(self, kind: Any, role: str, **borrowed: Any) -> Any:
        """Return the stock pipeline in the role's folder, in float32.

        Args:
            borrowed: classes of components that are where the catalogue says; None for one that is left out.
        """
        given = {name: part and part.from_pretrained(self.places[name]) for name, part in borrowed.items()}
        found = kind.from_pretrained(self.places[role], torch_dtype=torch.float32, **given)
        found.set_progress_bar_config(disable=True)
        return found

    @abstractmethod
    def pictures(self, prompts: list[str], seed: int) -> Tensor:
        """Return pictures [n, 3, 64, 64] in [-1, 1]; every prompt has noise of its own."""

    @property
    def size(self) -> dict[str, int]:
        return {side: self.settings[side] for side in ("height", "width")}


def batches(count: int) -> list[slice]:
    return [slice(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]


def dice(seed: int, rows: slice, apart: int = 1_000_003) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed * apart + row) for row in range(rows.start, rows.stop)]


class Kandinsky(Painter):
    name, model = "kandinsky", "mini-kandinsky"

    @cached_property
    def prior(self) -> KandinskyV22PriorPipeline:
        return self.pipeline(KandinskyV22PriorPipeline, "prior")

    @cached_property
    def decoder(self) -> KandinskyV22Pipeline:
        return self.pipeline(KandinskyV22Pipeline, "decoder")

    def embeddings(self, prompts: list[str], seed: int) -> tuple[Tensor, Tensor]:
        """Return image and negative embeddings, both [n, 192]."""
        found = self.prior(
            prompts,
            generator=dice(seed, slice(0, len(prompts)), apart=100_003),
            num_inference_steps=self.settings["prior_steps"],
            guidance_scale=self.settings["prior_guidance"],
        )
        return found.image_embeds, found.negative_image_embeds

    def drawn(self, embeddings: tuple[Tensor, Tensor], seed: int, steps: int | None = None) -> Tensor:
        """Return pictures [n, 3, 64, 64] in [-1, 1] of embeddings."""
        made = [
            self.decoder(
                image_embeds=embeddings[0][rows],
                negative_image_embeds=embeddings[1][rows],
                num_inference_steps=steps or self.settings["steps"],
                guidance_scale=self.settings["guidance"],
                generator=dice(seed, rows),
                output_type="pt",
                **self.size,
            ).images
            for rows in batches(len(embeddings[0]))
        ]
        return torch.cat(made).clamp(-1, 1)  # the stock pipeline leaves tensors in [-1, 1]

    def pictures(self, prompts: list[str], seed: int) -> Tensor:
        return self.drawn(self.embeddings(prompts, seed), seed)


class OneCall(Painter):
    """A model whose stock pipeline goes from prompts to pictures in one call."""

    def pictures(self, prompts: list[str], seed: int) -> Tensor:
        made = [self.batch(prompts[rows], dice(seed, rows)) for rows in batches(len(prompts))]
        return torch.cat(made) * 2 - 1

    @abstractmethod
    def batch(self, prompts: list[str], generators: list[torch.Generator]) -> Tensor:
        """Return pictures [b, 3, 64, 64] in [0, 1]."""


class StableDiffusion(OneCall):
    name, model = "stable-diffusion", "mini-sd"

    @cached_property
    def stock(self) -> StableDiffusionPipeline:
        return self.pipeline(
            StableDiffusionPipeline,
            "pipeline",
            text_encoder=CLIPTextModel,
            tokenizer=CLIPTokenizer,
            safety_checker=None,
        )

    def batch(self, prompts: list[str], generators: list[torch.Generator]) -> Tensor:
        return self.stock(
            prompts,
            num_inference_steps=self.settings["steps"],
            guidance_scale=self.settings["guidance"],
            generator=generators,
            output_type="pt",
            **self.size,
        ).images


class LongText(OneCall):
    """Painters whose pipelines take text of a length that is set."""

    @property
    @abstractmethod
    def stock(self) -> Any:
        """The pipeline of diffusers."""

    def batch(self, prompts: list[str], generators: list[torch.Generator]) -> Tensor:
        return self.stock(
            prompts,
            num_inference_steps=self.settings["steps"],
            guidance_scale=self.settings["guidance"],
            max_sequence_length=self.settings["max_sequence_length"],
            generator=generators,
            output_type="pt",
            **self.size,
        ).images


class Flux(LongText):
    name, model = "flux", "mini-flux"

    @cached_property
    def stock(self) -> FluxPipeline:
        return self.pipeline(
            FluxPipeline, "pipeline", text_encoder=CLIPTextModel, tokenizer=CLIPTokenizer, vae=AutoencoderKL
        )


class ZImage(LongText):
    name, model = "z-image", "mini-z-image"

    @cached_property
    def stock(self) -> ZImagePipeline:
        return self.pipeline(ZImagePipeline, "pipeline", vae=AutoencoderKL)


class Karlo(OneCall):
    name, model = "karlo", "mini-karlo"

    @cached_property
    def stock(self) -> UnCLIPPipeline:
        """Return the stock pipeline with its text projection loaded by itself: the loader does not find that class."""
        text_proj = text_projection_class().from_pretrained(self.places["pipeline"], subfolder="text_proj")
        found = self.pipeline(
            UnCLIPPipeline,
            "pipeline",
            text_proj=None,
            prior=PriorTransformer,
            text_encoder=CLIPTextModelWithProjection,
            tokenizer=CLIPTokenizer,
        )
        found.register_modules(text_proj=text_proj)
        return found

    def batch(self, prompts: list[str], generators: list[torch.Generator]) -> Tensor:
        made = self.stock(
            prompts,
            prior_num_inference_steps=self.settings["prior_steps"],
            prior_guidance_scale=self.settings["prior_guidance"],
            decoder_num_inference_steps=self.settings["steps"],
            decoder_guidance_scale=self.settings["guidance"],
            super_res_num_inference_steps=self.settings["super_res_steps"],
            generator=generators,
            output_type="np",
        ).images
        return torch.from_numpy(made).permute(0, 3, 1, 2)


PAINTERS: dict[str, type[Painter]] = {kind.name: kind for kind in (Kandinsky, StableDiffusion, Karlo, Flux, ZImage)}
