"""The cost of a set of images before it is made: node-steps, FLOPs from shapes, disk. Imports no torch by itself."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sweeps.record import ON_DISK

if TYPE_CHECKING:
    from generators.component import Component
    from generators.settings import GenerationSettings
    from sweeps.grid import Source
    from sweeps.jobs import Job

RGB = 3
_components: "dict[tuple[str, str, GenerationSettings], list[Component]]" = {}


@dataclass(frozen=True)
class Cost:
    """The cost of a set of images with sharing and without; FLOPs are None where no model is known.

    Examples:
        >>> Cost(node_steps=600, baseline_node_steps=800).savings
        0.25
        >>> Cost(600, 800, flops=3e12, standard_flops=4e12).flop_savings
        0.25
    """

    node_steps: int
    baseline_node_steps: int
    flops: float | None = None
    standard_flops: float | None = None

    @property
    def savings(self) -> float:
        """Return the share of the denoiser's node-steps saved."""
        return (self.baseline_node_steps - self.node_steps) / self.baseline_node_steps

    @property
    def flop_savings(self) -> float | None:
        """Return the share of all FLOPs saved."""
        return None if self.flops is None or not self.standard_flops else 1 - self.flops / self.standard_flops

    def plain(self) -> dict[str, Any]:
        """Return what is known as plain values for JSON, the savings included."""
        values = {ON_DISK.get(name, name): value for name, value in asdict(self).items()}
        values |= {"savings": self.savings, "flop_savings": self.flop_savings}
        return {name: value for name, value in values.items() if value is not None}


def components(source: "Source") -> "list[Component]":
    """Return what a source's model computes with: the very same for any seed and number of steps.

    A component's FLOPs are remembered with it, and counting them takes seconds.
    """
    from generators.families.base import get_family

    settings = source.settings.model_copy(update={"seed": 0, "steps": 1})
    key = (source.entry.family, source.weights, settings)
    if key not in _components:
        _components[key] = get_family(source.entry.family).components_of(source.entry, settings)
    return _components[key]


def cost(components: "Sequence[Component]", n_prompts: int, steps: int, node_steps: int) -> Cost:
    """Return the cost of `node_steps`, rows of denoiser calls, for prompts of `steps` denoiser evaluations (K) each.

    Without components FLOPs are left out.

    Examples:
        >>> cost([], n_prompts=8, steps=100, node_steps=600).plain()
        {'node_steps': 600, 'standard_node_steps': 800, 'savings': 0.25}
    """
    from metrics.flops import price

    baseline = n_prompts * steps
    if not components:
        return Cost(node_steps, baseline)
    ours, theirs = (price(components, n_prompts, count, n_prompts).total for count in (node_steps, baseline))
    return Cost(node_steps, baseline, ours, theirs)


def picture_bytes(picture_sets: Sequence["Job"]) -> int:
    """Return the bytes that folders of pictures take at most: uncompressed."""
    return sum(
        job.source.pictures * job.source.settings.height * job.source.settings.width * RGB for job in picture_sets
    )
