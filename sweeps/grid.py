"""From a spec to the cells of a sweep, each with an identity: all that changes its result, and nothing else."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache, cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import canonical_json, sha256_text
from generators.catalogue import model
from generators.denoiser_caches.base import DenoiserCache, get_denoiser_cache
from generators.guidance import WHOLE
from generators.model_entry import ModelEntry, models
from generators.prompts import Own, PromptSet, classes, given_prompts, load_prompts, prompt_keys, prompt_set, short
from generators.settings import GenerationSettings
from generators.sharing.schedule import Schedule, get_schedule
from generators.strategies.base import Strategy, get_strategy, refuse_planner, split_name
from sweeps.axes import canonical, parse_parameters
from sweeps.record import BASE, CellConfig, Role, Sample
from sweeps.sample import drawn
from sweeps.spec import OFFICIAL, SweepSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generators.sampler import Sampler

ALGORITHM_VERSION = 1
# Settings that are no axes: every family's, and those of families with a prior.
PLAIN = ("dtype", "height", "width", "negative_prompt")
PRIOR = ("prior_steps", "prior_guidance", "prior_seed")


@dataclass(frozen=True)
class ToEncode:
    """Prompts that are encoded with the same settings.

    Attributes:
        rows: which of those they are that a source has encoded (`Source.encoded_rows`).
        keys: from which what is drawn in encoding is drawn.
        several: whether others of the source are encoded with another negative prompt.
    """

    settings: GenerationSettings
    rows: tuple[int, ...]
    prompts: tuple[str, ...]
    keys: tuple[str, ...]
    several: bool

    def told(self, notes: Iterable[str]) -> list[str]:
        """Return notes of encoding them, which number prompts among these."""
        which = f", of the {len(self.rows):,} prompts with the negative prompt {short(self.settings.negative_prompt)!r}"
        return [note + (which if self.several else "") for note in notes]


@dataclass(frozen=True, eq=False)
class Source:
    """The ingredients of conditioning and of a baseline: a model, prompts and settings.

    Attributes:
        weights: the hash of the model's weights and configurations.
        steps: K, the number of denoiser evaluations that the scheduler answers the settings' steps with.
        scheduler: the class that the settings' scheduler resolves to; its configuration is among the weights.
        stream: whose generator draws all noise, under the noise policy ``official``; None: noise knows no device.
        log_snr: of the latents before each step, for schedules that follow it; None where the scheduler does not tell.
        copies_height: where the pictures of one prompt part in the tree of prompts (`Tree.with_copies`).
        sample: the prompts whose pictures are made; None: all.
    """

    entry: ModelEntry
    weights: str
    prompts: PromptSet
    settings: GenerationSettings
    steps: int
    scheduler: str
    stream: str | None = None
    log_snr: tuple[float, ...] | None = None
    copies_height: float = 0.0
    sample: Sample | None = None

    @property
    def pictures(self) -> int:
        """Return the number of prompts whose pictures are made."""
        return len(self.sample) if self.sample else len(self.prompts)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Return all that changes the baseline's pictures and nothing else.

        Where all noise is one stream, its device does too, and whether the prior has a seed of its own, even an equal
        one: the pictures' stream then begins at its start instead of where the prior's draws end.
        """
        from generators.families.base import get_family

        family = get_family(self.entry.family)
        one_stream = {"stream": self.stream} if self.stream else {}
        sample = {"sample": self.sample.hash} if self.sample else {}
        return {
            "algorithm": ALGORITHM_VERSION,
            "family": {"name": family.name, "version": family.version},
            "weights": self.weights,
            "prompts": self.prompts.hash_of_texts,
            **({"own": self.prompts.hash_of_own} if self.prompts.hash_of_own else {}),
            "settings": self.settings.model_dump(exclude={"scheduler"} if one_stream else {"prior_seed", "scheduler"}),
            "scheduler": self.scheduler,
            "K": self.steps,
            "embedding_seed": self.settings.embedding_seed,
            **one_stream,
            **sample,
        }

    @property
    def copies(self) -> dict[str, Any]:
        """Return what a cell's tree has of several pictures a prompt; nothing where there is one of each."""
        if self.prompts.per_prompt == 1:
            return {}
        return {"per_prompt": self.prompts.per_prompt, "height": self.copies_height}

    @cached_property
    def own(self) -> list[Own]:
        """Return what each prompt is made with: its own seed and negative prompt or, for want of one, the settings'."""
        return self.prompts.own(self.settings.seed, self.settings.negative_prompt)

    @cached_property
    def classes(self) -> NDArray[np.int64] | None:
        """Return which prompts may share, as `generators.prompts.classes`."""
        return classes(self.own)

    @cached_property
    def keys(self) -> list[str]:
        """Return the keys that prompts' noise is drawn from: they name a prompt's own seed where it has another."""
        from generators.noise import seeded

        keys = prompt_keys(self.prompts.prompts, self.own)
        return [
            key if one.seed == self.settings.seed else seeded(one.seed, key)
            for key, one in zip(keys, self.own, strict=True)
        ]

    @cached_property
    def encodings(self) -> "list[ToEncode]":
        """Return what is to be encoded: the prompts of one negative prompt after those of another."""
        keys = prompt_keys(self.prompts.prompts, self.own) if self.settings.own_embedding_seed else self.keys
        texts, keys, rows = self.prompts.prompts[:: self._times], keys[:: self._times], dict[str, list[int]]()
        for row, one in enumerate(self.own[:: self._times]):
            rows.setdefault(one.negative_prompt, []).append(row)
        return [
            ToEncode(
                self.settings.model_copy(update={"negative_prompt": negative}),
                tuple(places),
                tuple(texts[row] for row in places),
                tuple(keys[row] for row in places),
                several=len(rows) > 1,
            )
            for negative, places in rows.items()
        ]

    @property
    def encoded_rows(self) -> NDArray[np.int64]:
        """Return int64 [N]: of each picture's prompt its place among those that are encoded."""
        return np.arange(len(self.prompts)) // self._times

    @property
    def _times(self) -> int:
        """Return how many pictures have one encoding: those of one prompt, unless encoding draws noise."""
        return 1 if self.settings.encoding_draws else self.prompts.per_prompt

    @property
    def notes(self) -> list[str]:
        """Return what a user should know of the prompts."""
        prompts, notes = self.prompts, list(self.prompts.notes)
        for what, values, flag in (
            ("seed", prompts.seeds, "--seed"),
            ("negative prompt", prompts.negative_prompts, "--negative-prompt"),
        ):
            if values:
                has = f"prompts with a {what} of their own: {len(values) - values.count(None):,} of {len(values):,}"
                notes.append(f"{prompts.name}: {has}" + (f"; the others have that of {flag}" if None in values else ""))
        if self.classes is not None and self.classes.max() + 1 == len(prompts):
            what = "seed" if prompts.negative_prompts is None else "seed or negative prompt"
            notes.append(f"{prompts.name}: every prompt has another {what}: none can share with another")
        return notes

    @cached_property
    def key(self) -> str:
        """Return the name of the baseline's folder."""
        return short_hash(self.identity)

    @cached_property
    def conditioning_key(self) -> str:
        """Return the name of the conditioning's folder: fewer settings change it."""
        idle = self.settings.not_in_conditioning
        settings = {name: value for name, value in self.identity["settings"].items() if name not in idle}
        encoded = {name: value for name, value in self.identity.items() if name != "sample"}
        once = {"per_prompt": self._times} if self._times > 1 else {}
        return short_hash({**encoded, "settings": settings, "scheduler": None, "K": None, **once})


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell: a source, and how its prompts share."""

    role: ClassVar[Role] = "sharing"
    config: CellConfig
    source: Source
    strategy: Strategy
    schedule: Schedule
    denoiser_cache: DenoiserCache | None = None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Return all that changes the result and nothing else; library versions are recorded, not hashed."""
        from generators.combiners.base import get_combiner

        return {
            **self.source.identity,
            "features": self.config.features,
            "strategy": {
                "name": self.strategy.name,
                "version": self.strategy.version,
                "parameters": self.strategy.model_dump(mode="json"),
            },
            "combiner": {"name": self.config.combiner, "version": get_combiner(self.config.combiner).version},
            "schedule": self.schedule.identity,
            "tau": canonical(self.config.tau),
            **({"denoiser_cache": self.denoiser_cache.identity} if self.denoiser_cache else {}),
            **({"copies": copies} if (copies := self.source.copies) else {}),
        }

    @cached_property
    def id(self) -> str:
        """Return the hash of the identity, which names the cell's folder."""
        return short_hash(self.identity)


def cells(spec: SweepSpec, device: str, of: Iterable[Source] | None = None) -> list[Cell]:
    """Return every cell of the grid, those of one source together, tau running fastest; equal ones once.

    Of a spec with savings targets, which taus are yet to be found for, they are one a way to share, at tau 0. A
    variation's cells stand after the others of their source; one that changes nothing is no cell of its own.

    `of` are the sources of the spec without its variations, made here unless given; `device` decides a dtype that is
    ``auto``.

    Raises:
        UserError: a name is unknown, prompts or settings are refused, a model cannot be had here, or a variation
            changes nothing.
    """
    by_id: dict[str, Cell] = {}
    by_source: dict[str, list[Cell]] = {}
    known: dict[str, Source] = {}
    for variation, varied in spec.varied():
        new = 0
        for found in _cells(varied, device, of if variation == BASE else None, variation):
            cell = replace(found, source=known.setdefault(found.source.key, found.source))
            if cell.id not in by_id:
                by_id[cell.id] = cell
                by_source.setdefault(cell.source.key, []).append(cell)
                new += 1
        if not new:
            raise UserError(f"the variation {variation} changes nothing", "it is so already: leave it out")
    return [cell for same_source in by_source.values() for cell in same_source]


def _cells(spec: SweepSpec, device: str, of: Iterable[Source] | None, variation: str) -> Iterator[Cell]:
    strategies = [(text, parse_strategy(text)) for text in spec.strategy]
    schedules = {text: parse_schedule(text) for text in spec.schedule}
    # without a cache first: those cells are what equal-compute baselines are made for (`references.equal_compute`)
    caches = {text: parse_denoiser_cache(text) for text in sorted(spec.denoiser_cache, key=lambda text: text != "none")}
    taus = (Decimal(0),) if spec.savings else spec.tau
    models: set[str] = set()
    for source in sources(spec, device) if of is None else of:
        if source.classes is not None:
            for _, strategy in strategies:
                refuse_planner(strategy)
        if source.entry.name not in models:
            models.add(source.entry.name)
            spec.acceleration(device).check(source.settings, device)
            for reuse in filter(None, caches.values()):
                from generators.denoiser_caches.hooked import check_place

                check_place(reuse, source.entry, source.settings)
        for reuse_text, (strategy_text, strategy), features, schedule, combiner, tau in product(
            caches, strategies, features_of(spec, source.entry), spec.schedule, spec.combiner, taus
        ):
            config = CellConfig(
                model=source.entry.name,
                dataset=source.prompts.name,
                strategy=strategy_text,
                features=features,
                schedule=schedule,
                combiner=combiner,
                tau=tau,
                steps=source.settings.steps,
                seed=source.settings.seed,
                noise=source.settings.noise,
                scheduler=source.settings.scheduler,
                guidance=source.settings.guidance,
                guidance_interval=source.settings.guidance_interval,
                denoiser_cache=reuse_text,
                variation=variation,
            )
            yield Cell(config, source, strategy, schedules[schedule].bound(source.log_snr), caches[reuse_text])


def parse_strategy(text: str) -> Strategy:
    """Return a strategy, written as ``name`` or ``module:Class``, then its parameters as ``:parameter=value``.

    Raises:
        UserError: no such strategy, or not with such parameters.
    """
    name, parameters = split_name(text)
    return get_strategy(name, **parse_parameters(parameters, f"the strategy {text!r}"))


def parse_denoiser_cache(text: str) -> DenoiserCache | None:
    """Return a denoiser cache, written as a strategy is, with the same errors; None for ``none``."""
    name, _, parameters = text.partition(":")
    return get_denoiser_cache(name, **parse_parameters(parameters, f"the denoiser cache {text!r}"))


def parse_schedule(text: str) -> Schedule:
    """Return a schedule, written as a strategy is, with the same errors; one that follows noise is not bound yet."""
    name, _, parameters = text.partition(":")
    return get_schedule(name, **parse_parameters(parameters, f"the schedule {text!r}"))


def prompts_of(spec: SweepSpec) -> list[PromptSet]:
    """Return the prompt sets of a spec: known ones, a file, prompts as given; each cut to the limit.

    Raises:
        UserError: a set is unknown or not here, a prompt is refused, or two different sets have one name.
    """
    sets = [prompt_set(name) for name in spec.dataset]
    if spec.prompts is not None:
        sets.append(load_prompts(spec.prompts, spec.column))
    if spec.prompt:
        sets.append(given_prompts(spec.prompt))
    by_name: dict[str, PromptSet] = {}
    for prompts in sets:
        cut = prompts.first(spec.limit).repeated(spec.per_prompt)
        if by_name.setdefault(cut.name, cut).hash != cut.hash:
            raise UserError(
                f"two prompt sets are called {cut.name!r}: {by_name[cut.name].source} and {cut.source}",
                "results are told apart by that name: rename the file, or run two sweeps",
            )
    return list(by_name.values())


def sources(
    spec: SweepSpec,
    device: str,
    prompt_sets: Sequence[PromptSet] | None = None,
    *,
    hashed: bool = True,
) -> Iterator[Source]:
    """Yield every combination of model, prompt set and settings.

    What the model's family cannot do is refused here, before anything runs: sizes, schedulers, step counts.

    Args:
        device: as for `cells`, which raises the same errors.
        prompt_sets: those of the spec, unless given; stand-ins where planning is all and the texts are not here.
        hashed: identify models by their weights; if not, by name, so that none need be here.
    """
    from generators.noise import generator_name

    if prompt_sets is None:
        prompt_sets = prompts_of(spec)
    entries = [model(name, spec.variant) for name in spec.model]
    known = [(entry, settings) for entry in entries for settings in settings_of(spec, entry, device)]
    # first of all: it settles which commit of a hub's model is meant, and with it whose scheduler
    weights = {entry.name: entry.weights_hash() if hashed else entry.name for entry in entries}
    samplers = [sampler_of(entry, settings, device) for entry, settings in known]
    for prompts in prompt_sets:
        sample = drawn(prompts, spec.sample, spec.seed[0]) if spec.sample else None
        for (entry, settings), sampler in zip(known, samplers, strict=True):
            scheduler = sampler.identity["class"]
            stream = generator_name(device) if settings.noise == "official" else None
            told = scheduler, stream, sampler.log_snr, spec.copies_height, sample
            source = Source(entry, weights[entry.name], prompts, settings, sampler.K, *told)
            _check_interval(source)
            _check_own(source, spec, device)
            yield source


def _check_interval(source: Source) -> None:
    """Raise a UserError where guidance costs no rows, so that nothing is spared by leaving it out."""
    from sweeps.cost import rows_of

    interval = source.settings.guidance_interval
    if interval == WHOLE:
        return
    guided, unguided = rows_of(source)
    if guided <= unguided:
        why = f"at guidance {source.settings.guidance:g} its denoiser evaluates one row a step as it is"
        raise UserError(
            f"a guidance interval of {interval} changes nothing of {source.entry.name}: {why}",
            "leave --guidance-interval out, or use a --guidance above 1 where the model has classifier-free guidance",
        )
    if not source.settings.guided(source.steps).any():
        raise UserError(
            f"a guidance interval of {interval} holds none of {source.steps} steps", "use a wider one, or --guidance 1"
        )


def _check_own(source: Source, spec: SweepSpec, device: str) -> None:
    """Raise a UserError where prompts' own seeds or negative prompts cannot be honoured."""
    prompts, settings = source.prompts, source.settings
    own = [name for name in ("seeds", "negative_prompts") if getattr(prompts, name)]
    what = f"the {' and '.join(name.replace('_', ' ') for name in own)} in {prompts.source}"
    leave = "leave the column out, or give it another name"
    if own and settings.noise == "official":
        raise UserError(f"the released code's one stream of noise has no place for {what}", leave)
    if prompts.seeds and len(spec.seed) > 1:
        raise UserError(f"several --seed contradict {what}", f"give one, for prompts without, or {leave}")
    if not prompts.negative_prompts:
        return
    some = next(text for text in prompts.negative_prompts if text)
    try:
        sampler_of(source.entry, settings.model_copy(update={"negative_prompt": some}), device)
    except UserError as error:
        raise UserError(f"{what} cannot be used: {error.message}", f"{leave}; or use another model") from error
    if idle_negative(settings):
        idle = f"{what} change nothing at guidance {settings.guidance:g}"
        raise UserError(idle, f"use a --guidance above 1, or {leave}")


def idle_negative(settings: GenerationSettings) -> bool:
    """Return whether a negative prompt changes nothing, as there is no guidance away from it."""
    from generators.families.described import TRUE_GUIDANCE

    return settings.guidance <= 1 and TRUE_GUIDANCE not in getattr(settings, "further", {})


def settings_of(spec: SweepSpec, entry: ModelEntry, device: str) -> Iterator[GenerationSettings]:
    """Yield every combination of a spec's settings over the model's defaults; the seed runs fastest.

    Raises:
        UserError: a value is refused, or a setting that no model of the sweep has.
    """
    from generators.families.base import resolve_settings

    own = own_settings(spec, entry)
    guided = product(spec.guidance or (None,), spec.guidance_interval or (None,))
    axes = product(spec.scheduler, spec.noise, spec.steps or (None,), guided, spec.seed)
    for scheduler, noise, steps, (guidance, interval), seed in axes:
        overrides = {
            "steps": steps,
            "guidance": guidance,
            "guidance_interval": interval,
            "seed": seed,
            "noise": noise,
            "scheduler": None if scheduler == "default" else scheduler,
            **{name: getattr(spec, name) for name in PLAIN},
            **own,
        }
        yield resolve_settings(entry, overrides, device)


def own_settings(spec: SweepSpec, entry: ModelEntry) -> dict[str, Any]:
    """Return what the spec says of settings that only some families have, as far as this model's family has them.

    Raises:
        UserError: a setting that no model of the sweep has; the models that have it are named.
    """
    chosen = {name: getattr(spec, name) for name in PRIOR if getattr(spec, name) is not None} | spec.settings
    mine = _own_names(entry.family)
    for name in [name for name in chosen if name not in mine]:
        # the released code's settings are those of its one model, and stand for nothing elsewhere
        if OFFICIAL.get(name) != chosen[name] and not any(name in _own_names(model(m).family) for m in spec.model):
            having = ", ".join(known for known, other in models().items() if name in _own_names(other.family))
            raise UserError(f"{' and '.join(spec.model)} has no setting {name}; of: {having}", "leave it out")
    return {name: value for name, value in chosen.items() if name in mine}


def features_of(spec: SweepSpec, entry: ModelEntry) -> list[str]:
    """Return a spec's features by their names in the model's family, each once.

    Raises:
        UserError: the family has none of that name.
    """
    from generators.families.base import get_family

    options = get_family(entry.family).features_options
    chosen = [options[0] if name == "default" else name for name in spec.features]
    for name in chosen:
        if name not in options:
            raise UserError(f"{entry.name} has no features {name!r}", "known: " + ", ".join(options))
    return list(dict.fromkeys(chosen))


def sampler_of(entry: ModelEntry, settings: GenerationSettings, device: str) -> "Sampler":
    """Return the sampler of these settings; weights are not loaded.

    Raises:
        UserError: the family does not accept them: a size, a scheduler, a number of steps, a noise policy.
    """
    from generators.families.base import get_family

    kind = get_family(entry.family)
    if settings.noise == "official" and not kind.one_stream:
        raise UserError(
            f"the paper's released code runs Kandinsky 2.2 alone: there is no official noise of {entry.name}",
            "leave out --official; --schedule official --noise shared are its thresholds and its one initial latent",
        )
    family = kind.load(entry, device, settings.dtype)
    family.latent_shape(settings)
    sampler = family.sampler(settings)
    if settings.renoise:
        sampler.check_renoise()
    if settings.own_x0:
        sampler.check_own_x0()
    return sampler


@cache
def _own_names(family: str) -> frozenset[str]:
    from generators.families.base import get_family

    return frozenset(get_family(family).settings_type.own_names())


def short_hash(value: Any) -> str:
    """Return the first 16 hexadecimal digits of the hash of an identity, which name its folder.

    Examples:
        >>> short_hash({"K": 50, "seed": 1}) == short_hash({"seed": 1, "K": 50})
        True
        >>> len(short_hash("anything"))
        16
    """
    return sha256_text(canonical_json(value))[:16]
