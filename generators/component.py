"""The modules that a model family computes with, described for whoever counts their cost."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch.nn import Module

Phase = Literal["encode", "denoise", "decode"]
Unit = Literal["prompt", "node_step", "unguided_step", "image"]
Inputs = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Component:
    """One module of a family and how often it is called.

    `build()` gives the module, and `inputs(module)` its `(args, kwargs)` for a batch of one; both are
    called under ``torch.device("meta")``, so that a model of any size is described without its weights.
    Attention is built in its plain form (matrix products), which a FLOP counter sees on any device.
    """

    name: str
    phase: Phase
    unit: Unit
    calls: float  # per unit
    build: Callable[[], "Module"]
    inputs: Callable[["Module"], Inputs]
    together: int = 1  # of the calls of one unit, how many are rows of the same batch: 2 with guidance


def diffusers_module(class_name: str, config: dict[str, Any]) -> Callable[[], "Module"]:
    """Return a `Component.build` for a diffusers model of this configuration."""

    def build() -> "Module":
        import diffusers
        from diffusers.models.attention_processor import Attention, AttnAddedKVProcessor, AttnProcessor

        module: Module = getattr(diffusers, class_name).from_config(config)
        for layer in module.modules():
            if isinstance(layer, Attention):
                layer.set_processor(AttnProcessor() if layer.add_k_proj is None else AttnAddedKVProcessor())
        return module.eval()

    return build


def transformers_module(class_name: str, config: dict[str, Any]) -> Callable[[], "Module"]:
    """Return a `Component.build` for a transformers model of this configuration."""

    def build() -> "Module":
        import transformers

        model_class = getattr(transformers, class_name)
        settings = model_class.config_class(**config, attn_implementation="eager")
        module: Module = model_class(settings)
        return module.eval()

    return build
