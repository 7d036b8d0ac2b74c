"""Pipelines of diffusers beside ours: one small checkpoint, run by both from the same noise."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from stock_noise import StockNoise
from tiny_modular_pipelines import stock_modular_of
from tiny_pipelines import save_tiny_pipeline
from torch import Tensor

from generators.batching import Batches
from generators.catalogue import model
from generators.checkpoint_files import MODULAR_INDEX
from generators.executor import decode_images, execute
from generators.families import seams
from generators.families.base import get_family, resolve_settings
from generators.families.described import following_a_flow
from generators.families.diffusers_pipeline import DiffusersPipeline
from generators.families.modular import ENDING
from generators.families.pipeline_classes import ONE_AT_A_TIME
from generators.noise import node_key
from generators.settings import GenerationSettings
from generators.sharing.plan import baseline_plan

PROMPTS = ["a red fox", "a blue cat asleep by an old lake in winter", "nine dogs"]
KEYS = [f"{prompt}#0" for prompt in PROMPTS]
STEPS = 4
# What a call needs to be small, or to be what a user has.
SMALL = {"height": 16, "width": 16}
ASKED: dict[str, dict[str, Any]] = {
    "FluxPipeline": {**SMALL, "max_sequence_length": 28},
    "ZImagePipeline": {**SMALL, "arguments": {"max_sequence_length": 96}},
    "QwenImagePipeline": SMALL,
    "Flux2Pipeline": {**SMALL, "arguments": {"max_sequence_length": 96}},
    "Flux2KleinPipeline": {**SMALL, "arguments": {"max_sequence_length": 96}},
    "SanaPipeline": {
        "height": 32,
        "width": 32,
        "arguments": {
            "use_resolution_binning": False,
            "complex_human_instruction": None,
            "max_sequence_length": 64,
        },
    },
    "PixArtSigmaPipeline": {**SMALL, "arguments": {"use_resolution_binning": False, "max_sequence_length": 48}},
    "Lumina2Pipeline": {"height": 32, "width": 32},
    "CogView4Pipeline": SMALL,
    "ChromaPipeline": {**SMALL, "arguments": {"max_sequence_length": 48}},
    "HiDreamImagePipeline": SMALL,
    "HunyuanImagePipeline": SMALL,
    "AuraFlowPipeline": {**SMALL, "arguments": {"max_sequence_length": 48}},
    "Kandinsky5T2IPipeline": {"height": 32, "width": 32, "arguments": {"max_sequence_length": 256}},
    "Krea2Pipeline": {**SMALL, "arguments": {"max_sequence_length": 256}},
    "BriaPipeline": {**SMALL, "arguments": {"max_sequence_length": 48}},
    "AnimaModularPipeline": SMALL,
    "Flux3ModularPipeline": SMALL,
    "Flux3DistilledModularPipeline": SMALL,
    "PRXPipeline": {"height": 32, "width": 32, "arguments": {"use_resolution_binning": False}},
}


class Case:
    """One pipeline: its folder, our family of it, and stock."""

    def __init__(self, name: str, family: DiffusersPipeline, stock: Any) -> None:
        self.name, self.family, self.stock = name, family, stock

    @classmethod
    def tiny(cls, name: str, folder: Path) -> "Case":
        """A small one of that class, saved to `folder`."""
        from stock_modular import ModularCase  # which is a `Case`

        save_tiny_pipeline(name, folder)
        kind = ModularCase if name.endswith(ENDING) else cls
        return kind(name, loaded(folder), stock_of(folder))

    @classmethod
    def of(cls, family: DiffusersPipeline, stock: Any) -> "Case":
        """Both as they are."""
        return cls(type(stock).__name__, family, stock)

    @property
    def folder(self) -> Path:
        return Path(self.family.entry.source("pipeline"))

    def halved(self) -> "Case":
        """Both in bf16."""
        stock = stock_of(self.folder, torch_dtype=torch.bfloat16)
        return type(self)(self.name, loaded(self.folder, dtype="bf16"), stock)

    def settings(self, **asked: Any) -> GenerationSettings:
        fixed = {"steps": STEPS, "dtype": "fp32", **ASKED.get(self.name, {})}
        return resolve_settings(self.family.entry, {**fixed, **asked})

    @property
    def batch(self) -> int:
        """As many as stock itself takes at once."""
        return 1 if self.name in ONE_AT_A_TIME else len(PROMPTS)

    def ours(self, settings: GenerationSettings, batch: int | None = None) -> tuple[Tensor, np.ndarray]:
        """Finished latents and pictures by our executor, a batch at a time."""
        noise, family, batch = StockNoise(), self.family, batch or self.batch
        conditioning = family.encode(PROMPTS, KEYS, settings, Batches(batch))
        plan = baseline_plan(len(PROMPTS), family.sampler(settings).K)
        done = execute(plan, family, conditioning, KEYS, settings, noise=noise, batch_size=batch)
        images = decode_images(family, done, KEYS, settings, noise=noise, batches=Batches(batch))
        return done.latents, np.concatenate(list(images))

    def theirs(self, settings: GenerationSettings, batch: int | None = None) -> tuple[Tensor, np.ndarray]:
        """The same by stock."""
        batch = batch or self.batch
        parts = [self.stock_call(settings, slice(i, i + batch)) for i in range(0, len(PROMPTS), batch)]
        latents, images = zip(*parts, strict=True)
        return torch.cat(latents), np.concatenate(images)

    def stock_call(self, settings: GenerationSettings, rows: slice) -> tuple[Tensor, np.ndarray]:
        """Stock's own call and all of its loop, with our noise where it draws its own."""
        stock, noise, nodes = self.stock, StockNoise(), [node_key([key]) for key in KEYS[rows]]
        finished: list[Tensor] = []
        generators = [torch.Generator() for _ in nodes]
        own_scheduler = stock.scheduler

        def heard(*args: Any, **kwargs: Any) -> Any:
            for generator, node in zip(generators, nodes, strict=True):
                generator.manual_seed(noise.seed(len(finished), 0, node))
            output = step(*args, **kwargs)
            finished[:] = [*finished, output[0] if isinstance(output, tuple) else output.prev_sample]
            return output

        if settings.scheduler != "default":
            kind = getattr(diffusers, settings.scheduler)
            config = following_a_flow({**own_scheduler.config, "_class_name": type(own_scheduler).__name__}, kind)
            stock.scheduler = kind.from_config(config)
        step = stock.scheduler.step
        heard.__signature__ = inspect.signature(step)
        stock.scheduler.step = heard
        try:
            with self.beginning(lambda latents: latents * noise.initial(nodes, latents.shape[1:]).to(latents)):
                images = self.pictures(settings, PROMPTS[rows], generators)
        finally:
            del stock.scheduler.step
            stock.scheduler = own_scheduler
        return finished[-1], (images * 255).round().astype(np.uint8)

    @contextmanager
    def beginning(self, from_ones: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Have stock begin with what this makes of the latents that it makes where it draws ones.

        Packed or not, ones stay ones: what stock makes of them is the factor that it gives unit noise.
        """
        own = self.stock.prepare_latents

        def prepared(*args: Any, **kwargs: Any) -> Any:
            with ones_drawn(type(self.stock).prepare_latents):
                output = own(*args, **kwargs)
            first = from_ones(output[0] if isinstance(output, tuple) else output)
            return (first, *output[1:]) if isinstance(output, tuple) else first

        self.stock.prepare_latents = prepared
        try:
            yield
        finally:
            del self.stock.prepare_latents

    def pictures(
        self, settings: GenerationSettings, prompts: list[str], generators: list[torch.Generator]
    ) -> np.ndarray:
        """What stock's call makes of prompts."""
        further = {"generator": generators, "output_type": "np", "return_dict": False}
        return self.stock(**self.arguments(settings, prompts), **further)[0]

    def encodings(self, settings: GenerationSettings, prompts: list[str]) -> list[Any]:
        """What stock's `encode_prompt` returns, call by call."""
        return seams.encoded(self.stock, {**self.arguments(settings, prompts), "output_type": "np"})

    def arguments(self, settings: GenerationSettings, prompts: list[str]) -> dict[str, Any]:
        """What a user of stock would write for these settings."""
        takes = inspect.signature(type(self.stock).__call__).parameters
        guidance = "true_cfg_scale" if self.name == "QwenImagePipeline" else "guidance_scale"
        written = {"height": settings.height, "width": settings.width, guidance: settings.guidance}
        if settings.negative_prompt or self.name == "QwenImagePipeline":
            written["negative_prompt"] = [settings.negative_prompt] * len(prompts)
        written = {name: value for name, value in written.items() if name in takes}
        return {"prompt": list(prompts), "num_inference_steps": settings.steps, **written, **settings.further}


@contextmanager
def ones_drawn(drawing: Any) -> Iterator[None]:
    """Have whoever draws noise in the module of this function get ones."""
    names = inspect.unwrap(drawing).__globals__
    draw = names["randn_tensor"]
    names["randn_tensor"] = lambda shape, dtype=None, **_: torch.ones(shape, dtype=dtype)
    try:
        yield
    finally:
        names["randn_tensor"] = draw


def loaded(folder: Path, device: str = "cpu", dtype: str = "fp32") -> DiffusersPipeline:
    """Our family of a folder."""
    entry = model(str(folder))
    return get_family(entry.family).load(entry, device, dtype)


def stock_of(folder: Path, **parts: Any) -> Any:
    """The stock pipeline of a folder."""
    if (folder / MODULAR_INDEX).is_file():
        return stock_modular_of(folder, **parts)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, use_safetensors=True, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
