"""What one picture of a model costs, from its configurations alone: neither weights nor a GPU are needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metrics.flops import DENOISER, Component, count
from metrics.memory import parameters, peaks

if TYPE_CHECKING:
    from torch.nn import Module

    from generators.model_entry import ModelEntry
    from generators.settings import GenerationSettings

ALL = "all"  # in `ModelEntry.stored_bytes`


@dataclass(frozen=True)
class Part:
    """A component of a model.

    Attributes:
        parameters: of its module.
        flops: of a picture.
        download: bytes of its weight files; None where they are not known.
    """

    name: str
    phase: str
    parameters: int
    flops: float
    download: int | None


@dataclass(frozen=True)
class ModelCosts:
    """The costs of one picture that shares nothing.

    Attributes:
        pipeline: the class of the pipeline that makes it.
        steps: denoiser evaluations (K); guidance may call the denoiser twice for each.
        memory: bytes at each phase's worst moment, for one prompt.
    """

    model: str
    pipeline: str
    steps: int
    parts: tuple[Part, ...]
    memory: dict[str, int]

    @property
    def denoiser(self) -> Part:
        """The part that is called at every step."""
        return next(part for part in self.parts if part.name == DENOISER)

    @property
    def parameters(self) -> int:
        """Parameters of all parts."""
        return sum(part.parameters for part in self.parts)

    @property
    def flops(self) -> float:
        """FLOPs of a picture."""
        return sum(part.flops for part in self.parts)

    @property
    def download(self) -> int | None:
        """Bytes of all weight files; None where they are not known."""
        sizes = [part.download for part in self.parts]
        return None if None in sizes else sum(size or 0 for size in sizes)


def model_costs(entry: "ModelEntry", settings: "GenerationSettings") -> ModelCosts:
    """Return what one picture of a model costs under these settings.

    Raises:
        UserError: a configuration cannot be had, or a cost not be counted.
    """
    from generators.checkpoints import named_pipeline
    from generators.families.base import ROLE, get_family

    family = get_family(entry.family).load(entry, "cpu", settings.dtype)
    sampler, components = family.sampler(settings), family.components(settings)
    memory = peaks(
        components,
        family.latent_shape(settings),
        n_prompts=1,
        dtype=settings.dtype,
        batch_size=1,
        remembered=sampler.remembered,
    )
    *_, last = entry.sources  # which makes the picture, where there are several stages
    return ModelCosts(
        model=entry.name,
        pipeline=named_pipeline(entry.source(ROLE if ROLE in entry.sources else last)),
        steps=sampler.K,
        parts=tuple(parts(entry, components, sampler.K)),
        memory={str(phase): size for phase, size in memory.items()},
    )


def parts(entry: "ModelEntry", components: Sequence[Component], steps: int) -> list[Part]:
    """Return the parts of a model that makes pictures in so many steps."""

    def part(component: Component) -> Part:
        calls = component.calls * (steps if component.unit == "node_step" else 1)
        stored = entry.stored_bytes.get(component.name, entry.stored_bytes.get(ALL))
        size = None if stored is None else stored * numbers(component.build)
        return Part(component.name, component.phase, parameters(component), count(component) * calls, size)

    return [part(component) for component in components if component.calls]


def numbers(build: "Callable[[], Module]") -> int:
    """Return how many numbers a module's weight files hold: its parameters, and positions that it keeps.

    Args:
        build: makes it; called under ``torch.device("meta")``.
    """
    import torch

    with torch.device("meta"):
        held = build().state_dict(keep_vars=True).values()
    return sum(tensor.numel() for tensor in {id(tensor): tensor for tensor in held}.values())
