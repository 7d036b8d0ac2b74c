"""The cost of a set of images before it is made: node-steps, FLOPs from shapes, disk. Imports no torch by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from generators.guidance import WHOLE
from generators.sharing.evaluations import Evaluations
from sweeps.record import ON_DISK

if TYPE_CHECKING:
    from generators.component import Component
    from generators.settings import GenerationSettings
    from metrics.flops import FlopTable
    from sweeps.grid import Source
    from sweeps.jobs import Job

RGB = 3
DENOISER = "denoiser"
_components: "dict[tuple[str, str, GenerationSettings, bool], list[Component]]" = {}


@dataclass(frozen=True)
class Cost:
    """The cost of a set of images with sharing and without; FLOPs are None where no model is known.

    Examples:
        >>> Cost(node_steps=600, baseline_node_steps=800).savings
        0.25
        >>> Cost(600, 800, flops=3e12, standard_flops=4e12).flop_savings
        0.25
        >>> Cost(600, 800, nfe=1100, baseline_nfe=1600).nfe_savings
        0.3125
    """

    node_steps: int
    baseline_node_steps: int
    flops: float | None = None
    standard_flops: float | None = None
    nfe: int | None = None
    baseline_nfe: int | None = None

    @property
    def savings(self) -> float:
        """Return the share of the denoiser's node-steps saved."""
        return (self.baseline_node_steps - self.node_steps) / self.baseline_node_steps

    @property
    def flop_savings(self) -> float | None:
        """Return the share of all FLOPs saved."""
        return None if self.flops is None or not self.standard_flops else 1 - self.flops / self.standard_flops

    @property
    def nfe_savings(self) -> float | None:
        """Return the share of the denoiser's rows saved: two a node-step with guidance, where a model has it."""
        return None if self.nfe is None or not self.baseline_nfe else 1 - self.nfe / self.baseline_nfe

    def plain(self) -> dict[str, Any]:
        """Return what is known as plain values for JSON, the savings included."""
        values = {ON_DISK.get(name, name): value for name, value in asdict(self).items()}
        values |= {"savings": self.savings, "flop_savings": self.flop_savings, "nfe_savings": self.nfe_savings}
        return {name: value for name, value in values.items() if value is not None}


def components(source: "Source") -> "list[Component]":
    """Return what a source's model computes with: the very same for any seed and number of steps.

    Where guidance is left out of some steps, what these compute is among it, by the unit ``unguided_step``. A
    component's FLOPs are remembered with it, and counting them takes seconds.
    """
    from generators.families.base import get_family

    family, entry = get_family(source.entry.family), source.entry
    settings = source.settings.model_copy(update={"seed": 0, "steps": 1, "guidance_interval": WHOLE})
    in_part = source.settings.guidance_interval != WHOLE
    key = (entry.family, source.weights, settings, in_part)
    if key not in _components:
        parts = family.components_of(entry, settings)
        if in_part:
            alone = family.components_of(entry, family.unguided(entry, settings))
            parts = parts + [replace(part, unit="unguided_step") for part in alone if part.unit == "node_step"]
        _components[key] = parts
    return _components[key]


def rows_of(source: "Source") -> tuple[float, float]:
    """Return the rows that the source's denoiser evaluates of a node-step: with guidance, and outside its interval.

    Raises:
        UserError: the model's components cannot be had.
    """
    return _rows(components(source))


def _rows(parts: "Sequence[Component]") -> tuple[float, float]:
    by_unit = {part.unit: part.calls for part in parts if part.name == DENOISER}
    guided = by_unit.get("node_step", 1)
    return guided, by_unit.get("unguided_step", guided)


def nfe(parts: "Sequence[Component]", made: Evaluations) -> int | None:
    """Return the rows that a denoiser evaluates, as the field counts evaluations (NFE); None without components."""
    return made.rows(*_rows(parts)) if parts else None


def price(
    parts: "Sequence[Component]",
    n_prompts: int,
    made: Evaluations,
    n_images: int,
    skipped: Mapping[str, int] = MappingProxyType({}),
) -> "FlopTable":
    """Return the FLOPs of so many denoiser evaluations, of encoding and of decoding; see `metrics.flops.price`."""
    from metrics import flops

    further = {"unguided_steps": made.unguided, "reused_rows": made.reused}
    return flops.price(parts, n_prompts, made.guided, n_images, skipped, **further)


def cost(components: "Sequence[Component]", n_prompts: int, ours: Evaluations, theirs: Evaluations) -> Cost:
    """Return the cost of `n_prompts` pictures by our evaluations, beside the baseline's.

    Without components FLOPs and NFE are left out.

    Examples:
        >>> cost([], 8, Evaluations(600), Evaluations(800)).plain()
        {'node_steps': 600, 'standard_node_steps': 800, 'savings': 0.25}
    """
    known = Cost(ours.node_steps, theirs.node_steps)
    if not components:
        return known
    flops, standard = (price(components, n_prompts, made, n_prompts).total for made in (ours, theirs))
    rows, baseline_rows = (nfe(components, made) for made in (ours, theirs))
    return replace(known, flops=flops, standard_flops=standard, nfe=rows, baseline_nfe=baseline_rows)


def picture_bytes(picture_sets: Sequence["Job"]) -> int:
    """Return the bytes that folders of pictures take at most: uncompressed."""
    return sum(
        job.source.pictures * job.source.settings.height * job.source.settings.width * RGB for job in picture_sets
    )
