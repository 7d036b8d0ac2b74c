"""Any classic text-to-image pipeline of diffusers, computed by that pipeline's own call."""

import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from common.errors import UserError
from common.files import canonical_json
from generators.batching import Batches
from generators.checkpoints import load_pipeline, pipeline_class
from generators.component import Component, Phase, Unit
from generators.conditioning import Conditioning
from generators.families import seams
from generators.families.base import DTYPES, families, pictures_of, torch_device
from generators.families.encoding import errors_alone, warnings_kept
from generators.families.one_pipeline import ROLE, OnePipeline, following_a_flow
from generators.families.prompt_returns import LONG, PROBES, Leaf, batches_of, features, learned, packed, unpacked
from generators.families.shells import Call, Shells, one_row
from generators.model_entry import ModelEntry, models
from generators.sampler import Draw, Sampler
from generators.settings import GenerationSettings

T = TypeVar("T")

ENCODE_BATCH = 32
DENOISERS = ("transformer", "unet")
PROMPT = "a fox"  # where a call needs prompts whose encoding is known already, or of no account
FEATURES = ("text", "mean_token", "flattened")

# For these classes tests show on small checkpoints, with these schedulers, that tau = 0 gives stock's pictures bit for
# bit (fp32, CPU, the same batch), that what is encoded is what stock encodes, and that paths through a split are each
# path alone.
PROVED: dict[str, tuple[str, ...]] = {
    "StableDiffusionXLPipeline": ("EulerDiscreteScheduler", "DPMSolverMultistepScheduler"),
    "StableDiffusion3Pipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "QwenImagePipeline": ("FlowMatchEulerDiscreteScheduler",),
    "ZImagePipeline": ("FlowMatchEulerDiscreteScheduler",),
    "Flux2Pipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "Flux2KleinPipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "SanaPipeline": ("FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler"),
    "PixArtSigmaPipeline": ("DPMSolverMultistepScheduler", "EulerDiscreteScheduler"),
    "Lumina2Pipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "CogView4Pipeline": ("FlowMatchEulerDiscreteScheduler",),
    "ChromaPipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "HiDreamImagePipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "HunyuanImagePipeline": ("FlowMatchEulerDiscreteScheduler",),
    "AuraFlowPipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "Kandinsky5T2IPipeline": ("FlowMatchEulerDiscreteScheduler",),
    "Krea2Pipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "BriaPipeline": ("FlowMatchEulerDiscreteScheduler",),
    "PRXPipeline": ("FlowMatchEulerDiscreteScheduler",),
}
# What their call can take only one prompt of at a time, and why.
ONE_AT_A_TIME = {"PRXPipeline": "its guidance repeats the timestep for a single prompt"}
NO_PROMPT = "its call takes no prompt"
# Arguments of a call that say that pictures, films or sounds go in or come out.
NOT_TEXT_TO_IMAGE = {
    "num_frames": "it makes films",
    "audio_length_in_s": "it makes sound",
    "strength": "it changes a picture",
    "mask_image": "it changes a picture",
    "control_image": "it needs a picture beside the prompt",
    "control_guidance_start": "it needs a picture beside the prompt",
    "image_embeds": "a prior is needed that makes image embeddings for it",
    "image_embeddings": "a prior is needed that makes image embeddings for it",
}
# Parts of a class's name that say the same, where its call does not.
NAMED = {
    "Video": "it makes films",
    "Latte": "it makes films",
    "Audio": "it makes sound",
    "Edit": "it changes a picture",
    "Kontext": "it changes a picture",
    "Pix2Pix": "it changes a picture",
    "Refiner": "it changes a picture",
    "Layered": "it takes a picture apart",
    "LDM3D": "it makes depths as well",
    "Adapter": "it needs a picture beside the prompt",
    "Control": "it needs a picture beside the prompt",
    "Panorama": "its scheduler steps parts of the latents one by one",
}
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


def _canonical(value: Any) -> str:
    """Return a mapping, or its JSON, in one form.

    Raises:
        ValueError: it is neither.
    """
    content = json.loads(value or "{}") if isinstance(value, str) else value
    if not isinstance(content, dict):
        raise ValueError('write a JSON object: {"NAME": VALUE}')
    return canonical_json(content) if content else ""


class PipelineSettings(GenerationSettings):
    """The settings of any diffusers pipeline.

    Attributes:
        arguments: further arguments of the pipeline's call, as a JSON object, e.g. ``{"max_sequence_length": 128}``.
    """

    # guidance decides whether negative prompts are encoded, height and width what some pipelines encode beside them
    not_in_conditioning: ClassVar[frozenset[str]] = GenerationSettings.not_in_conditioning - {"guidance"}
    in_denoiser_calls: ClassVar[frozenset[str]] = GenerationSettings.in_denoiser_calls | {"arguments"}

    arguments: Annotated[str, BeforeValidator(_canonical), Field(validate_default=True)] = ""

    @property
    def further(self) -> dict[str, Any]:
        """The further arguments, by name."""
        content: dict[str, Any] = json.loads(self.arguments or "{}")
        return content


class DiffusersPipeline(OnePipeline[PipelineSettings]):
    """Any text-to-image pipeline of diffusers that no other family serves, run by its own call.

    The call is stopped at four seams (`seams`): its `encode_prompt` makes the conditioning and is given a cluster's
    instead, its latents are the node's, its loop takes one step, and what it gives the scheduler is the prediction. So
    packing, ids, guidance and decoding are the pipeline's, and the same noise gives the same bits. A cluster's states
    are its prompts' means, position by position; where there is a mask, a position's mean is over the prompts for
    which it holds, and it holds for the cluster if it does for any.
    """

    name = "diffusers"
    settings_type = PipelineSettings
    layout = "any text-to-image pipeline of diffusers"
    pipelines = tuple(PROVED)
    features_options = FEATURES
    conditioned_on = "text"

    @classmethod
    def serves(cls, pipeline: str) -> bool:
        """Return whether this family runs the pipeline class: no other does, and its call can be stopped."""
        others = (family for family in families().values() if family is not cls)
        return not any(pipeline in family.pipelines for family in others) and unserved(pipeline) is None

    @classmethod
    def recognise(cls, folder: Path) -> ModelEntry | None:
        if not (folder / "model_index.json").is_file() or not cls.serves(pipeline_class(str(folder))):
            return None
        return cls.described(str(folder), {ROLE: str(folder)})

    @classmethod
    def described(cls, name: str, sources: dict[str, str]) -> ModelEntry:
        """Return it with the steps, guidance and size that the pipeline's call has where nothing is asked."""
        entry = ModelEntry(name=name, family=cls.name, sources=sources, defaults={})
        like = models()["flux-dev"]
        model = _described(entry)
        guidance = model.guidance
        steps = model.parameters["num_inference_steps"].default
        defaults = {"steps": steps, "guidance": model.parameters[guidance].default if guidance else 0, "dtype": "bf16"}
        scorers = {"scorers": like.scorers, "optional_scorers": like.optional_scorers}
        return entry.model_copy(update={"defaults": {**defaults, **model.size()}, **scorers})

    @classmethod
    def load(cls, model: ModelEntry, device: str, dtype: str) -> Self:
        kind = pipeline_class(model.source(ROLE))
        if reason := unserved(kind):
            raise UserError(f"a {kind} cannot be run: {reason}")
        return cls(model, torch_device(device), DTYPES[dtype])

    @property
    def encoders(self) -> Any:
        """The stock pipeline, of whose modules only those that encode prompts have weights."""
        if self._encoders is None:
            self._encoders = self._pipeline(_encodes)
        return self._encoders

    @cached_property
    def denoiser(self) -> Any:
        """The stock pipeline, of whose modules all have weights but those that encode prompts."""
        return self._pipeline(lambda name: not _encodes(name))

    @property
    def network(self) -> nn.Module:
        module: nn.Module = getattr(self.denoiser, self._model.denoiser)
        return module

    @cached_property
    def _model(self) -> "_Model":
        return _described(self.entry)

    def _pipeline(self, with_weights: Callable[[str], bool]) -> Any:
        shells = self._model.shells
        parts: dict[str, Any] = dict(self.entry.borrowed)
        for name in shells.names:
            if not with_weights(name):
                parts[name] = shells.shell(name, self.device, self.dtype)
        kind, source = self._model.kind.__name__, self.entry.source(ROLE)
        with errors_alone("diffusers", "transformers"):
            return load_pipeline(kind, source, self.dtype, self.device, parts, self.offload)

    def encode(
        self,
        prompts: Sequence[str],
        keys: Sequence[str],
        settings: PipelineSettings,
        batches: Batches | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Conditioning:
        """Encode by the stock `encode_prompt` as the pipeline's call calls it; tensors are named by `Leaf`s."""
        batches = batches or Batches(ENCODE_BATCH)
        leaves, kind = self._model.leaves(settings), self._model.kind.__name__
        if kind not in PROVED:
            batches.notes.append(f"no test shows that a {kind} gives stock's pictures bit for bit")

        def work(rows: slice) -> Conditioning:
            batch = list(prompts[rows])
            returns = seams.encoded(self.encoders, self._model.arguments(settings, batch))
            if on_progress is not None:
                on_progress(len(batch))
            return Conditioning(packed(leaves, returns, len(batch)))

        with errors_alone("transformers"), warnings_kept("diffusers") as messages:
            conditioning = Conditioning.joined(list(batches.map(len(prompts), work)))
        # what comes behind the colon is what was cut, which may be as long as all prompts
        cut = [message.partition(":")[0] for message in messages if "truncated" in message]
        batches.notes += [f"prompts were cut, {kind} says: {message}" for message in dict.fromkeys(cut)]
        return conditioning

    def features(self, conditioning: Conditioning, option: str) -> NDArray[np.float64]:
        """Return the `text`'s pooled vector or, where there is none, its `mean_token`; or all states `flattened`."""
        if option not in FEATURES:
            raise UserError(f"{self.name} has no features {option!r}", "known: " + ", ".join(FEATURES))
        return features(conditioning.tensors, pooled=option == "text", flattened=option == "flattened")

    def sampler(self, settings: PipelineSettings) -> Sampler:
        return self._model.sampler(settings, self.device)

    def latent_shape(self, settings: PipelineSettings) -> tuple[int, ...]:
        return self._model.latent_shape(settings)

    @torch.no_grad()
    def predict(
        self, latents: Tensor, k: int, sampler: Sampler, rows: dict[str, Tensor], settings: PipelineSettings
    ) -> Tensor:
        output: Tensor | None = None
        for places in batches_of(rows, len(latents), self._model.most_prompts):
            own = {name: tensor[places] for name, tensor in rows.items()}
            arguments = self._model.arguments(settings, [PROMPT] * len(places))
            returns = unpacked(own, self.device)
            part = seams.predicted(self.denoiser, arguments, returns, latents[places.to(latents.device)], k, sampler)
            if len(places) == len(latents):
                return part
            output = part.new_empty(len(latents), *part.shape[1:]) if output is None else output
            output[places.to(output.device)] = part
        if output is None:
            raise ValueError("no rows to denoise")
        return output

    @torch.no_grad()
    def decode(self, latents: Tensor, settings: PipelineSettings, draw: Draw) -> NDArray[np.uint8]:
        arguments = self._model.arguments(settings, [PROMPT] * len(latents))
        returns = _moved(self._model.returns(settings, len(latents)), self.device, self.dtype)
        finished = latents.to(self.device)
        values: NDArray[np.float32] = seams.decoded(self.denoiser, arguments, returns, finished, self.sampler(settings))
        return pictures_of(values)

    @classmethod
    def components_of(cls, model: ModelEntry, settings: PipelineSettings) -> list[Component]:
        return _described(model).components(settings)


def classes() -> dict[str, str]:
    """Return every pipeline class of diffusers that takes a prompt: by name, the family that runs it, or why none."""
    import diffusers

    own = {pipeline: family.name for family in families().values() for pipeline in family.pipelines}
    found = {}
    for name in sorted(set(dir(diffusers)) | set(own)):
        if not name.endswith("Pipeline") or name == "DiffusionPipeline":
            continue
        with errors_alone("diffusers"):  # which says what is deprecated
            reason = None if name in own else unserved(name)
        if reason != NO_PROMPT:
            found[name] = f"no family: {reason}" if reason else own.get(name, DiffusersPipeline.name)
    return found


def unserved(pipeline: str) -> str | None:
    """Return why no pipeline of this class can be run by its call alone; None if it can."""
    import diffusers

    kind: Any = getattr(diffusers, pipeline, None)
    if kind is None or not callable(kind):
        return f"diffusers {diffusers.__version__} has no class of that name"
    call = inspect.signature(kind.__call__).parameters
    if "prompt" not in call:
        return NO_PROMPT
    for reasons, found in ((NOT_TEXT_TO_IMAGE, call), (NAMED, pipeline)):
        for word, reason in reasons.items():
            if word in found:
                return reason
    needed = [
        name for name, parameter in call.items() if parameter.default is parameter.empty and not _optional(parameter)
    ]
    if needed:
        return f"its call needs {needed[0]} beside the prompt"
    for seam in ("encode_prompt", "prepare_latents"):
        if not hasattr(kind, seam):
            return f"it has no {seam}, where its call could be stopped"
    source = inspect.getsource(inspect.unwrap(kind.__call__))
    for seam in ("self.encode_prompt(", "self.prepare_latents(", "enumerate(timesteps)", "self.scheduler.step("):
        if seam not in source:
            return f"its call has no {seam.rstrip('(')}, where it could be stopped"
    takes_picture = "image" in call and "image is not None" not in source
    if takes_picture or "image" in inspect.signature(kind.encode_prompt).parameters:
        return "it changes a picture"
    return None


def _optional(parameter: inspect.Parameter) -> bool:
    """Return whether a call can do without this parameter, or this family always gives it."""
    return parameter.name in ("self", "prompt") or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)


@lru_cache(maxsize=8)
def _model_at(source: str, borrowed: tuple[tuple[str, str], ...]) -> "_Model":
    return _Model(source, dict(borrowed))


def _described(entry: ModelEntry) -> "_Model":
    return _model_at(entry.source(ROLE), tuple(sorted(entry.borrowed.items())))


class _Model:
    """A pipeline without weights, and what its own code says of its encodings, latents, timesteps and costs.

    Attributes:
        kind: its class.
        shells: its modules.
        parameters: of its call.
        guidance: the name of the argument that guidance is; None where there is none.
        denoiser: the name of the module that denoises.
        most_prompts: of one call; None for any number.
    """

    def __init__(self, source: str, borrowed: dict[str, str]) -> None:
        import diffusers

        name = pipeline_class(source)
        self._source, self._borrowed = source, borrowed
        self.kind: Any = getattr(diffusers, name)
        self.shells = Shells(source, borrowed)
        self.parameters = inspect.signature(self.kind.__call__).parameters
        self.denoiser = next((name for name in DENOISERS if name in self.shells.names), "")
        if not self.denoiser:
            raise UserError(f"a {name} cannot be run: it has no {' or '.join(DENOISERS)}")
        self.guidance = self._guidance_argument()
        self.most_prompts = 1 if name in ONE_AT_A_TIME else None
        self._kept: dict[tuple[Any, ...], Any] = {}

    @cached_property
    def pipeline(self) -> Any:
        """The pipeline, all of whose modules are shells."""
        device = torch.device("cpu")
        parts: dict[str, Any] = {name: self.shells.shell(name, device, torch.float32) for name in self.shells.names}
        name = self.kind.__name__
        with errors_alone("diffusers", "transformers"):
            pipeline = load_pipeline(name, self._source, torch.float32, device, {**self._borrowed, **parts})
        for part, value in pipeline.components.items():
            config = {} if isinstance(value, nn.Module) else getattr(value, "config", {})
            if isinstance(config, dict) and any(
                name.endswith("_momentum") and config[name] is not None for name in config
            ):
                reason = f"its {part} remembers former predictions, which a cluster's children cannot inherit"
                raise UserError(
                    f"this {self.kind.__name__} cannot be run: {reason}", "save it with a guider whose momentum is None"
                )
        return pipeline

    def arguments(self, settings: PipelineSettings | None, prompts: list[str]) -> dict[str, Any]:
        """Return the arguments of a call for these prompts; without settings, its defaults.

        Raises:
            UserError: the call takes no such argument.
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
            raise UserError(f"a {self.kind.__name__} takes no guidance", "use --guidance 0")
        # a true guidance is silently off without a negative prompt
        needed = self.guidance == "true_cfg_scale" and settings.guidance > 1
        if settings.negative_prompt or needed:
            if "negative_prompt" not in self.parameters:
                raise UserError(f"a {self.kind.__name__} takes no negative prompt", "leave it out")
            arguments["negative_prompt"] = [settings.negative_prompt] * len(prompts)
        for name, value in settings.further.items():
            if name not in self.parameters or name in OWN_ARGUMENTS or name == self.guidance:
                raise UserError(
                    f"arguments: the call of a {self.kind.__name__} takes no {name!r} here",
                    "known: " + ", ".join(sorted(set(self.parameters) - OWN_ARGUMENTS - {"self", str(self.guidance)})),
                )
            arguments[name] = value
        return arguments

    def size(self) -> dict[str, int]:
        """Return the height and width that a call makes pictures of where none are asked for."""
        with self._refusing():
            returns = seams.encoded(self.pipeline, self.arguments(None, [PROMPT]))
            _, called = seams.prepared(self.pipeline, self.arguments(None, [PROMPT]), returns)
        return {side: int(called[side]) for side in ("height", "width")}

    def leaves(self, settings: PipelineSettings) -> list[Leaf]:
        """Return what `encode_prompt` returns under these settings."""

        def learn() -> list[Leaf]:
            tokenizer = getattr(self.pipeline, "tokenizer", None)
            tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # a processor's
            left = getattr(tokenizer, "padding_side", "right") == "left"
            probes = [seams.encoded(self.pipeline, self.arguments(settings, list(probe))) for probe in PROBES]
            return learned(probes, left=left)

        return self._once("leaves", settings, learn)

    def returns(self, settings: PipelineSettings, prompts: int) -> list[Any]:
        """Return what `encode_prompt` returns for some prompts, with zeros for the states of text."""
        return self._once(
            f"returns {prompts}",
            settings,
            lambda: seams.encoded(self.pipeline, self.arguments(settings, [PROMPT] * prompts)),
        )

    def latent_shape(self, settings: PipelineSettings) -> tuple[int, ...]:
        """Return the shape of one row's latents.

        Raises:
            UserError: the call refuses the size, or makes pictures of another.
        """

        def learn() -> tuple[int, ...]:
            arguments = self.arguments(settings, [PROMPT])
            latents, called = seams.prepared(self.pipeline, arguments, self.returns(settings, 1))
            asked, made = (settings.height, settings.width), (called.get("height"), called.get("width"))
            binned = "use_resolution_binning" in self.parameters and arguments.get("use_resolution_binning", True)
            if None not in made and made != asked and not binned:
                raise UserError(
                    f"a {self.kind.__name__} makes no pictures of {asked[0]} x {asked[1]} pixels",
                    f"use --height {made[0]} --width {made[1]}, to which it would change them",
                )
            return tuple(latents.shape[1:])

        return self._once("latent shape", settings, learn)

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
        if kind is not None and settings.scheduler != "default":
            config = following_a_flow(config, kind)

        def learn() -> dict[str, Any]:
            arguments = self.arguments(settings, [PROMPT])
            try:
                return seams.timing(self.pipeline, arguments, self.returns(settings, 1), kind.from_config(config))
            except (AttributeError, ValueError, TypeError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise UserError(f"{name} cannot be used: {reason}", "choose another with --scheduler") from error

        timing = {} if kind is None or not hasattr(kind, "step") else self._once("timing", settings, learn)
        sampler = Sampler(config, settings.scheduler, settings.steps, device, **timing)
        if "init_noise_sigma" not in inspect.getsource(self.kind.prepare_latents):
            sampler.init_sigma = 1.0
        return sampler

    def components(self, settings: PipelineSettings) -> list[Component]:
        """Return the modules that a call computes with, as they are called for one prompt.

        Raises:
            UserError: a module looks at values, so that it cannot run on shapes alone.
        """
        return self._once("components", settings, lambda: self._traced(settings))

    def _traced(self, settings: PipelineSettings) -> list[Component]:
        sampler = self.sampler(settings, torch.device("cpu"))
        latents = torch.zeros(2, *self.latent_shape(settings))

        def trace(prompts: int) -> list[Call]:
            self.shells.calls.clear()
            returns = seams.encoded(self.pipeline, self.arguments(settings, [LONG] * prompts))
            for part in (partial(seams.predicted, k=0), seams.decoded):
                part(
                    self.pipeline,
                    self.arguments(settings, [LONG] * prompts),
                    returns,
                    latents=latents[:prompts],
                    sampler=sampler,
                )
            return list(self.shells.calls)

        try:
            one = trace(1)
            two = trace(2) if self.most_prompts is None else one
        except (NotImplementedError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            what = f"{self.shells.running} looks at values ({reason})"
            raise UserError(f"the cost of a {self.kind.__name__} cannot be counted: {what}") from error
        finally:
            self.shells.calls.clear()
        pairs = list(zip(one, two, strict=True))
        kinds = dict.fromkeys((call.name, call.method) for call in one)
        return [self._component([pair for pair in pairs if pair[0][:2] == kind]) for kind in kinds]

    def _component(self, calls: Sequence[tuple[Call, Call]]) -> Component:
        """Describe a module by its first call, the prompt's own, and by how many there are: negative prompts' too."""
        one, two = calls[0]
        (args, kwargs), together = one_row((one.args, one.kwargs), (two.args, two.kwargs))
        phase: Phase = "encode"
        unit: Unit = "prompt"
        name = one.name.replace("_", " ")
        if one.name == self.denoiser:
            phase, unit, name = "denoise", "node_step", "denoiser"
        elif one.method == "decode":
            phase, unit, name = "decode", "image", "decoder"
        build = partial(self.shells.called, one.name, one.method)
        return Component(name, phase, unit, together * len(calls), build, lambda _: (args, kwargs), together)

    def _guidance_argument(self) -> str | None:
        defaults = {name: parameter.default for name, parameter in self.parameters.items()}

        def number(name: str) -> float:
            value = defaults.get(name)
            return value if isinstance(value, int | float) else 0

        if number("true_cfg_scale") > 1:
            return "true_cfg_scale"
        if number("guidance_scale"):
            return "guidance_scale"
        embedded = self.shells.config(self.denoiser).get("guidance_embeds")
        return "distilled_guidance_scale" if embedded and number("distilled_guidance_scale") else None

    def _once(self, what: str, settings: PipelineSettings, learn: Callable[[], T]) -> T:
        key = (what, settings.model_dump_json(exclude={"seed", "noise", "dtype"}))
        if key not in self._kept:
            with self._refusing():
                self._kept[key] = learn()
        kept: T = self._kept[key]
        return kept

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Raise what the pipeline says of arguments that it refuses as a UserError."""
        try:
            with errors_alone("diffusers", "transformers"):
                yield
        except (ValueError, TypeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"{self.kind.__name__} refuses these settings: {reason}") from error


def _encodes(name: str) -> bool:
    return name.startswith(("text_encoder", "image_encoder", "safety_checker"))


def _moved(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    def moved(item: Any) -> Any:
        if not isinstance(item, Tensor):
            return item
        return item.to(device, dtype if item.is_floating_point() else item.dtype)

    return tree_map(moved, value)
