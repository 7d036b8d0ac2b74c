"""What a sweep or a study will cost before anything is here: no weights, no GPU, not even the prompts are needed."""

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
from sweeps.accelerators import Card, measured_seconds
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
        return self.denoising + self.rest

    def seconds(self, card: Card, utilisation: float, seconds_per_step: float | None = None) -> tuple[float, str]:
        """Seconds on a card, and what they rest on.

        Args:
            card: which.
            utilisation: the share of its peak that is reached where nothing was measured.
            seconds_per_step: of a node-step, where the user knows; else what was measured, if it was.
        """
        reached = card.peak_flops * utilisation
        bound = f"FLOPs at {utilisation:.0%} of the peak"
        step, basis = seconds_per_step, "seconds a step as given"
        if step is None:
            step, basis = measured_seconds(card, self.model), f"seconds a step as measured on {card.name}"
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
    """The cost of every model on every prompt set of a spec.

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
    """One source: standard images, every tau's own, and what they are held against."""
    n, K = _size(spec, dataset, size), _evaluations(entry, settings)
    cells, basis = 0, set()
    made = 1 + (spec.seed_control and len(spec.seed) == 1)  # sets of pictures; another seed's is the next seed's
    total = made * n * K
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
            sets = 1 + (spec.equal_compute and schedule == spec.schedule[0])  # fewer steps cost as much again
            total, cells = total + sets * nodes, cells + sets
    return _priced(entry, dataset, settings, n, K, (made + cells) * n, total, "; ".join(sorted(basis)) or "no sharing")


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
    for each in components:
        flops[each.unit == "node_step"] += count(each) * each.calls * units[each.unit]
    weights = {each.name: parameters(each) * BYTES[settings.dtype] for each in components if each.calls}
    pictures = images * settings.height * settings.width * RGB
    return Estimate(
        entry.name, dataset, n, K, images, nodes, flops[True], flops[False], pictures, sum(weights.values()), basis
    )


@cache
def _components(name: str, settings: GenerationSettings) -> "list[Component]":
    """The same ones for every prompt set: a component's FLOPs are counted once, and a big one takes seconds."""
    from generators.families.base import get_family

    entry = model(name)
    return get_family(entry.family).components_of(entry, settings)


def _added(every: Sequence[Estimate]) -> Estimate:
    """Those of several seeds and settings as one."""
    first = every[0]
    sums = ("images", "node_steps", "denoising", "rest", "picture_bytes")
    return replace(first, **{name: sum(getattr(each, name) for each in every) for name in sums})


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
    found = _prompts(dataset)
    return len(found) if found else None


def _evaluations(entry: ModelEntry, settings: GenerationSettings) -> int:
    """K, from the scheduler's configuration; the steps asked for, where not even that can be had."""
    return int(_sampler(entry, settings).K)


def _sampler(entry: ModelEntry, settings: GenerationSettings) -> "Sampler":
    """From the scheduler's configuration alone."""
    from generators.families.base import get_family

    return get_family(entry.family).load(entry, "cpu", settings.dtype).sampler(settings)


def _trees(encoder: str | None) -> Callable[[SweepSpec, str], Grouping | None]:
    """By spec and prompt set, the tree of its first strategy on text embeddings; None where these cannot be had."""

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
    """Of the whole set: a text's does not depend on the others."""
    from generators.text_encoders.base import text_embeddings

    found = _prompts(dataset)
    return text_embeddings(encoder, found.prompts if found else ())
