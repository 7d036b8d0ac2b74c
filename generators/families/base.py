"""Model families: everything about one kind of model that the executor needs, behind one face."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import TypeVar

from common.errors import UserError
from common.plugins import discover, find
from generators.acceleration import Acceleration
from generators.batching import Batches
from generators.checkpoints import Offload, has_index, pipeline_class
from generators.component import Component
from generators.conditioning import Conditioning, LazyRows
from generators.device_memory import give_back
from generators.guidance import WHOLE
from generators.model_entry import FAMILIES, ModelEntry, ModelFamily
from generators.overflow import refuse_overflow, within
from generators.row_reuse import RowReuse
from generators.sampler import Draw, Sampler
from generators.settings import GenerationSettings

# A family's own settings; whoever takes any family says `Family`, and knows no more of them than all families have.
S = TypeVar("S", bound=GenerationSettings, default=Any)

HALVES = (torch.float16, torch.bfloat16)
DECODERS = ("vae", "movq")  # what pipelines call the module that makes pictures of latents
ROLE = "pipeline"  # of models that are one pipeline
ENCODE_BATCH = 32  # prompts encoded at once, where nobody says
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Family(ModelFamily, ABC, Generic[S]):
    """A kind of text-to-image model, loaded.

    Attributes:
        settings_type: the class of its settings; those that not every family has are declared there and nowhere else.
        layout: what a folder of this family holds, for people.
        roles: the parts of a model, in the order in which ``FAMILY:PART+PART`` names them.
        pipelines: the classes of diffusers pipelines that it serves, as their ``model_index.json`` names them.
        features_options: what prompts can be clustered by; the first is the default.
        conditioned_on: what the denoiser is told of the prompt, as the paper groups models: an image embedding that a
            prior made (Karlo's text states beside it count as that), text, or both alike. None where not said.
        one_stream: whether prompts are encoded from one stream of noise where the noise policy is ``official``.
        entry: the model that is loaded.
        device: where the denoiser runs.
        dtype: of weights.
        offload: what waits in main memory until it is needed; set before anything is encoded or denoised.
        acceleration: how the denoiser computes; likewise.
        reuse: of equal rows, where the acceleration has it and denoising has begun.
    """

    settings_type: ClassVar[type[GenerationSettings]] = GenerationSettings
    layout: ClassVar[str]
    roles: ClassVar[tuple[str, ...]]
    pipelines: ClassVar[tuple[str, ...]] = ()
    features_options: ClassVar[tuple[str, ...]]
    conditioned_on: ClassVar[Literal["image", "text", "both"] | None] = None
    one_stream: ClassVar[bool] = False
    offload: Offload = "none"
    acceleration: Acceleration = Acceleration()
    reuse: RowReuse | None = None
    _accelerated: dict[str, Any] | None = None

    def __init__(self, entry: ModelEntry, device: torch.device, dtype: torch.dtype) -> None:
        self.entry, self.device, self.dtype = entry, device, dtype
        # the pipeline that encodes prompts, while it is loaded
        self._encoders: Any = None

    @classmethod
    def recognise(cls, folder: Path) -> ModelEntry | None:
        """Return the folder as a model of this family; None if it is laid out as another's."""
        kind = pipeline_class(str(folder)) if has_index(folder) else None
        return cls.described(str(folder), cls.sources_of(str(folder), kind)) if kind and cls.serves(kind) else None

    @classmethod
    @abstractmethod
    def described(cls, name: str, sources: dict[str, str]) -> ModelEntry:
        """Return the model that these parts make, with the settings that suit them.

        Args:
            name: what results call it.
            sources: by role, hub ids or folders.

        Raises:
            UserError: a configuration cannot be had.
        """

    @classmethod
    def serves(cls, pipeline: str) -> bool:
        """Return whether this family runs the pipeline class of that name."""
        return pipeline in cls.pipelines

    @classmethod
    def sources_of(cls, place: str, pipeline: str) -> dict[str, str]:
        """Return the sources, by role, of the model that one pipeline is, or is a part of.

        Args:
            place: where the pipeline was saved: a folder or a hub id.
            pipeline: its class, one of `pipelines`.

        Raises:
            UserError: another part is needed, and is not to be found from this one's name.
        """
        return {cls.roles[0]: place}

    @classmethod
    @abstractmethod
    def load(cls, model: ModelEntry, device: str, dtype: str) -> Self:
        """Return the model, checked; weights are loaded when first used.

        Raises:
            UserError: a part is missing, or is not what this family needs.
        """

    @abstractmethod
    def encode_batches(
        self, prompts: Sequence[str], keys: Sequence[str], settings: S, batches: Batches
    ) -> Iterator[Conditioning]:
        """Yield the prompts' conditioning batch by batch, in order, each tensor in the dtype that it is made in.

        Args:
            prompts: N texts.
            keys: one a prompt; what is drawn for a prompt is drawn from its key.
            settings: of the pictures.
            batches: how many prompts are encoded at once, and where to begin (`Batches.start`); its notes say what
                records should.
        """

    def encode(
        self,
        prompts: Sequence[str],
        keys: Sequence[str],
        settings: S,
        batches: Batches | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Conditioning:
        """Return the prompts' conditioning, all of it in memory.

        Args:
            prompts: N texts.
            keys: one a prompt, as in `encode_batches`.
            settings: of the pictures.
            batches: as in `encode_batches`; by default, `ENCODE_BATCH` prompts at once from the first.
            on_progress: called after every batch with the number of prompts in it.
        """
        parts = []
        for part in self.encode_batches(prompts, keys, settings, batches or Batches(ENCODE_BATCH)):
            parts.append(part)
            if on_progress is not None:
                on_progress(len(part))
        return Conditioning.joined(parts)

    @classmethod
    def conditioning_of(cls, model: ModelEntry, settings: S) -> dict[str, Tensor]:
        """Return one prompt's row of conditioning without data, from configurations alone: on the meta device, by name.

        Sequences that are as long as their prompts are as long as a sentence's. Empty where a family cannot tell.

        Raises:
            UserError: a configuration cannot be had.
        """
        return {}

    @property
    def network(self) -> nn.Module | None:
        """The module that denoises, as its component ``denoiser`` describes it; None where it is not one module."""
        return None

    def accelerate(self) -> dict[str, Any]:
        """Begin to denoise: encoders leave, and `acceleration` holds for the denoiser; whoever denoises calls it.

        Returns:
            The options that hold, by name, for records.

        Raises:
            UserError: as `Acceleration.apply`.
        """
        self.release_encoders()
        if self._accelerated is None:
            self._accelerated = self.acceleration.apply(self.network, self.device, self.dtype, self.entry.name)
            if self.acceleration.reuse_unconditional and self.network is not None:
                self.reuse = RowReuse()
                self.network.forward = self.reuse.around(self.network)  # type: ignore[method-assign]
        return self._accelerated

    def release_encoders(self) -> None:
        """Free the memory that only `encode` needs."""
        if self._encoders is not None:
            self._encoders = None
            give_back(self.device)

    def rest(self) -> None:
        """Let what waits in main memory between its calls go there at once; whoever decodes calls it when that is done.

        Under ``model`` offload a module stays on the device until the next one of its pipeline is called, and after the
        last one nothing is.
        """
        for loaded in vars(self).values():
            for hook in getattr(loaded, "_all_hooks", ()):
                hook.offload()
        if self.offload != "none":
            give_back(self.device)

    def features(self, conditioning: Conditioning, option: str) -> NDArray[np.float64]:
        """Return the features that strategies cluster, float64 [N, D], read chunk by chunk.

        Args:
            conditioning: of N prompts.
            option: one of `features_options`.

        Raises:
            UserError: it is none of them.
        """
        if option not in self.features_options:
            raise UserError(f"{self.name} has no features {option!r}", "known: " + ", ".join(self.features_options))
        return np.concatenate([self.features_of(rows, option) for rows in conditioning.chunks()])

    @abstractmethod
    def features_of(self, rows: LazyRows, option: str) -> NDArray[np.float64]:
        """Return the features of some prompts, float64 [n, D]: of their rows no more is read than is asked for."""

    @abstractmethod
    def sampler(self, settings: S) -> Sampler:
        """Return the timesteps and the step between them; no weights needed."""

    @abstractmethod
    def latent_shape(self, settings: S) -> tuple[int, ...]:
        """Return the shape of one row's latent; no weights needed.

        Raises:
            UserError: the model cannot make pictures of that size.
        """

    def latents_dtype(self, settings: S) -> torch.dtype:
        """Return what latents are kept in between steps: `dtype`, but where a pipeline keeps them wider."""
        return self.dtype

    @classmethod
    def unguided(cls, model: ModelEntry, settings: S) -> S:
        """Return the settings of a step outside the guidance interval: the denoiser predicts for the prompt alone."""
        return settings.model_copy(update={"guidance": 1.0, "guidance_interval": WHOLE})

    @classmethod
    def one_unconditional(cls, settings: S) -> bool:
        """Return whether prompts of one negative prompt have the same unconditional conditioning, bit for bit."""
        return True

    @abstractmethod
    def predict(self, latents: Tensor, k: int, sampler: Sampler, rows: dict[str, Tensor], settings: S) -> Tensor:
        """Return the guided model output at step k, as the scheduler's step takes it, for latents [b, ...]."""

    @abstractmethod
    def decode(self, latents: Tensor, settings: S, draw: Draw) -> NDArray[np.uint8]:
        """Return the pictures, uint8 [b, height, width, 3], of finished latents [b, ...].

        Args:
            draw: the i-th noise of shape [b, ...] that decoding needs (a super-resolution model's), each row's own.

        Raises:
            NotFiniteError: some pictures are none: what the decoder gives is looked at before it is cut to 0 to 1.
        """

    def widen_decoder(self) -> bool:
        """Have pictures decoded in float32 from now on; return False where they are, or the decoder is not one module.

        In half precision a decoder's numbers may grow past the largest one, which makes black pictures of good latents.
        """
        modules = [getattr(loaded, name, None) for loaded in vars(self).values() for name in DECODERS]
        narrow = [module for module in modules if module is not None and module.dtype in HALVES]
        for module in narrow:
            nn.Module.to(module, torch.float32)  # diffusers' own warns of types that are kept
            module.decode = _of_float32(module.decode)
        return bool(narrow)

    @classmethod
    @abstractmethod
    def components_of(cls, model: ModelEntry, settings: S) -> list[Component]:
        """Return the modules that a run computes with, from configurations alone.

        Raises:
            UserError: a configuration cannot be had.
        """

    def components(self, settings: S) -> list[Component]:
        """Return the modules that a run of this model computes with."""
        return self.components_of(self.entry, settings)


def pictures_of(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return pictures, uint8, of numbers from 0 to 1, as stock pipelines round them.

    Raises:
        NotFiniteError: some are no numbers. What a decoder gives is cut to 0 to 1 before it comes here, infinities too:
            whoever cuts it looks for them first (`refuse_overflow`).

    Examples:
        >>> pictures_of(np.array([[0.0, 0.5, 1.0]])).tolist()
        [[0, 128, 255]]
    """
    refuse_overflow(torch.from_numpy(np.isfinite(values).reshape(len(values), -1).all(axis=1)))
    pictures: NDArray[np.uint8] = (values * 255).round().astype(np.uint8)
    return pictures


@contextmanager
def decoder_watched(pipeline: Any) -> Iterator[None]:
    """Look at what a stock pipeline's decoder gives while the block runs, before the pipeline cuts it to 0 to 1.

    Raises:
        NotFiniteError: some of it overflowed; when the block ends.
    """
    held: list[Tensor] = []
    modules = [module for name in DECODERS if (module := getattr(pipeline, name, None)) is not None]
    before = {module: vars(module).get("decode") for module in modules}
    for module in modules:
        module.decode = _heard(module.decode, held)
    try:
        yield
    finally:
        for module, own in before.items():
            del module.decode
            if own is not None:
                module.decode = own
    if held:
        refuse_overflow(torch.cat(held))


def _heard(decode: Callable[..., Any], held: list[Tensor]) -> Callable[..., Any]:
    """Return a `decode` after which `held` has which of its rows are numbers."""

    @wraps(decode)
    def heard(*args: Any, **kwargs: Any) -> Any:
        output = decode(*args, **kwargs)
        held.append(within(output[0]))
        return output

    return heard


def _of_float32(decode: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `decode` that takes latents of any precision."""

    @wraps(decode)
    def widened(latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        return decode(latents.float(), *args, **kwargs)

    return widened


def torch_device(name: str) -> torch.device:
    """Return the device called `name`.

    Raises:
        UserError: this machine has none such.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"the device {name!r} cannot be used: {reason}", "use --device cpu") from None
    return device


def families() -> dict[str, type[Family]]:
    """Return every family, by name."""
    package, group = FAMILIES
    return discover(package, Family, group)  # type: ignore[type-abstract]


def get_family(name: str) -> type[Family]:
    """Return the family called `name`.

    Raises:
        UserError: there is none; the nearest name is in the hint.
    """
    package, group = FAMILIES
    return find(name, package, Family, group)  # type: ignore[type-abstract]


def resolve_settings(
    entry: ModelEntry, overrides: Mapping[str, Any] | None = None, device: str = "cpu"
) -> GenerationSettings:
    """Return a model's default settings with `overrides` on top, as its family declares them.

    Arguments and errors are those of `GenerationSettings.resolve`.
    """
    return get_family(entry.family).settings_type.resolve(entry.defaults, overrides, device)
