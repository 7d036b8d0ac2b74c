"""A diffusers pipeline without weights, and what its own code says of its encodings, latents and timesteps."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from common.errors import UserError
from common.logs import errors_alone
from generators.checkpoints import (
    INDEX,
    check_classes,
    components,
    configured,
    load_config,
    load_pipeline,
    named_pipeline,
    packaged,
)
from generators.families import seams
from generators.families.base import ROLE
from generators.families.encoding import warnings_kept
from generators.families.modular import Workflow, classic_class
from generators.families.pipeline_classes import ONE_AT_A_TIME
from generators.families.pipeline_settings import PipelineSettings
from generators.families.prompt_returns import PROBES, Leaf, learned
from generators.families.shells import UNUSED, Shells
from generators.model_entry import ModelEntry, models
from generators.predicted_x0 import FLOW
from generators.sampler import Sampler

T = TypeVar("T")

DENOISERS = ("transformer", "unet")
PROMPT = "a fox"  # where a call needs prompts whose encoding is known already, or of no account
TRUE_GUIDANCE = "true_cfg_scale"
# Arguments that the settings speak for, or that would make the call another one.
OWN_ARGUMENTS = frozenset(
    [
        "callback",
        "callback_on_step_end",
        "callback_steps",
        "denoising_end",
        "eta",
        "generator",
        "height",
        "image",
        "latents",
        "negative_prompt",
        "num_images_per_prompt",
        "num_inference_steps",
        "output_type",
        "prompt",
        "return_dict",
        "sigmas",
        "timesteps",
        "width",
    ]
)


def described(entry: ModelEntry) -> "Described":
    """Return the pipeline of a model, without its weights."""
    return described_at(entry.source(ROLE), entry.borrowed)


def described_at(source: str, borrowed: Mapping[str, str]) -> "Described":
    """Return the pipeline of that folder or hub id, without its weights; `borrowed` is as in `Shells`."""
    return _described(configured(source), tuple(sorted(borrowed.items())))


@lru_cache(maxsize=8)
def _described(source: str, borrowed: tuple[tuple[str, str], ...]) -> "Described":
    return Described(source, dict(borrowed))


class Described:
    """A pipeline without weights.

    Attributes:
        kind: its class.
        shells: its modules.
        parameters: of its call.
        guidance: the name of the argument that guidance is; None where there is none.
        denoiser: the name of the module that denoises.
        most_prompts: of one call; None for any number.
    """

    def __init__(self, source: str, borrowed: dict[str, str]) -> None:
        name = named_pipeline(source)
        self._source, self._borrowed = source, borrowed
        self.kind: Any = classic_class(name)
        check_classes(source, [part for part in components(source) if part not in UNUSED])
        self.shells = Shells(source, borrowed)
        self.parameters = inspect.signature(self.kind.__call__).parameters
        self.denoiser = next((name for name in DENOISERS if name in self.shells.names), "")
        if not self.denoiser:
            raise UserError(f"a {name} cannot be run: it has no {' or '.join(DENOISERS)}")
        self.guidance = self._guidance_argument()
        self.most_prompts = 1 if name in ONE_AT_A_TIME else None
        self._kept: dict[tuple[Any, ...], Any] = {}

    @property
    def name(self) -> str:
        """The name of its class."""
        return str(self.kind.__name__)

    @cached_property
    def pipeline(self) -> Any:
        """The pipeline, all of whose modules are shells."""
        device, shells = torch.device("cpu"), self.shells
        pipeline = self.assembled({name: shells.shell(name, device, torch.float32) for name in shells.names}, device)
        for part, value in pipeline.components.items():
            if changes_network(value):
                reason = (
                    f"its {part}, a {type(value).__name__}, changes the denoiser while it runs, at a cost unknown here"
                )
                raise UserError(
                    f"this {self.name} cannot be run: {reason}", "save it with a guider that leaves it as it is"
                )
            config = {} if isinstance(value, nn.Module) else getattr(value, "config", {})
            if isinstance(config, dict) and any(
                name.endswith("_momentum") and config[name] is not None for name in config
            ):
                reason = f"its {part} remembers former predictions, which a cluster's children cannot inherit"
                raise UserError(
                    f"this {self.name} cannot be run: {reason}", "save it with a guider whose momentum is None"
                )
        return pipeline

    def assembled(self, modules: dict[str, Any], device: torch.device, dtype: torch.dtype = torch.float32) -> Any:
        """Return the pipeline of these modules, all that it has; no weights are read."""
        with unheard():
            if self.shells.packaged:
                pipeline = self.kind(**modules, **self.shells.others())
                pipeline.set_progress_bar_config(disable=True)
            else:
                parts = {**self._borrowed, **self.shells.without, **modules}
                pipeline = load_pipeline(self.name, self._source, dtype, device, parts)
        return seams.placed(pipeline, device)

    def catalogued(self, family: str) -> ModelEntry | None:
        """Return the catalogue's model of this class whose denoiser is built alike, if its configuration is here."""
        own = _public(self.shells.config(self.denoiser))
        for entry in models().values():
            public = str(packaged(entry.sources.get(ROLE, "")))
            here = entry.family == family and (Path(public) / INDEX).is_file()
            if here and named_pipeline(public) == self.name and _public(load_config(public, self.denoiser)) == own:
                return entry
        return None

    def arguments(self, settings: PipelineSettings | None, prompts: list[str]) -> dict[str, Any]:
        """Return the arguments of a call for these prompts; without settings, its defaults.

        Raises:
            UserError: the call takes no such argument, or would pass over it.
        """
        arguments: dict[str, Any] = {"prompt": prompts, "output_type": "np"}
        arguments["generator"] = torch.Generator().manual_seed(0)  # what it draws is not used
        if settings is None:
            return arguments
        arguments["num_inference_steps"] = settings.steps
        arguments |= {side: getattr(settings, side) for side in ("height", "width") if side in self.parameters}
        if self.guidance:
            arguments[self.guidance] = settings.guidance
        elif settings.guidance:
            raise UserError(f"a {self.name} takes no guidance{self._without_embedding()}", "use --guidance 0")
        for name, value in settings.further.items():
            if name not in self.parameters or name in OWN_ARGUMENTS or name == self.guidance:
                known = sorted(set(self.parameters) - OWN_ARGUMENTS - {"self", str(self.guidance)})
                raise UserError(f"the call of a {self.name} takes no {name!r} here", "known: " + ", ".join(known))
            arguments[name] = value
        true = TRUE_GUIDANCE in self.parameters and arguments.get(TRUE_GUIDANCE, 1) > 1
        # a true guidance is silently off without a negative prompt, and a negative prompt without a true guidance
        if settings.negative_prompt or true:
            if "negative_prompt" not in self.parameters:
                raise UserError(f"a {self.name} takes no negative prompt", "leave it out")
            if TRUE_GUIDANCE in self.parameters and not true:
                asked = "guidance" if self.guidance == TRUE_GUIDANCE else f"set 'arguments={{\"{TRUE_GUIDANCE}\": 4}}'"
                reason = f"a {self.name} takes a negative prompt only with a {TRUE_GUIDANCE} above 1"
                raise UserError(reason, f"leave it out, or use --{asked}")
            arguments["negative_prompt"] = [settings.negative_prompt] * len(prompts)
        return arguments

    def size(self) -> dict[str, int]:
        """Return the height and width that a call makes pictures of where none are asked for."""
        with self.refusing():
            returns = seams.encoded(self.pipeline, self.arguments(None, [PROMPT]))
            _, called = seams.prepared(self.pipeline, self.arguments(None, [PROMPT]), returns)
        return {side: int(called[side]) for side in ("height", "width")}

    @property
    def default_guidance(self) -> float:
        """What guidance is where none is asked for: as the call says, or the guider that a modular checkpoint has."""
        if self.guidance is None:
            return 0
        default: float = self.parameters[self.guidance].default
        guider = self.pipeline.guider if self.workflow is not None else None
        return float(getattr(guider, self.guidance, default))

    @property
    def workflow(self) -> Workflow | None:
        """The blocks of a modular pipeline; None for a classic one."""
        return getattr(self.kind, "workflow", None)

    def leaves(self, settings: PipelineSettings) -> list[Leaf]:
        """Return what `encode_prompt` returns under these settings."""

        def learn() -> list[Leaf]:
            tokenizer = getattr(self.pipeline, "tokenizer", None)
            tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # a processor's
            left = getattr(tokenizer, "padding_side", "right") == "left"
            probes = [seams.encoded(self.pipeline, self.arguments(settings, list(probe))) for probe in PROBES]
            return learned(probes, left=left)

        return self.once("leaves", settings, learn)

    def returns(self, settings: PipelineSettings, prompts: int, prompt: str = PROMPT) -> list[Any]:
        """Return what `encode_prompt` returns for so many of a prompt, with zeros for the states of text."""
        return self.once(
            f"returns {prompts} {prompt}",
            settings,
            lambda: seams.encoded(self.pipeline, self.arguments(settings, [prompt] * prompts)),
        )

    def latent_shape(self, settings: PipelineSettings) -> tuple[int, ...]:
        """Return the shape of one row's latents.

        Raises:
            UserError: the call refuses the size, or makes pictures of another.
        """

        def learn() -> tuple[int, ...]:
            arguments = self.arguments(settings, [PROMPT])
            returns = self.returns(settings, 1)
            with warnings_kept("diffusers") as messages:
                latents, called = seams.prepared(self.pipeline, arguments, returns)
            asked, made = (settings.height, settings.width), (called.get("height"), called.get("width"))
            binned = "use_resolution_binning" in self.parameters and arguments.get("use_resolution_binning", True)
            refusal = f"a {self.name} makes no pictures of {asked[0]} x {asked[1]} pixels"
            if None not in made and made != asked and not binned:
                raise UserError(refusal, f"use --height {made[0]} --width {made[1]}, to which it would change them")
            if resized := next((message for message in messages if "will be resized" in message), None):
                raise UserError(f"{refusal}: {resized}", "use such a size")
            return tuple(latents.shape[1:])

        return self.once("latent shape", settings, learn)

    def sampler(self, settings: PipelineSettings, device: torch.device) -> Sampler:
        """Return the timesteps that the pipeline's call asks its scheduler for, and the step between them.

        Raises:
            UserError: the call cannot set the timesteps of the scheduler that is asked for.
        """
        import diffusers

        own = self.pipeline.scheduler
        name = type(own).__name__ if settings.scheduler == "default" else settings.scheduler
        config = {**own.config, "_class_name": type(own).__name__}
        kind: Any = getattr(diffusers, name, None)
        if settings.scheduler == "default":
            # without the names of values that its file lacks, which are set anew: the pipeline may have mended one
            config.pop("_use_default_values", None)
        elif kind is not None:
            config = following_a_flow(config, kind)

        def learn() -> dict[str, Any]:
            arguments = self.arguments(settings, [PROMPT])
            try:
                return seams.timing(self.pipeline, arguments, self.returns(settings, 1), kind.from_config(config))
            except (AttributeError, ValueError, TypeError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise UserError(f"{name} cannot be used: {reason}", "choose another with --scheduler") from error

        timing = {} if kind is None or not hasattr(kind, "step") else self.once("timing", settings, learn)
        sampler = Sampler(config, settings.scheduler, settings.steps, device, **timing)
        if "init_noise_sigma" not in inspect.getsource(self.kind.prepare_latents):
            sampler.init_sigma = 1.0
        return sampler

    def _guidance_argument(self) -> str | None:
        defaults = {name: parameter.default for name, parameter in self.parameters.items()}

        def number(name: str) -> float:
            value = defaults.get(name)
            return value if isinstance(value, int | float) else 0

        embedded = self.shells.config(self.denoiser).get("guidance_embeds")
        if number(TRUE_GUIDANCE) > 1:
            return TRUE_GUIDANCE
        if number("guidance_scale") and not self._without_embedding():
            return "guidance_scale"
        return "distilled_guidance_scale" if embedded and number("distilled_guidance_scale") else None

    def _without_embedding(self) -> str:
        """Say why guidance would be passed over, where it is an input of the denoiser alone and this one has none."""
        embeds = self.shells.config(self.denoiser).get("guidance_embeds", True)
        return "" if embeds or hasattr(self.kind, "do_classifier_free_guidance") else ": its denoiser embeds none"

    def once(self, what: str, settings: PipelineSettings, learn: Callable[[], T]) -> T:
        """Return what is learned under these settings; it is learned the first time that it is asked for."""
        key = (what, settings.model_dump_json(exclude={"seed", "noise", "dtype"}))
        if key not in self._kept:
            with self.refusing():
                self._kept[key] = learn()
        kept: T = self._kept[key]
        return kept

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Raise what the pipeline says of arguments that it refuses as a UserError."""
        try:
            with unheard():
                yield
        except (ValueError, TypeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"{self.name} refuses these settings: {reason}") from error


def changes_network(guider: Any) -> bool:
    """Return whether a component is a guider that has the denoiser skip or change layers."""
    prepare = getattr(guider, "prepare_models", None)
    return prepare is not None and not prepare.__qualname__.startswith("BaseGuidance.")


def _public(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if not name.startswith("_")}


@contextmanager
def unheard() -> Iterator[None]:
    """Silence what libraries say of a pipeline, such as that its safety checker or its scheduler's file is not new."""
    with errors_alone("diffusers", "transformers"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def following_a_flow(config: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Return a flow's scheduler configuration with what another class (`kind`) needs to follow the flow too."""
    if not str(config.get("_class_name")).startswith(FLOW):
        return config
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": config.get("shift", 1.0)}
    takes = inspect.signature(kind).parameters
    return {**config, **{key: value for key, value in flow.items() if key in takes}}
