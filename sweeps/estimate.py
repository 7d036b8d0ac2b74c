"""The cost of a sweep or a study before anything is here: the jobs of the planning pass, priced.

Neither weights nor a GPU are needed, and a prompt set need not be here either: stand-ins take their places.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from generators.catalogue import model
from generators.model_entry import ModelEntry
from generators.prompts import PromptSet, known_set
from generators.sharing.evaluations import Evaluations
from generators.sharing.plan import Grouping, Planner, SharingPlan, build_plan
from generators.sharing.schedule import Schedule, get_schedule
from generators.sharing.tree import Tree
from generators.strategies.base import grouped
from metrics.base import get_metric
from metrics.memory import BYTES, parameters
from sweeps.audit import audit_scores
from sweeps.cost import RGB, components, nfe, price
from sweeps.grid import PRIOR, Source, cells, own_settings, settings_of, sources
from sweeps.jobs import Job
from sweeps.plan import plan_sweep, united
from sweeps.scorers import NONE, Asked
from sweeps.session import Session
from sweeps.spec import SweepSpec

if TYPE_CHECKING:
    from generators.strategies.base import Strategy

CUDA = "cuda"  # what full-size models are planned for: decides the dtype of those whose default is `auto`
STANDARD = "as if nothing were shared: an upper bound"
PUBLISHED = "the published savings"
WHOLE = "every step, decoded each: an upper bound"
PLANNED = "plans of these prompts"
NOT_HERE = "its size alone"  # the source of a prompt set whose texts are stand-ins

# (model, prompt set, tau) -> the published share of node-steps saved; prompt set -> how many it has
Published = Callable[[str, str, float], float | None]
Size = Callable[[str], int | None]


@dataclass(frozen=True)
class Estimate:
    """One model on one prompt set, all seeds, taus and references together.

    Attributes:
        prompts: of the set, or the limit.
        steps: K.
        encoded: prompts that are encoded, once for every seed and setting that changes their conditioning.
        images: pictures made.
        node_steps: denoiser evaluations of nodes.
        nfe: rows of these: two a node-step with guidance, where a model has it.
        denoising: FLOPs of these, guidance included.
        rest: FLOPs of encoding and decoding.
        picture_bytes: of the pictures, uncompressed: at most.
        weight_bytes: of the modules that run.
        basis: what the node-steps of cells that share are known from.
        scores: of pictures by all scorers, and of their audits; one is a pass of a scorer.
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
    scores: int = 0
    encoded: int = 0
    nfe: int = 0

    @property
    def flops(self) -> float:
        return self.denoising + self.rest


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
        study: a study's name: its node-steps instead of the sweep's jobs.
        encoder: the text encoder whose embeddings stand in for the models' own; None: none is here.
        published: savings where there is no encoder.
        size: how many prompts a set has that is not here.
        on_missing: hears which model or set cannot be planned here, and why.

    Raises:
        UserError: a name is unknown.
    """
    session = _WithoutWeights(encoder, published)
    for entry, dataset in product([model(name, spec.variant) for name in spec.model], spec.dataset):
        try:
            one, prompts = _narrowed(spec, entry, dataset), _prompts(dataset, spec.limit, size)
            of = list(sources(one, "cpu", [prompts], hashed=False))
            estimate = _of_study(study, one, of) if study else _of_jobs(one, of, session)
        except UserError as error:  # a configuration or a set that is not here
            on_missing(f"{entry.name} on {dataset} is not planned: {error}")
        else:
            yield estimate


def planned(picture_sets: Sequence[Job], spec: SweepSpec | None = None) -> list[Estimate]:
    """Return the cost of planned pictures, of every model on every prompt set.

    Pictures that are the baseline's are made once, and paths that several plans have in common are denoised once.

    Args:
        picture_sets: a job a folder, baselines before what is compared with them (`Plan.picture_sets`).
        spec: of the sweep that makes and scores them: it says whether each is denoised whole, by itself. None: they
            are denoised as one, and nothing is scored.

    Raises:
        UserError: FLOPs cannot be counted.
    """
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in picture_sets:
        if job.plan:
            groups.setdefault((job.source.entry.name, job.source.prompts.name), []).append(job)
    return [_planned(group, spec) for group in groups.values()]


def _planned(jobs: Sequence[Job], spec: SweepSpec | None) -> Estimate:
    sets, together = list[tuple[Source, int, Evaluations]](), spec is None or not spec.alone
    reuse, nothing = bool(spec and spec.reuse_unconditional), Evaluations()
    shared = united(jobs, reuse=reuse) if together else {}
    for job in jobs:
        needed = job.needed(isolate=not together)
        alone = not together or (job.alone and job.role != "baseline")
        own = job.evaluations(reuse=reuse, plan=needed) if alone else None
        made = own or shared.pop(job.source.key, (nothing, nothing))[1]
        sets.append((job.source, int(np.count_nonzero(needed.output >= 0)), made))
    estimate = _priced(sets, PLANNED)
    return replace(estimate, scores=_scores(spec, jobs[0].source, estimate.images)) if spec else estimate


def _narrowed(spec: SweepSpec, entry: ModelEntry, dataset: str) -> SweepSpec:
    """Return the spec of one model on one set, without other families' settings, in the dtype that a GPU would use."""
    own = own_settings(spec, entry)
    settings = {name: value for name, value in own.items() if name not in PRIOR}
    place = {"model": (entry.name,), "dataset": (dataset,), "dtype": next(settings_of(spec, entry, CUDA)).dtype}
    return spec.model_copy(update={**place, **{name: own.get(name) for name in PRIOR}, "settings": settings})


def _of_jobs(spec: SweepSpec, of: Sequence[Source], session: "_WithoutWeights") -> Estimate:
    """Return the cost of a sweep's pictures, each job's by itself; those of tau 0 are the baseline's."""
    with TemporaryDirectory() as nowhere:
        plan = plan_sweep(spec, cells(spec, "cpu", of), Path(nowhere), session, keep=False)
    if failed := next((job.error for job in plan.jobs if job.error), None):
        raise failed
    basis = {job.id: session.basis(job) for job in plan.jobs if job.role == "sharing" and job.config.tau}
    made = [job for job in plan.picture_sets if job.role != "sharing" or job.id in basis]
    if STANDARD in basis.values():
        # Equal compute is then the baseline's own, whose pictures would do. A bound has to count others.
        controls = [job for job in plan.jobs if job.role == "fewer-steps"]
        made += [job for job in controls if job.baseline and job.folder == job.baseline.folder]
    reuse = bool(spec.reuse_unconditional)
    sets = [
        (job.source, job.source.pictures, job.evaluations(reuse=reuse, plan=job.needed(isolate=True))) for job in made
    ]
    estimate = _priced(sets, "; ".join(sorted(set(basis.values()))) or "no sharing")
    return replace(estimate, scores=_scores(spec, of[0], estimate.images))


def _scores(spec: SweepSpec, of: Source, images: int) -> int:
    """Return how many scores a sweep of one model on one prompt set needs, those of its scorers' audits among them."""
    asked = [Asked.parse(text).metric for text in spec.metric or tuple(of.entry.scorers) if text != NONE]
    audited = [name for name in asked if "win_rate" in get_metric(name).results]
    return images * len(asked) + (audit_scores(of.pictures) * len(audited) if spec.audit else 0)


def _of_study(study: str, spec: SweepSpec, of: Sequence[Source]) -> Estimate:
    from studies.base import get_study

    nodes = get_study(study).node_steps(spec.model_copy(update={"limit": len(of[0].prompts)}))
    return _priced([(of[0], nodes, Evaluations(nodes)), *((source, 0, Evaluations()) for source in of[1:])], WHOLE)


def _priced(sets: Sequence[tuple[Source, int, Evaluations]], basis: str) -> Estimate:
    """Return the cost of sets of pictures: a source, how many there are, what they evaluate. K is the first's."""
    first, weights, encoded = sets[0][0], dict[str, int](), dict[str, int]()
    denoising = rest = 0.0
    rows = 0
    for source, images, made in sets:
        prompts = 0 if source.conditioning_key in encoded else len(source.prompts)
        encoded[source.conditioning_key] = len(source.prompts)
        parts = components(source)
        beside = price(parts, prompts, Evaluations(), images).total
        rest += beside
        denoising += price(parts, prompts, made, images).total - beside
        rows += nfe(parts, made) or 0
        for part in parts:
            if part.calls:
                weights[part.name] = parameters(part) * BYTES[source.settings.dtype]
    return Estimate(
        model=first.entry.name,
        dataset=first.prompts.name,
        prompts=len(first.prompts),
        steps=first.steps,
        images=sum(images for _, images, _ in sets),
        node_steps=sum(made.node_steps for *_, made in sets),
        nfe=rows,
        denoising=denoising,
        rest=rest,
        picture_bytes=sum(images * source.settings.height * source.settings.width * RGB for source, images, _ in sets),
        weight_bytes=sum(weights.values()),
        basis=basis,
        encoded=sum(encoded.values()),
    )


def _prompts(dataset: str, limit: int | None, size: Size) -> PromptSet:
    """Return the prompt set or, if it is not here, as many stand-ins.

    Raises:
        UserError: it is not here, and its size is not known.
    """
    known = known_set(dataset)
    if (missing := known.unavailable()) is None:
        return known.load().first(limit)
    if n := size(dataset) or limit:
        texts, origin = tuple(f"{dataset} {number}" for number in range(n)), NOT_HERE
    else:
        raise UserError(f"the prompt set {dataset!r} is not here, and its size is not known", missing)
    return PromptSet(dataset, texts[:limit], origin)


class _WithoutWeights(Session):
    """Clusters text embeddings in place of a model's features or, without them, knows only what is saved."""

    def __init__(self, encoder: str | None, published: Published) -> None:
        super().__init__("cpu", lambda event: None)
        self._text_encoder, self._published = encoder, published

    def grouping(
        self, source: Source, strategy: "Strategy", features: str, run: Path | None = None
    ) -> tuple[Grouping, float]:
        prompts = source.prompts
        if self._embeds(prompts):
            apart = None if source.classes is None else tuple(source.classes.tolist())
            return _grouping(str(self._text_encoder), prompts.prompts, strategy, source.settings.seed, apart), 0
        savings = partial(self._published, source.entry.name, prompts.name)
        return _Saving(len(prompts), lambda tau: savings(tau) or 0 if tau else 0), 0

    def basis(self, job: Job) -> str:
        """Return what a cell's node-steps are known from."""
        if self._embeds(job.source.prompts):
            return f"trees of text embeddings, {job.config.schedule}"
        saved = self._published(job.config.model, job.config.dataset, float(job.config.tau))
        return STANDARD if saved is None else PUBLISHED

    def _embeds(self, prompts: PromptSet) -> bool:
        return self._text_encoder is not None and prompts.source != NOT_HERE


@cache
def _grouping(
    encoder: str, prompts: tuple[str, ...], strategy: "Strategy", seed: int, apart: tuple[int, ...] | None
) -> Grouping:
    classes = None if apart is None else np.array(apart)
    return grouped(strategy, _embeddings(encoder, prompts), seed=seed, classes=classes)


@cache
def _embeddings(encoder: str, prompts: tuple[str, ...]) -> NDArray[np.float64]:
    from generators.text_encoders.base import text_embeddings

    return text_embeddings(encoder, prompts)


@dataclass(frozen=True)
class _Saving(Planner):
    """Prompts of which only the share of evaluations is known that they save at a tau, not who shares with whom."""

    n_leaves: int
    share: Callable[[float], float]

    def plan(self, schedule: Schedule, tau: float, steps: int, combiner: str = "mean") -> SharingPlan:
        """Return a plan of that cost: all share the first steps, and some of them one more."""
        n = self.n_leaves
        saved = n * steps - round(n * steps * (1 - self.share(tau)))
        together, more = divmod(min(saved, (n - 1) * (steps - 1)), max(1, n - 1))
        # At tau 1, eq7 splits a cluster after k steps if its height lies between 1 - (k + 1) / K and 1 - k / K.
        heights = [max(0.0, 1 - (k + 0.5) / steps) for k in (together + 1, together)]
        parents = [n] * (more + 1) + [n + 1] * (n - more - 1) + [n + 1, -1]
        tree = Tree(np.array(parents), np.array([0.0] * n + heights), n)
        return build_plan(tree, get_schedule("eq7"), 1.0, steps, combiner)
