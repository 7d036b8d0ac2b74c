"""Modular pipelines of diffusers, called as classic ones are.

A modular pipeline is a list of blocks that read and write one state. `classic_class` gives its class a call with the
four places at which classic calls are stopped: `encode_prompt` runs the blocks before the one that counts the prompts,
`prepare_latents` the one that makes noise, the loop is the loop block's own, and the scheduler is the pipeline's. So
whoever runs classic pipelines runs these too, by their own blocks.
"""

import inspect
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import cache, cached_property, wraps
from inspect import Parameter
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from generators.checkpoint_files import MODULAR_INDEX

ENDING = "ModularPipeline"
WORKFLOW = "text2image"
GUIDER, GUIDANCE = "guider", "guidance_scale"
COUNTED, LATENTS = "batch_size", "latents"  # what the block that counts prompts, and the one that makes noise, put out
# Components of steps that rewrite prompts, which are left out: a benchmark's prompts are encoded as they are.
REWRITING = ("prompt_upsampler", "prompt_upsampler_processor")
# Their text encoder takes one prompt a call, so that stock's batches are of one.
ONE_PROMPT = ("Flux3ModularPipeline", "Flux3DistilledModularPipeline")
# Which mask says where the states of a text end, of which the denoiser is not told: they are zeros from there on.
MASKS = {
    "AnimaModularPipeline": {
        "prompt_embeds": "t5_attention_mask",
        "negative_prompt_embeds": "negative_t5_attention_mask",
    }
}
# What a classic pipeline is too, where that has another name than the same without "Modular".
TWINS = {
    "Flux2KleinBaseModularPipeline": "Flux2KleinPipeline",
    "Krea2TurboModularPipeline": "Krea2Pipeline",
    "QwenImage21TurboModularPipeline": "QwenImage21Pipeline",
}
LOUD = "diffusers.modular_pipelines.modular_pipeline"  # which logs a traceback of what a step raises, and raises it
NO_WORKFLOW = "it has no workflow that makes pictures from text"


@cache
def classic_class(name: str) -> Any:
    """Return the class of diffusers pipelines of that name; of a modular one, with the call of a classic one."""
    import diffusers

    kind = getattr(diffusers, name)
    if not name.endswith(ENDING):
        return kind
    workflow = Workflow(kind)
    given = [Parameter(key, Parameter.KEYWORD_ONLY, default=value) for key, value in workflow.defaults.items()]
    size = [Parameter(side, Parameter.KEYWORD_ONLY) for side in ("height", "width")]
    state = Parameter("state", Parameter.POSITIONAL_OR_KEYWORD)
    members = {
        "workflow": workflow,
        "__module__": kind.__module__,
        "__call__": _in_place_of(workflow.loop, CalledAsClassic.__call__, given),
        "prepare_latents": _in_place_of(workflow.prepare, CalledAsClassic.prepare_latents, [state, *size]),
    }
    return type(name, (CalledAsClassic, kind), members)


def twin_of(name: str) -> str | None:
    """Return the class of classic pipelines that runs the same models as a modular one; None where there is none."""
    import diffusers

    twin = TWINS.get(name, name.replace("Modular", ""))
    return twin if hasattr(diffusers, twin) else None


def unserved(name: str) -> str | None:
    """Return why no modular pipeline of this class can be called as a classic one; None if it can."""
    import diffusers

    kind = getattr(diffusers, name)
    blocks = getattr(diffusers, kind.default_blocks_name or "", None)
    if WORKFLOW not in (getattr(blocks, "_workflow_map", None) or ()):
        return NO_WORKFLOW
    return Workflow(kind).unserved


class Workflow:
    """The blocks of a modular pipeline that make pictures from text, without those that rewrite prompts first.

    Attributes:
        name: of the pipeline's class.
        blocks: all of them, in order, as one block.
        rewritten: whether stock rewrites prompts first.
    """

    def __init__(self, kind: Any) -> None:
        import diffusers

        self.name = str(kind.__name__)
        self.blocks: Any = getattr(diffusers, kind.default_blocks_name)().get_workflow(WORKFLOW)
        every = dict(self.blocks.sub_blocks)
        rewriting = [name for name, block in every.items() if {*REWRITING} & {*block.component_names}]
        self.rewritten = bool(rewriting)
        for name in rewriting:
            self.blocks.sub_blocks.pop(name)
        self._list = list(self.blocks.sub_blocks.values())
        self._counts = self._place(lambda block: COUNTED in block.intermediate_output_names)
        self._prepares = self._place(lambda block: LATENTS in block.intermediate_output_names)
        self._loops = self._place(lambda block: hasattr(block, "loop_step"))

    def _place(self, is_it: Callable[[Any], bool]) -> int:
        """Return the place of the first such block; -1 where there is none."""
        return next((place for place, block in enumerate(self._list) if is_it(block)), -1)

    @property
    def unserved(self) -> str | None:
        """Why it cannot be stopped where classic calls are; None if it can."""
        if "num_frames" in self.blocks.input_names:
            return "it makes films"
        if not 0 < self._counts < self._prepares < self._loops:
            return "its blocks do not encode, count prompts, make latents and denoise in that order"
        if "enumerate(block_state.timesteps)" not in inspect.getsource(_call_of(self.loop)):
            return "its loop block has no enumerate(block_state.timesteps), where it could be stopped"
        return None

    @property
    def encoding(self) -> list[Any]:
        """The blocks that encode prompts."""
        return self._list[: self._counts]

    @property
    def further(self) -> list[Any]:
        """The blocks behind them."""
        return self._list[self._counts :]

    @property
    def prepare(self) -> Any:
        """The block that makes the noise that is denoised."""
        return self._list[self._prepares]

    @property
    def loop(self) -> Any:
        """The block that denoises."""
        return self._list[self._loops]

    @cached_property
    def inputs(self) -> list[Any]:
        """What its blocks are given by name; diffusers looks through all of them to say so."""
        return [given for given in self.blocks.inputs if given.name]

    @cached_property
    def encoded(self) -> dict[str, str | None]:
        """What encoding puts out that further blocks ask for by name, and the group of inputs that it belongs to."""
        asked = {name for block in self.further for name in block.input_names}
        outputs = [output for block in self.encoding for output in block.intermediate_outputs]
        return {output.name: output.kwargs_type for output in outputs if output.name in asked}

    @cached_property
    def masks(self) -> dict[str, str]:
        """The mask of what is encoded, by that one's name, as far as there is one."""
        return MASKS.get(self.name, {})

    @cached_property
    def returned(self) -> list[str]:
        """The names of what is encoded, each before its mask."""
        return [both for name in self.encoded for both in (name, self.masks.get(name)) if both]

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The inputs by name, and what holds where one is not given; guidance, which its guider has, among them."""
        known = {given.name: given.default for given in self.inputs}
        guiders = [spec for spec in self.blocks.expected_components if spec.name == GUIDER]
        return {
            **known,
            **{name: spec.config[name] for spec in guiders for name in (spec.config or {}) if name == GUIDANCE},
        }


class CalledAsClassic:
    """What `classic_class` puts before a class of modular pipelines."""

    workflow: ClassVar[Workflow]

    @classmethod
    def from_pretrained(
        cls,
        folder: str,
        variant: str | None = None,
        torch_dtype: Any = None,
        use_safetensors: bool = True,
        **parts: Any,
    ) -> Any:
        """Return the pipeline that was saved to a folder, of which `parts` are there already.

        Raises:
            ValueError: a component is elsewhere, or cannot be loaded.
        """
        index = json.loads((Path(folder) / MODULAR_INDEX).read_text(encoding="utf-8"))
        kind: Any = cls
        pipeline = kind(blocks=cls.workflow.blocks, pretrained_model_name_or_path=folder, modular_config_dict=index)
        for name in pipeline.pretrained_component_names:
            if name in parts:
                continue
            spec, weights = pipeline.get_component_spec(name), {}
            if spec.pretrained_model_name_or_path != folder:
                raise ValueError(f"its {name} is elsewhere, in {spec.pretrained_model_name_or_path}")
            if spec.type_hint is not None and issubclass(spec.type_hint, torch.nn.Module):
                marked = any(f".{variant}." in path.name for path in (Path(folder) / name).iterdir())
                weights = {"torch_dtype": torch_dtype, "use_safetensors": use_safetensors}
                weights["variant"] = variant if marked else None  # some components may have plain weights alone
            parts[name] = spec.load(**weights)
        expected = pipeline.component_names
        pipeline.register_components(**{name: part for name, part in parts.items() if name in expected})
        return pipeline

    def __call__(self, return_dict: bool = True, **arguments: Any) -> tuple[Any, ...]:
        """Run the blocks from a text to pictures, which are the first output."""
        from diffusers.modular_pipelines import PipelineState

        workflow, state, guidance = self.workflow, PipelineState(), arguments.pop(GUIDANCE, None)
        for given in workflow.inputs:
            state.set(given.name, arguments.get(given.name, given.default), given.kwargs_type)
        with self._guided(guidance):
            returns = self.encode_prompt(state)
            found = dict(zip(workflow.returned, returns, strict=True))
            for name, group in workflow.encoded.items():
                value = found[name]
                # of other lengths only where prompts are encoded, and nothing is done with them here
                state.set(name, pad_sequence(value, batch_first=True) if isinstance(value, list) else value, group)
            for block in workflow.further:
                if block is workflow.prepare:
                    sides = ("height", "width")
                    size = {side: state.get(side) or getattr(self, f"default_{side}", None) for side in sides}
                    state.set(LATENTS, self.prepare_latents(state, **size))
                elif block is workflow.loop:
                    self.denoise(state)
                else:
                    block(self, state)
        return (state.get("images"),)

    def encode_prompt(self, state: Any) -> tuple[Any, ...]:
        """Return what the state's prompts become, in the order of the workflow's `returned`.

        A text encoder that takes one prompt a call is called for each: then it is a list of one tensor a prompt.
        """
        if self.workflow.name not in ONE_PROMPT:
            return self._encoded(state)
        prompts = state.get("prompt")
        negative = state.get("negative_prompt") or [None] * len(prompts)
        apart = [
            self._encoded(state, prompt=one, negative_prompt=other)
            for one, other in zip(prompts, negative, strict=True)
        ]
        return tuple(
            [one[0] for one in ones] if isinstance(ones[0], Tensor) else ones[0] for ones in zip(*apart, strict=True)
        )

    def _encoded(self, state: Any, **texts: Any) -> tuple[Any, ...]:
        # a state of its own: what was encoded before is not there when its encodings are given
        own = type(state)({**state.values, **texts})
        for block in self.workflow.encoding:
            block(self, own)
        for states, mask in self.workflow.masks.items():
            if own.get(mask) is not None:
                own.set(mask, pad(own.get(mask), (0, own.get(states).shape[1] - own.get(mask).shape[1])))
        return tuple(own.get(name) for name in self.workflow.returned)

    def prepare_latents(self, state: Any, *, height: int | None, width: int | None) -> Tensor:
        """Return the latents that the state's prompts begin with; the block puts ids and the like into the state."""
        self.workflow.prepare(self, state)
        latents: Tensor = state.get(LATENTS)
        return latents

    def denoise(self, state: Any) -> None:
        """Run the loop; a loop block that takes no step at all misses what a step would have put out."""
        loud, before = logging.getLogger(LOUD), logging.getLogger(LOUD).disabled
        loud.disabled = True
        try:
            self.workflow.loop(self, state)
        finally:
            loud.disabled = before

    @contextmanager
    def _guided(self, guidance: float | None) -> Iterator[None]:
        """Let a copy of the guider guide so much: a guider remembers the step that it was last asked for."""
        own = vars(self).get(GUIDER)
        if own is None:
            yield
            return
        vars(self)[GUIDER] = guider = copy(own)
        if guidance is not None:
            if not hasattr(guider, GUIDANCE):
                raise ValueError(f"its guider, a {type(guider).__name__}, has no {GUIDANCE}")
            if guidance == 0 and not getattr(guider, "use_original_formulation", False):
                raise ValueError(f"with {GUIDANCE} 0 a guider follows the negative prompt alone, 1 is none")
            guider.guidance_scale = guidance
        try:
            yield
        finally:
            vars(self)[GUIDER] = own


def _call_of(block: Any) -> Callable[..., Any]:
    call: Callable[..., Any] = type(block).__call__
    return call


def _in_place_of(block: Any, method: Callable[..., Any], parameters: Sequence[Parameter]) -> Callable[..., Any]:
    """Return the method as `seams` looks at methods: its module and its source are those of the block's call."""

    @wraps(_call_of(block))
    def standing(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    own = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
    standing.__signature__ = inspect.Signature([own, *parameters])  # type: ignore[attr-defined]
    return standing
