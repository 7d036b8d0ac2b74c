"""Denoiser caches: hooks of diffusers on the denoiser's blocks, under a name, with parameters."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from common.errors import UserError
from common.plugins import discover, unknown
from generators.parametrised import Parametrised

if TYPE_CHECKING:
    from torch.nn import Module

PACKAGE, GROUP = "generators.denoiser_caches", "reusebench.denoiser_caches"
NONE = "none"
# What diffusers ships besides, and why it is not here.
REFUSED = {
    "faster": "FasterCache leaves out half of a guided batch, which no module's calls tell, and knows no packed "
    "latents (FLUX's); its attention is pyramid-attention's",
    "mag": "MagCache skips by magnitude ratios that have to be measured on each model and scheduler first",
    "sea": "SeaCache has adapters for video models alone",
    "text-kv": "the text's keys and values are no approximation, and FLUX's blocks mix them with the picture's",
}


class Installed(ABC):
    """A cache on one denoiser: what it remembers from step to step, and which modules it let compute.

    Attributes:
        timestep: of the step that is computed.
        computed: paths of modules that were computed since this was emptied.
    """

    def __init__(self) -> None:
        self.timestep = 0.0
        self.computed: set[str] = set()

    @property
    @abstractmethod
    def paths(self) -> set[str]:
        """Return the modules that may be skipped, or not, by their paths in the denoiser."""

    @abstractmethod
    def take(self) -> Any:
        """Return what is remembered now; later steps do not change it."""

    @abstractmethod
    def put(self, memory: Any) -> None:
        """Remember this, which `take` returned, before a node's step; None: nothing yet."""

    @abstractmethod
    def remove(self) -> None:
        """Leave the denoiser as it was."""

    def context(self) -> Any:
        """Return the context in which stock pipelines call the denoiser."""
        return nullcontext()


class DenoiserCache(Parametrised, ABC):
    """Reuse inside one trajectory, between its steps; orthogonal to sharing between prompts.

    A plug-in declares its parameters as pydantic fields. It hangs hooks on the denoiser; what these keep from step to
    step belongs to a path through the tree, and follows it (`hooked`).
    """

    what: ClassVar[str] = "denoiser cache"

    @abstractmethod
    def install(self, denoiser: "Module", timestep: Callable[[], float]) -> Installed | None:
        """Put the hooks on.

        Args:
            denoiser: the module.
            timestep: the scheduler's, of the step that is computed.

        Returns:
            What keeps their memory; None for hooks of diffusers, which are found where they hang.

        Raises:
            Exception: whatever it is where the module has no place for them; then the module is as it was, but for
                hooks of diffusers.
        """

    @property
    def identity(self) -> dict[str, Any]:
        """Everything in it that changes pictures."""
        return {"name": self.name, "version": self.version, "parameters": self.model_dump(mode="json")}


def denoiser_caches() -> dict[str, type[DenoiserCache]]:
    """Return every denoiser cache, by name."""
    return discover(PACKAGE, DenoiserCache, GROUP)  # type: ignore[type-abstract]


def get_denoiser_cache(name: str, **parameters: Any) -> DenoiserCache | None:
    """Return the denoiser cache called `name` with these parameters; None for ``none``.

    Raises:
        UserError: there is none, it is refused, it cannot run here, or it does not take them.
    """
    if name == NONE and not parameters:
        return None
    known = denoiser_caches()
    if name in REFUSED:
        raise UserError(f"the denoiser cache {name!r} is not offered: {REFUSED[name]}", "known: " + ", ".join(known))
    if name not in known:
        raise unknown("denoiser cache", name, [NONE, *known], GROUP)
    if reason := known[name].unavailable():
        raise UserError(f"the denoiser cache {name!r} cannot run here: {reason}", "choose another --denoiser-cache")
    return known[name].configured(**parameters)
