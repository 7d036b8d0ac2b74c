"""What a run costs in floating-point operations: counted on shapes alone, a multiply-add as 2."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from common.errors import UserError

if TYPE_CHECKING:
    from torch.nn import Module

Phase = Literal["encode", "denoise", "decode"]
Unit = Literal["prompt", "node_step", "image"]
DENOISER = "denoiser"


class Component(Protocol):
    """A module that a generator calls, as its family describes it.

    Attributes:
        name: e.g. ``denoiser``; the FLOPs of components of one name are summed.
        phase: ``encode``, ``denoise`` or ``decode``.
        unit: what its calls are counted in.
        calls: calls at batch 1 for one unit, e.g. 2 a node-step with guidance.
        build: makes the module; called under ``torch.device("meta")``, so it needs no weights and no memory.
        inputs: makes one call's arguments at batch 1, for that module, without masks; called likewise.
        together: of one unit's calls, how many are rows of one batch.
    """

    def __hash__(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def phase(self) -> Phase: ...
    @property
    def unit(self) -> Unit: ...
    @property
    def calls(self) -> float: ...
    @property
    def build(self) -> "Callable[[], Module]": ...
    @property
    def together(self) -> int: ...
    @property
    def inputs(self) -> "Callable[[Module], tuple[Sequence[Any], Mapping[str, Any]]]": ...


@dataclass(frozen=True)
class FlopTable:
    """FLOPs of a whole run by component; what sharing cannot reduce is in the total."""

    components: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.components.values())

    def savings(self, standard: "FlopTable") -> float:
        """Share of standard generation's FLOPs that this run does without: 1 - total / standard's total."""
        return 1 - self.total / standard.total


def price(
    components: Sequence[Component],
    n_prompts: int,
    node_steps: int,
    n_images: int,
    skipped: Mapping[str, int] = MappingProxyType({}),
) -> FlopTable:
    """FLOPs of a run: one call's FLOPs x calls a unit x units, for every component.

    Args:
        components: what the family calls.
        n_prompts: prompts encoded.
        node_steps: the plan's node-steps.
        n_images: images decoded.
        skipped: by its path in the component ``denoiser``, for how many node-steps a module was not computed.

    Raises:
        UserError: as `count`.
    """
    units: dict[Unit, int] = {"prompt": n_prompts, "node_step": node_steps, "image": n_images}
    table: dict[str, float] = {}
    for component in components:
        flops = count(component) * component.calls * units[component.unit]
        if component.name == DENOISER:
            parts = count_parts(component) if skipped else {}
            flops -= component.calls * sum(parts.get(path, 0) * times for path, times in skipped.items())
        table[component.name] = table.get(component.name, 0.0) + flops
    return FlopTable(table)


def count(component: Component) -> int:
    """FLOPs of one call at batch 1: matrix products, convolutions and attention; the rest counts as nothing.

    On the meta device attention runs as plain matrix products, where fused kernels could go uncounted. Remembered by
    component, since a big denoiser takes seconds.

    Raises:
        UserError: nothing was counted, or the module cannot run on shapes alone.
    """
    return count_parts(component)[""]


@lru_cache(maxsize=256)
def count_parts(component: Component) -> Mapping[str, int]:
    """The same of every module in it, by its path; all of it by the empty path."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    try:
        with torch.device("meta"), torch.no_grad():
            module = component.build().eval()
            args, kwargs = component.inputs(module)
            with counter:
                module(*args, **kwargs)
    except (NotImplementedError, RuntimeError) as error:
        raise UserError(
            f"the FLOPs of the component {component.name!r} cannot be counted on the meta device: {error}",
            "describe it without masks and without looking at values",
        ) from error
    flops = counter.get_total_flops()
    if not flops:
        raise UserError(
            f"the component {component.name!r} counts as zero FLOPs",
            "describe it with modules whose operators are counted",
        )
    parts = {name.partition(".")[2]: sum(found.values()) for name, found in counter.get_flop_counts().items()}
    return {**parts, "": flops}
