"""diffusers' own pipelines on the modules that ours has loaded, a batch a call, with their own noise or with ours."""

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any
from unittest.mock import patch

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.models import Loaded
from common.logs import errors_alone
from generators.families.encoding import torch_generator
from generators.families.prompt_returns import unpacked
from generators.noise import node_key

# (step, which draw of it, shape of a row) -> [b, *shape]
Draw = Callable[[int, int, tuple[int, ...]], torch.Tensor]


class Stock:
    """The stock pipeline of a loaded model."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self._call = CALLS[loaded.entry.family]
        self.pipeline = _pipeline(loaded)
        self.pipeline.set_progress_bar_config(disable=True)

    @property
    def encodes(self) -> bool:
        """Whether its call begins with the prompts, not with what they are encoded as: Karlo's does."""
        return self.loaded.entry.family == "karlo"

    def pictures(self, rows: slice) -> NDArray[np.uint8]:
        """As anyone would call it: one generator for all."""
        generator = torch.Generator(self.loaded.device).manual_seed(self.loaded.settings.seed)
        return self._made(rows, generator, {})

    def same_pictures(self, rows: slice) -> NDArray[np.uint8]:
        """From the noise that ours has."""
        loaded, nodes = self.loaded, [node_key([key]) for key in self.loaded.keys[rows]]
        seed, shape = loaded.settings.embedding_seed, loaded.family.latent_shape(loaded.settings)
        generators = [torch_generator(seed, "prior", key) for key in loaded.keys[rows]]
        given = {"latents": loaded.noise.initial(nodes, shape).to(self.pipeline.device, self.pipeline.dtype)}

        def drawn(k: int, draw: int, shape: tuple[int, ...]) -> torch.Tensor:
            return loaded.noise.step(nodes, k, shape, draw)

        with ExitStack() as fed:
            if self.encodes:
                given = {f"decoder_{name}": tensor for name, tensor in given.items()}
                steps, side = loaded.steps, self.pipeline.super_res_first.config.sample_size
                given["super_res_latents"] = drawn(steps, 0, (3, side, side)).to(self.pipeline.dtype)
                fed.enter_context(_fed(self.pipeline.decoder_scheduler, drawn))
                enlarging = self.pipeline.super_res_scheduler
                fed.enter_context(_fed(enlarging, lambda k, _, shape: drawn(steps, k + 1, shape)))
            else:
                fed.enter_context(_fed(self.pipeline.scheduler, drawn))
            return self._made(rows, generators, given)

    def _made(self, rows: slice, generator: Any, given: dict[str, torch.Tensor]) -> NDArray[np.uint8]:
        images = self._call(self, rows, generator=generator, output_type="np", **given).images
        pictures: NDArray[np.uint8] = (images * 255).round().astype(np.uint8)
        return pictures

    def embeds(self, rows: slice, **names: str) -> dict[str, torch.Tensor]:
        """The conditioning's rows, by the pipeline's names for them."""
        tensors = self.loaded.conditioning.tensors
        place = self.loaded.device, self.loaded.family.dtype
        return {theirs: tensors[ours][rows].to(*place) for theirs, ours in names.items()}

    @property
    def asked(self) -> dict[str, Any]:
        settings = self.loaded.settings
        return {
            "height": settings.height,
            "width": settings.width,
            "num_inference_steps": settings.steps,
            "guidance_scale": settings.guidance,
        }


def _pipeline(loaded: Loaded) -> Any:
    family: Any = loaded.family
    if loaded.entry.family == "karlo":
        parts = {
            **family.encoders.components,
            **{k: v for k, v in family.denoisers.components.items() if v is not None},
        }
        return type(family.denoisers)(**parts)
    own = family.decoder if loaded.entry.family == "kandinsky" else family.denoiser
    config = loaded.entry.config(loaded.family.roles[-1], "scheduler", "scheduler_config.json")
    kind = config["_class_name"] if loaded.settings.scheduler == "default" else loaded.settings.scheduler
    parts = {**own.components, "scheduler": getattr(diffusers, kind).from_config(config)}
    parts |= {name: False for name in inspect.signature(type(own)).parameters if name.startswith("requires_")}
    with errors_alone("diffusers.pipelines.stable_diffusion"):  # it has no safety checker
        return type(own)(**parts)


def _kandinsky(stock: Stock, rows: slice, **further: Any) -> Any:
    names = ("image_embeds", "negative_image_embeds")
    return stock.pipeline(**stock.embeds(rows, **dict(zip(names, names, strict=True))), **stock.asked, **further)


def _of_one_family(stock: Stock, rows: slice, **further: Any) -> Any:
    tensors = dict(stock.loaded.conditioning.read(np.arange(len(stock.loaded))[rows]))
    (returned,) = unpacked(tensors, torch.device(stock.loaded.device))
    embeds = dict(zip(RETURNED[type(stock.pipeline).__name__], returned, strict=False))
    return stock.pipeline(**embeds, **stock.asked, **further)


def _karlo(stock: Stock, rows: slice, **further: Any) -> Any:
    settings = stock.loaded.settings
    return stock.pipeline(
        list(stock.loaded.prompts[rows]),
        prior_num_inference_steps=settings.prior_steps,
        decoder_num_inference_steps=settings.steps,
        super_res_num_inference_steps=settings.super_res_steps,
        prior_guidance_scale=settings.prior_guidance,
        decoder_guidance_scale=settings.guidance,
        **further,
    )


CALLS = {"kandinsky": _kandinsky, "diffusers": _of_one_family, "karlo": _karlo}
# What a call takes of that which its `encode_prompt` returns.
RETURNED = {
    "StableDiffusionPipeline": ("prompt_embeds", "negative_prompt_embeds"),
    "FluxPipeline": ("prompt_embeds", "pooled_prompt_embeds"),
}


@contextmanager
def _fed(scheduler: Any, drawn: Draw) -> Iterator[None]:
    """The scheduler's draws answered by `drawn` while the block runs."""
    steps, step, module = count(), scheduler.step, sys.modules[type(scheduler).__module__]

    def fed(*args: Any, **further: Any) -> Any:
        k, draws = next(steps), count()

        def served(shape: Sequence[int], **how: Any) -> torch.Tensor:
            return drawn(k, next(draws), tuple(shape[1:])).to(device=how.get("device"), dtype=how.get("dtype"))

        if not hasattr(module, "randn_tensor"):
            return step(*args, **further)
        with patch.object(module, "randn_tensor", served):
            return step(*args, **further)

    fed.__signature__ = inspect.signature(step)  # type: ignore[attr-defined] # by which pipelines see what it takes
    with patch.object(scheduler, "step", fed):
        yield
