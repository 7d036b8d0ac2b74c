"""The cost of a sweep or a study before anything is here: no weights, no GPU, not even the prompts are needed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from generators.catalogue import model
from generators.model_entry import ModelEntry
from generators.prompts import PromptSet, known_set
from generators.settings import GenerationSettings
from generators.sharing.plan import Grouping
from generators.sharing.savings import node_steps
from metrics.flops import count
from metrics.memory import BYTES, parameters
from sweeps.accelerators import Accelerator, measured_seconds
from sweeps.grid import parse_schedule, parse_strategy, settings_of
from sweeps.spec import SweepSpec

if TYPE_CHECKING:
    from generators.component import Component
    from generators.sampler import Sampler

RGB = 3
CUDA = "cuda"  # what full-size models are planned for: decides the dtype of those whose default is `auto`
STANDARD = "as if nothing were shared: an upper bound"
PUBLISHED = "the published savings"
WHOLE = "every step, decoded each: an upper bound"

# (model, prompt set, tau) -> the published share of node-steps saved; prompt set -> how many it has
Published = Callable[[str, str, float], float | None]
Size = Callable[[str], int | None]


@dataclass(frozen=True)
class Estimate:
    """One model on one prompt set, all seeds, taus and references together.

    Attributes:
        prompts: of the set, or the limit.
        steps: K.
        images: pictures made.
        node_steps: denoiser evaluations, in rows.
        denoising: FLOPs of these, guidance included.
        rest: FLOPs of encoding and decoding.
        picture_bytes: of the pictures, uncompressed: at most.
        weight_bytes: of the modules that run.
        basis: what the node-steps of cells that share are known from.
    """

    model: str
    dataset: str
    prompts: int
    steps: int
    images: int
    node_steps: int
    denoising: float
    rest: float
    picture_bytes: int
    weight_bytes: int
    basis: str

    @property
    def flops(self) -> float:
        """Return all FLOPs."""
        return self.denoising + self.rest

    def seconds(
        self, accelerator: Accelerator, utilisation: float, seconds_per_step: float | None = None
    ) -> tuple[float, str]:
        """Return the seconds on an accelerator, and what they rest on.

        Args:
            accelerator: which.
            utilisation: the share of its peak that is reached where nothing was measured.
            seconds_per_step: of a node-step, where the user knows; else what was measured, if it was.
        """
        reached = accelerator.peak_flops * utilisation
        bound = f"FLOPs at {utilisation:.0%} of the peak"
        step, basis = seconds_per_step, "seconds a step as given"
        if step is None:
            step = measured_seconds(accelerator, self.model)
            basis = f"seconds a step as measured on {accelerator.name}"
        if step is None:
            return self.flops / reached, bound
        return step * self.node_steps + self.rest / reached, basis


def estimates(
    spec: SweepSpec,
    *,
    study: str | None = None,
    encoder: str | None = None,
    published: Published,
    size: Size,
    on_missing: Callable[[str], None],
) -> Iterator[Estimate]:
    """Yield the cost of every model on every prompt set of a spec.

    Args:
        spec: the sweep.
        study: a study's name: its node-steps instead of the sweep's cells.
        encoder: the text encoder whose embeddings stand in for the models' own; None: none is here.
        published: savings where there is no encoder.
        size: how many prompts a set has that is not here.
        on_missing: hears which model or set cannot be planned here, and why.

    Raises:
        UserError: a name is unknown.
    """
    tree = _trees(encoder)
    for entry, dataset in product([model(name) for name in spec.model], spec.dataset):
        try:
            every = [
                _of_study(study, spec, entry, dataset, settings, size)
                if study
                else _of_cells(spec, entry, dataset, settings, tree, published, size)
                for settings in settings_of(spec, entry, CUDA)
            ]
        except UserError as error:  # a configuration or a set that is not here
            on_missing(f"{entry.name} on {dataset} is not planned: {error}")
        else:
            yield _added(every)


def _of_cells(
    spec: SweepSpec,
    entry: ModelEntry,
    dataset: str,
    settings: GenerationSettings,
    tree: Callable[[SweepSpec, str], Grouping | None],
    published: Published,
    size: Size,
) -> Estimate:
    """Return the cost of one source: its baseline, every tau's pictures, and the references beside them."""
    n, K = _size(spec, dataset, size), _evaluations(entry, settings)
    cells, basis = 0, set()
    baselines = 1 + (spec.seed_control and len(spec.seed) == 1)  # among several seeds the next one's is the control
    total = baselines * n * K
    for schedule in spec.schedule:
        how = parse_schedule(schedule)
        how = how.bound(_sampler(entry, settings).log_snr) if how.wants_snr else how
        for tau in (float(tau) for tau in spec.tau if tau):
            known, saved = tree(spec, dataset), published(entry.name, dataset, tau)
            if known is not None:
                nodes, why = node_steps(known, how, tau, K), f"trees of text embeddings, {schedule}"
            elif saved is not None:
                nodes, why = round(n * K * (1 - saved)), PUBLISHED
            else:
                nodes, why = n * K, STANDARD
            basis.add(why)
            sets = 1 + (
                spec.equal_compute and schedule == spec.schedule[0]
            )  # an equal-compute baseline costs as much again
            total, cells = total + sets * nodes, cells + sets
    return _priced(
        entry, dataset, settings, n, K, (baselines + cells) * n, total, "; ".join(sorted(basis)) or "no sharing"
    )


def _of_study(
    study: str, spec: SweepSpec, entry: ModelEntry, dataset: str, settings: GenerationSettings, size: Size
) -> Estimate:
    from studies.base import get_study

    n = _size(spec, dataset, size)
    one = {"model": (entry.name,), "dataset": (dataset,), "seed": (settings.seed,), "limit": n}
    nodes = get_study(study).node_steps(spec.model_copy(update=one))
    return _priced(entry, dataset, settings, n, _evaluations(entry, settings), nodes, nodes, WHOLE)


def _priced(
    entry: ModelEntry,
    dataset: str,
    settings: GenerationSettings,
    n: int,
    K: int,
    images: int,
    nodes: int,
    basis: str,
) -> Estimate:
    components = _components(entry.name, settings.model_copy(update={"seed": 0}))
    units = {"prompt": n, "node_step": nodes, "image": images}
    flops = {True: 0.0, False: 0.0}
    for component in components:
        flops[component.unit == "node_step"] += count(component) * component.calls * units[component.unit]
    weights = {
        component.name: parameters(component) * BYTES[settings.dtype] for component in components if component.calls
    }
    pictures = images * settings.height * settings.width * RGB
    return Estimate(
        entry.name, dataset, n, K, images, nodes, flops[True], flops[False], pictures, sum(weights.values()), basis
    )


@cache
def _components(name: str, settings: GenerationSettings) -> "list[Component]":
    """Return the same components for every prompt set: their FLOPs are counted once, and a big one takes seconds."""
    from generators.families.base import get_family

    entry = model(name)
    return get_family(entry.family).components_of(entry, settings)


def _added(every: Sequence[Estimate]) -> Estimate:
    """Return the estimates of several seeds and settings as one."""
    first = every[0]
    sums = ("images", "node_steps", "denoising", "rest", "picture_bytes")
    return replace(first, **{name: sum(getattr(estimate, name) for estimate in every) for name in sums})


def _size(spec: SweepSpec, dataset: str, size: Size) -> int:
    n = _length(dataset) or size(dataset) or spec.limit
    if n is None:
        raise UserError(
            f"the prompt set {dataset!r} is not here, and its size is not known", known_set(dataset).unavailable()
        )
    return min(n, spec.limit or n)


@cache
def _prompts(dataset: str) -> PromptSet | None:
    known = known_set(dataset)
    return None if known.unavailable() else known.load()


def _length(dataset: str) -> int | None:
    prompts = _prompts(dataset)
    return len(prompts) if prompts else None


def _evaluations(entry: ModelEntry, settings: GenerationSettings) -> int:
    """Return K, from the scheduler's configuration; the requested steps, where not even that can be had."""
    return int(_sampler(entry, settings).K)


def _sampler(entry: ModelEntry, settings: GenerationSettings) -> "Sampler":
    """Return the sampler, made from the scheduler's configuration alone."""
    from generators.families.base import get_family

    return get_family(entry.family).load(entry, "cpu", settings.dtype).sampler(settings)


def _trees(encoder: str | None) -> Callable[[SweepSpec, str], Grouping | None]:
    """Return a function from spec and prompt set to the tree of the first strategy on text embeddings.

    It gives None where these cannot be had.
    """

    def tree(spec: SweepSpec, dataset: str) -> Grouping | None:
        if encoder is None or _prompts(dataset) is None:
            return None
        return _tree(encoder, dataset, spec.limit, spec.strategy[0], spec.seed[0])

    return tree


@cache
def _tree(encoder: str, dataset: str, limit: int | None, strategy: str, seed: int) -> Grouping:
    return parse_strategy(strategy).grouping(_embeddings(encoder, dataset)[:limit], seed=seed)


@cache
def _embeddings(encoder: str, dataset: str) -> NDArray[np.float64]:
    """Return the embeddings of the whole set: a text's does not depend on the others, so limits share them."""
    from generators.text_encoders.base import text_embeddings

    prompts = _prompts(dataset)
    return text_embeddings(encoder, prompts.prompts if prompts else ())
