"""Floating-point operations of a run: counted on shapes alone, a multiply-add as 2."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from common.errors import UserError

if TYPE_CHECKING:
    from torch.nn import Module

Phase = Literal["encode", "denoise", "decode"]
Unit = Literal["prompt", "node_step", "unguided_step", "image"]
DENOISER = "denoiser"


class Component(Protocol):
    """A module that a generator calls, as its family describes it.

    Attributes:
        name: e.g. ``denoiser``; the FLOPs of components of one name are summed.
        phase: ``encode``, ``denoise`` or ``decode``.
        unit: the thing that its calls are counted by.
        calls: calls at batch 1 for one unit, e.g. 2 a node-step with guidance.
        build: makes the module; called under ``torch.device("meta")``, so it needs no weights and no memory.
        inputs: makes one call's arguments at batch 1, for that module, without masks; called likewise.
        together: the number of one unit's calls that are rows of one batch.
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
    """FLOPs of a whole run by component; those that sharing cannot reduce are in the total.

    Examples:
        >>> baseline = FlopTable({"text encoder": 1e9, "denoiser": 8e9, "decoder": 1e9})
        >>> ours = FlopTable({"text encoder": 1e9, "denoiser": 4e9, "decoder": 1e9})
        >>> ours.total
        6000000000.0
        >>> ours.savings(baseline)  # half of the denoiser's, 40% of all
        0.4
    """

    components: dict[str, float]

    @property
    def total(self) -> float:
        """FLOPs of all components."""
        return sum(self.components.values())

    def savings(self, baseline: "FlopTable") -> float:
        """Return the share of the baseline's FLOPs that this run does without, 1 - total / baseline's total.

        At most 1; higher is better; below 0 where this run needs more.
        """
        return 1 - self.total / baseline.total


def price(
    components: Sequence[Component],
    n_prompts: int,
    node_steps: int,
    n_images: int,
    skipped: Mapping[str, int] = MappingProxyType({}),
    *,
    unguided_steps: int = 0,
    reused_rows: int = 0,
) -> FlopTable:
    """Return the FLOPs of a run: one call's FLOPs x calls a unit x units, for every component.

    Args:
        components: the modules that the family calls.
        n_prompts: prompts encoded.
        node_steps: the plan's node-steps, those at which guidance is on if it is not at all.
        n_images: images decoded.
        skipped: node-steps for which a module was not computed, by its path in the component ``denoiser``.
        unguided_steps: node-steps outside the guidance interval.
        reused_rows: rows of the denoiser that a sibling's row stood for.

    Raises:
        UserError: as `count`.

    Examples:
        >>> from torch import nn, zeros
        >>> class Linear:
        ...     name, phase, unit, calls, together = "denoiser", "denoise", "node_step", 2, 2
        ...     build = staticmethod(lambda: nn.Linear(3, 5, bias=False))
        ...     inputs = staticmethod(lambda module: ((zeros(1, 3),), {}))
        >>> price([Linear()], n_prompts=4, node_steps=10, n_images=4).components  # 10 node-steps x 2 calls x 30 FLOPs
        {'denoiser': 600.0}
    """
    units: dict[Unit, int] = {
        "prompt": n_prompts,
        "node_step": node_steps,
        "unguided_step": unguided_steps,
        "image": n_images,
    }
    table: dict[str, float] = {}
    for component in components:
        flops = count(component) * component.calls * units[component.unit]
        if component.name == DENOISER and component.unit == "node_step":
            flops -= count(component) * reused_rows
            parts = count_parts(component) if skipped else {}
            flops -= component.calls * sum(parts.get(path, 0) * times for path, times in skipped.items())
        table[component.name] = table.get(component.name, 0.0) + flops
    return FlopTable(table)


def count(component: Component) -> int:
    """Return the FLOPs of one call at batch 1: matrix products, convolutions and attention; the rest counts as nothing.

    `torch.utils.flop_counter` on the meta device, where attention runs as plain matrix products: fused kernels could go
    uncounted. Remembered by component, since a big denoiser takes seconds.

    Raises:
        UserError: nothing was counted, or the module cannot run on shapes alone.

    Examples:
        >>> from torch import nn, zeros
        >>> class Linear:
        ...     name, phase, unit, calls, together = "denoiser", "denoise", "node_step", 2, 2
        ...     build = staticmethod(lambda: nn.Linear(3, 5, bias=False))
        ...     inputs = staticmethod(lambda module: ((zeros(1, 3),), {}))
        >>> count(Linear())  # 2 x 3 x 5
        30
    """
    return count_parts(component)[""]


@lru_cache(maxsize=256)
def count_parts(component: Component) -> Mapping[str, int]:
    """Return the FLOPs of every module in the component, by its path; of the whole by the empty path.

    Raises:
        UserError: as `count`.

    Examples:
        >>> from torch import nn, zeros
        >>> class Two:
        ...     name, phase, unit, calls, together = "denoiser", "denoise", "node_step", 1, 1
        ...     build = staticmethod(lambda: nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 7)))
        ...     inputs = staticmethod(lambda module: ((zeros(1, 3),), {}))
        >>> sorted(count_parts(Two()).items())
        [('', 100), ('0', 30), ('1', 70)]
    """
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
    # the counter's paths begin with the class of the whole module
    parts = {path.partition(".")[2]: sum(counts.values()) for path, counts in counter.get_flop_counts().items()}
    return {**parts, "": flops}
