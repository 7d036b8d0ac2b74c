"""The sweep a user asks for: typed, validated, the same from a YAML file and from flags.

Every field of `SweepSpec` says in its `Flag` how it is written on a command line; `bench.options` makes the options of
`bench sweep`, `compare`, `generate` and `plan` of these, so that a new field is a new flag of each of them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from glob import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from inspect import getdoc
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from common.bounded_yaml import parse_yaml
from common.errors import UserError, nearest
from common.files import canonical_json, cut_to_bytes, input_file, sha256_file, sha256_text
from generators.acceleration import Acceleration, Compilation
from generators.guidance import WHOLE, guidance_interval
from sweeps.axes import canonical, items, parse_batch_size, parse_integers, parse_savings, parse_taus, ways
from sweeps.record import BASE

DEFAULT_MODEL = "mini-kandinsky"
DEFAULT_DATASET = "mini_templates"
DEFAULT_TAUS = "0..2"
# What answers one question each: a layer that gives one of them answers it for those before.
PROMPTS, SHARED = ("dataset", "prompts", "prompt"), ("tau", "savings")
ABOUT = {PROMPTS: ("column",), SHARED: ()}  # what such an answer says more of, and goes with it
# The released code's own settings, which `official: true` stands for (ddecatur/hierarchical-diffusion at 62b43d7).
OFFICIAL: dict[str, Any] = {
    "strategy": "ward-cosine",
    "features": "default",
    "schedule": "official",
    "combiner": "mean",
    "noise": "official",
    "scheduler": "DDPMScheduler",
    "steps": 40,
    "guidance": 10,
    "prior_steps": 25,
    "prior_guidance": 4,
    "seed": 42,
    "dtype": "auto",
}
REMOVED = {"attention": "other kernels gained 0 to 3%"}  # former settings; null in the specs of old runs
RELATIVE = ("./", "../")
SAVE_EVERY = 60.0  # seconds
# where pictures of one prompt part, and how much of their noise is replaced there: measured, see docs/results.md
COPIES_HEIGHT, RENOISE = 0.5, 1.0
MOST_PER_PROMPT = 1000
MOST_STEPS = 10_000  # above any scheduler's; plans from embeddings know no scheduler
LONGEST_NAME, LONGEST_SHOWN = 100, 200  # bytes, characters
ANY = "\0"  # stands for any text, where names are looked for
# settings that came later: where they say nothing, a run's name is as it was
LATER = {
    *("savings", "denoiser_cache", "settings", "revision", "variant", "column", "per_prompt", "copies_height"),
    *("sample", "guidance_interval", "variations"),
}

ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n        .*)*)", re.MULTILINE)  # of a Google-style docstring
MAKE, SHARE, RUN, SCORE = "What to make", "How prompts share", "How to run", "What to score"
THE_MODELS = "the model's"


@dataclass(frozen=True)
class Flag:
    """The spelling of a setting on a command line.

    Attributes:
        panel: the part of the help that shows it.
        metavar: what stands for its value in the help; None for a switch.
        default: the default as the help tells it, where the field's own value does not.
        names: the option's spellings; by default ``--the-fields-name``, and a switch's ``--no-the-fields-name`` too.
        old: former names of the field, still understood in files and as options that no help shows.
        completes: what a shell completes it with, see `bench.completion`.
        help: what the setting does: its line among the attributes of `SweepSpec`.
    """

    panel: str
    metavar: str | None = None
    default: str | None = None
    names: tuple[str, ...] = ()
    old: tuple[str, ...] = ()
    completes: str | None = None
    help: str = ""


def _guidances(value: Any) -> tuple[float, ...]:
    try:
        return tuple(dict.fromkeys(float(item) for item in items(value)))
    except ValueError:
        raise UserError(f"guidance {value!r} is not a number", "write for example 4 or `1,4,10`") from None


def _variations(value: Any) -> tuple[str, ...]:
    """Return variations as they are written in records: dashes in a name, the rest as given."""
    changes: dict[str, None] = {}
    for item in items(value) if value else ():
        name, equals, setting = (part.strip() for part in item.partition("="))
        field = name.replace("-", "_")
        if not equals or not setting:
            raise UserError(f"the variation {item!r} changes no setting", "write NAME=VALUE, for example steps=10")
        if field in NOT_VARIED or (field in FLAGS and FLAGS[field].panel in (RUN, SCORE)):
            raise UserError(
                f"{name} cannot be a variation: it does not change how one picture is made",
                "vary a setting such as steps, scheduler, dtype or denoiser-cache",
            )
        changes[f"{field.replace('_', '-')}={setting}"] = None
    return tuple(changes)


MaybeNames = Annotated[tuple[str, ...], BeforeValidator(lambda value: tuple(dict.fromkeys(items(value))))]
Names = Annotated[MaybeNames, Field(min_length=1)]
# names with parameters
Ways = Annotated[tuple[str, ...], BeforeValidator(lambda value: tuple(dict.fromkeys(ways(value)))), Field(min_length=1)]
Steps = Annotated[tuple[Annotated[int, Field(ge=1, le=MOST_STEPS)], ...], BeforeValidator(parse_integers)]
Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**63)], ...], BeforeValidator(parse_integers), Field(min_length=1)
]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Floats = Annotated[tuple[Finite, ...], BeforeValidator(_guidances)]
Intervals = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: tuple(dict.fromkeys(guidance_interval(item).text for item in items(value)))),
]
Canonical = PlainSerializer(lambda values: [canonical(value) for value in values], return_type=list[str])
Taus = Annotated[
    tuple[Decimal, ...], BeforeValidator(lambda value: () if value in ((), []) else parse_taus(value)), Canonical
]
Savings = Annotated[tuple[Decimal, ...], BeforeValidator(parse_savings), Canonical]
Variations = Annotated[tuple[str, ...], BeforeValidator(_variations)]
Texts = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]


class SweepSpec(BaseModel):
    """A grid of cells. Every axis takes one value or several; an empty one means the model's own default.

    Attributes:
        title: A title above every table and figure.
        preset: Start from a sweep in the package, of `bench presets list`; flags override it.
        model: A name of `bench models list`, a checkpoint folder, or a repository of the Hugging Face hub. The
            parts of one model are named as kandinsky:OWNER/PRIOR+OWNER/DECODER.
        revision: The branch, tag or commit of the model on the hub: short for --model OWNER/NAME@REVISION.
        variant: Which weights of a checkpoint to load where it has several, such as fp16. Its plain ones unless given,
            or the only ones that it has.
        dataset: A prompt set of `bench datasets list`.
        prompts: Your own prompts: a .txt, .csv, .tsv, .jsonl, .json, .parquet or .npy file. Columns seed and
            negative_prompt are each prompt's own.
        column: The column of --prompts that holds them.
        prompt: One prompt; repeat the option for more.
        limit: Use only the first N prompts of each set.
        per_prompt: Pictures of each prompt. They share their early steps and part by fresh noise (--noise
            per-root:renoise=1 unless --noise says otherwise); at tau 0 each is drawn alone.
        sample: Make only N prompts of each set, taken at random from the plan of the whole set: the pictures are those
            that all prompts would give, at a part of the cost. The first --seed decides which.
        seed: Random seeds: one, or several as 1,2 or 0..3.
        steps: Denoising steps.
        scheduler: A scheduler by its class in diffusers, such as DDIMScheduler.
        guidance: Guidance scale.
        guidance_interval: The part of the steps in which guidance is on, in shares of them: 0.25..1 leaves it out in
            the first quarter. A step without guidance is one row of the denoiser instead of two.
        negative_prompt: What the images should not show.
        height: Height in pixels.
        width: Width in pixels.
        dtype: Precision of weights and latents.
        prior_steps: Steps of the prior, in models that have one.
        prior_guidance: Guidance scale of the prior.
        prior_seed: Seed of the prior.
        settings: What only some families have (`Family.settings_type`), by name; `--set NAME=VALUE` on a
            command line.
        tau: How much to share: 0 is the baseline, more shares more steps. 0..2 goes in steps of 0.25, 0..2:0.1
            in steps of 0.1; 0,0.5,1 are three values.
        savings: Instead of --tau: the share of denoiser evaluations to save. Every strategy, schedule and
            combiner gets the tau that saves it.
        strategy: How prompts are clustered: a name of `bench strategies list`, with parameters as
            hdbscan:min_samples=3, or your own class as my_module:MyStrategy.
        features: The embedding that prompts are clustered by, of `bench families list`.
        schedule: How tau becomes a threshold a step: eq7 is the paper's equation, official its released code;
            `bench schedules list` has them all.
        combiner: How the conditioning of a cluster is computed from that of its prompts, of `bench combiners
            list`.
        copies_height: With --per-prompt, the height of the tree at which the pictures of one prompt part, in the
            strategy's units as tau is: lower is later. Clusters of prompts that are more alike part there too.
        noise: What images begin from. per-root: every tree of prompts has an initial latent of its own (the
            paper), so that a prompt that shares does not begin from its baseline image's; shared: one initial
            latent for all (its released code); official: all noise from one random stream, drawn in the order of
            that code. per-root:renoise=X: where pictures of one prompt part, X of their noise, from 0 to 1, is
            replaced. per-root:own_x0=X: where prompts part, each replaces X of the clean image that was
            predicted for all of them by the one predicted for it; the noise stays.
        denoiser_cache: Also reuse computation between the steps of one image, by a cache of `bench
            denoiser-caches list`. none,first-block:threshold=0.1 measures sharing without it and with it.
        variations: Also make every cell with one setting changed against the others, NAME=VALUE: steps=10,dtype=bf16
            are two variations, neither of which has the other. `bench compose` says which of them stack with sharing.
        device: Where to compute.
        batch_size: The most rows in one call of the denoiser. auto measures once which size is worth it, and
            remembers it.
        wave: The most images that are denoised at once. A larger set is made in waves, and the images of a wave are
            written when it ends.
        offload: For small GPUs: keep in main memory what is not in use, by whole components (model) or by
            layers (sequential, slow).
        channels_last: Store the weights of convolutions channels-last, as tensor cores read them fastest.
        compilation: Compile the denoiser with torch.compile: the blocks that it repeats (regional), or all of
            it (full). Every batch size then takes about a minute once.
        autocast: Multiply fp32 weights in bf16. Faster where the hardware has it; images change slightly.
        reuse_unconditional: Where prompts part, predict once what all of them have in common: the prediction without a
            prompt. Images change by rounding only.
        threads: CPU threads of one operation.
        isolate: Make the images of every cell by themselves, after a warm-up, so that its seconds are measured.
            Otherwise cells are denoised together and divide the seconds between them. --energy and
            --denoiser-cache imply it.
        energy: Measure the energy that an NVIDIA GPU takes.
        save_every: Seconds between checkpoints of a denoising run, from which an interrupted one continues.
        metric: What scores the images, of `bench metrics list`: NAME, NAME:parameter=value or NAME=CHECKPOINT;
            repeat it for more, also of one NAME. `none` is for no scores.
        audit: Also measure which score differences mean nothing: those between baseline images and copies of them
            under edits that nobody sees, and whether images are told from other prompts': five copies of at most
            60 images a model and prompt set, and the images once more.
        indifference: Score differences below this are ties in claims, verdicts and rankings; 0 for the strict rule.
        seed_control: Also compare the baseline with itself under another seed (A/A control): smaller
            differences than that one mean nothing.
        equal_compute: Also compare each tau with a baseline of fewer steps that spends as many denoiser
            evaluations.
        equal_rows: Also compare each tau with baselines that share nothing and spend as many rows of the denoiser:
            with fewer steps; with guidance left out of the first steps; with both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    title: Annotated[str | None, Flag(MAKE, "TEXT")] = None
    preset: Annotated[str | None, Flag(MAKE, "NAME", completes="presets")] = None
    model: Annotated[Names, Flag(MAKE, "NAME|FOLDER|OWNER/NAME", completes="models")] = (DEFAULT_MODEL,)
    revision: Annotated[str | None, Flag(MAKE, "REVISION", "main")] = None
    variant: Annotated[str | None, Flag(MAKE, "NAME")] = None
    dataset: Annotated[
        MaybeNames, Flag(MAKE, "NAME", f"{DEFAULT_DATASET} where no prompts are given", completes="datasets")
    ] = ()
    prompts: Annotated[Path | None, Flag(MAKE, "FILE")] = None
    column: Annotated[str | None, Flag(MAKE, "NAME", "prompt, or what is called alike")] = None
    prompt: Annotated[Texts, Flag(MAKE, "TEXT")] = ()
    limit: Annotated[int | None, Field(ge=1), Flag(MAKE, "N", "all prompts")] = None
    per_prompt: Annotated[int, Field(ge=1, le=MOST_PER_PROMPT), Flag(MAKE, "N")] = 1
    sample: Annotated[int | None, Field(ge=2), Flag(MAKE, "N", "all prompts")] = None
    seed: Annotated[Seeds, Flag(MAKE, "N|N,N|N..N")] = (42,)
    steps: Annotated[Steps, Flag(MAKE, "N|N,N", THE_MODELS)] = ()
    scheduler: Annotated[Names, Flag(MAKE, "CLASS", THE_MODELS)] = ("default",)
    guidance: Annotated[Floats, Flag(MAKE, "X|X,X", THE_MODELS)] = ()
    guidance_interval: Annotated[Intervals, Flag(MAKE, "START..STOP", WHOLE)] = ()
    negative_prompt: Annotated[str | None, Flag(MAKE, "TEXT")] = None
    height: Annotated[int | None, Field(ge=1), Flag(MAKE, "PIXELS", THE_MODELS)] = None
    width: Annotated[int | None, Field(ge=1), Flag(MAKE, "PIXELS", THE_MODELS)] = None
    dtype: Annotated[str | None, Flag(MAKE, "fp32|fp16|bf16", THE_MODELS)] = None
    prior_steps: Annotated[int | None, Field(ge=1), Flag(MAKE, "N", THE_MODELS)] = None
    prior_guidance: Annotated[Finite | None, Flag(MAKE, "X", THE_MODELS)] = None
    prior_seed: Annotated[int | None, Flag(MAKE, "N", "--seed")] = None
    settings: dict[str, Any] = {}
    tau: Annotated[Taus, Flag(SHARE, "0..2", DEFAULT_TAUS)] = ()
    savings: Annotated[Savings, Flag(SHARE, "0.3,0.5")] = ()
    strategy: Annotated[Ways, Flag(SHARE, "NAME", completes="strategies")] = ("ward-cosine",)
    features: Annotated[Names, Flag(SHARE, "NAME", "the family's first")] = ("default",)
    schedule: Annotated[Ways, Flag(SHARE, "NAME", completes="schedules")] = ("eq7",)
    combiner: Annotated[Names, Flag(SHARE, "NAME", completes="combiners")] = ("mean",)
    copies_height: Annotated[float, Field(ge=0, allow_inf_nan=False), Flag(SHARE, "X")] = COPIES_HEIGHT
    noise: Annotated[Names, Flag(SHARE, "per-root|shared|official")] = ("per-root",)
    denoiser_cache: Annotated[Ways, Flag(SHARE, "NAME", completes="denoiser-caches")] = ("none",)
    variations: Annotated[Variations, Flag(SHARE, "NAME=VALUE", names=("--with",))] = ()
    device: Annotated[str | None, Flag(RUN, "cpu|cuda|cuda:1", "cuda where there is one, else cpu")] = None
    batch_size: Annotated[
        int | Literal["auto"] | None,
        BeforeValidator(parse_batch_size),
        Flag(RUN, "N|auto", "auto on CUDA, 32 elsewhere"),
    ] = None
    wave: Annotated[int | None, Field(ge=1), Flag(RUN, "N", "as many as memory holds")] = None
    offload: Annotated[Literal["none", "model", "sequential"], Flag(RUN, "none|model|sequential")] = "none"
    channels_last: Annotated[bool | None, Flag(RUN, default="on with CUDA, else off")] = None
    compilation: Annotated[Compilation | None, Flag(RUN, "no|regional|full", "no", names=("--compile",))] = None
    autocast: Annotated[bool | None, Flag(RUN, default="off")] = None
    reuse_unconditional: Annotated[bool | None, Flag(RUN, default="off")] = None
    threads: Annotated[int | None, Field(ge=1), Flag(RUN, "N", "one for each core")] = None
    isolate: Annotated[bool, Flag(RUN)] = False
    energy: Annotated[bool, Flag(RUN)] = False
    save_every: Annotated[Annotated[float, Field(ge=0, allow_inf_nan=False)] | None, Flag(RUN, "SECONDS")] = SAVE_EVERY
    metric: Annotated[
        MaybeNames, Flag(SCORE, "NAME", "those that the model's catalogue entry always asks", completes="metrics")
    ] = ()
    audit: Annotated[bool, Flag(SCORE)] = True
    indifference: Annotated[
        Annotated[float, Field(ge=0, allow_inf_nan=False)] | None,
        Flag(SCORE, "X", "what the audit measures, for each scorer and prompt set"),
    ] = None
    seed_control: Annotated[bool, Flag(SCORE, old=("another_seed",))] = True
    equal_compute: Annotated[bool, Flag(SCORE, old=("fewer_steps",))] = False
    equal_rows: Annotated[bool, Flag(SCORE)] = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Fill in which prompts and how much to share where nothing says so, and refuse what contradicts itself."""
        if self.revision:
            object.__setattr__(self, "model", tuple(_at(name, self.revision) for name in self.model))
            object.__setattr__(self, "revision", None)
        if not self.dataset and self.prompts is None and not self.prompt:
            object.__setattr__(self, "dataset", (DEFAULT_DATASET,))
        if self.column is not None and self.prompts is None:
            raise UserError(
                "--column is of a file of prompts, and none is given", "add --prompts FILE, or leave it out"
            )
        if self.tau and self.savings:
            raise UserError("tau and savings both say how much to share", "give one of them")
        if self.per_prompt > 1 and "noise" not in self.model_fields_set:
            object.__setattr__(self, "noise", (f"per-root:renoise={RENOISE:g}",))
        if self.per_prompt > 1 and "official" in self.noise:
            raise UserError("the released code makes one picture of a prompt", "leave out --per-prompt, or --official")
        if self.per_prompt == 1 and self.copies_height != COPIES_HEIGHT:
            raise UserError("copies_height is of pictures of one prompt, and there is one of each", "add --per-prompt")
        if not self.tau and not self.savings:
            object.__setattr__(self, "tau", parse_taus(DEFAULT_TAUS))
        compiled = self.compilation not in (None, "no")
        if compiled and self.denoiser_cache != ("none",):
            raise UserError("a compiled denoiser decides nothing as it runs, as a denoiser cache does", "leave out one")
        if self.reuse_unconditional and self.denoiser_cache != ("none",):
            raise UserError(
                "a denoiser cache keeps every row's own state, and --reuse-unconditional leaves rows out of calls",
                "leave out one",
            )
        if self.denoiser_cache != ("none",) and set(self.guidance_interval) - {WHOLE}:
            what = "a denoiser cache remembers as many rows as it saw, and a guidance interval changes their number"
            raise UserError(what, "leave out one")
        if compiled and self.offload != "none":
            raise UserError("--compile and --offload both take the place of what the denoiser runs", "leave out one")
        if self.sample and "official" in self.noise:
            what = "in one stream of noise a picture depends on all prompts, so that a part of them is made otherwise"
            raise UserError(what, "leave out --sample, or --noise official")
        return self

    def acceleration(self, device: str) -> Acceleration:
        """Return how denoisers compute on this device: what the spec says, else the device's defaults."""
        return Acceleration.chosen(device, **{name: getattr(self, name) for name in Acceleration.model_fields})

    @property
    def alone(self) -> bool:
        """Return True where cells are made one by one: by `isolate`, or because what they take is to be measured."""
        return self.isolate or self.energy or any(cache != "none" for cache in self.denoiser_cache)

    def varied(self) -> "Iterator[tuple[str, SweepSpec]]":
        """Yield the spec without its variations, as `BASE`, then that of each variation under its text.

        Raises:
            UserError: a variation's setting is unknown, or does not take its value.

        Examples:
            >>> spec = make_spec([{"steps": 20, "variations": "steps=10,dtype=bf16"}])
            >>> [(text, one.steps, one.dtype) for text, one in spec.varied()]
            [('base', (20,), None), ('steps=10', (10,), None), ('dtype=bf16', (20,), 'bf16')]
        """
        base = self.model_copy(update={"variations": ()})
        yield BASE, base
        for text in self.variations:
            name, _, value = text.partition("=")
            yield text, make_spec([base.model_dump(), {name.replace("-", "_"): value}])

    def changes_result(self) -> dict[str, Any]:
        """Return the part of the spec that changes cells' images, as plain values.

        How they are run and scored, and what they are compared with, does not. A file of prompts stands there by its
        name and content, wherever it lies; where it is missing, by its path.
        """
        idle = {name for name in LATER if getattr(self, name) == type(self).model_fields[name].default}
        values = self.model_dump(mode="json", exclude=NOT_THE_IMAGES | idle)
        if self.prompts is not None and self.prompts.is_file():
            values["prompts"] = f"{self.prompts.stem}:{sha256_file(self.prompts)}"
        return values

    def default_name(self) -> str:
        """Return a run name one can read, which the same command gives again and another sweep does not."""
        return f"{self._readable(_several)}-{sha256_text(canonical_json(self.changes_result()))[:8]}"

    def name_pattern(self) -> str:
        """Return the pattern (of `Path.glob`) of the default names of sweeps of such models and prompt sets."""
        parts = self._readable(lambda names: names[0] if len(names) == 1 else f"{ANY}-and-{len(names) - 1}-more")
        return f"{escape(parts).replace(ANY, '*')}-{'[0-9a-f]' * 8}"

    def _readable(self, several: Callable[[tuple[str, ...]], str]) -> str:
        own = (self.prompts.stem,) if self.prompts else ("prompts",) if self.prompt else ()
        models = tuple(Path(name).resolve().name if name.startswith((".", "/")) else name for name in self.model)
        return _safe("-".join([several(models), several((*self.dataset, *own))]))


_HELPS: dict[str, str] = dict(ATTRIBUTE.findall((getdoc(SweepSpec) or "").partition("Attributes:\n")[2]))
# By its name, how every setting is written on a command line; `official` is one that stands for several others.
FLAGS: dict[str, Flag] = {
    name: replace(flag, help=" ".join(_HELPS[name].split()))
    for name, field in SweepSpec.model_fields.items()
    for flag in field.metadata
    if isinstance(flag, Flag)
}
FLAGS["official"] = Flag(
    SHARE,
    help="Do as the paper's released code does: its strategy, schedule, noise, scheduler, steps, guidance and seed. "
    "Other flags override it.",
)
OLD_NAMES = {old: name for name, flag in FLAGS.items() for old in flag.old}
# what no variation changes: which prompts, how they share, and what a variation would be of
NOT_VARIED = {
    *(*PROMPTS, "column", "limit", "per_prompt", "sample", "copies_height", "seed", "title", "preset", "official"),
    *(*SHARED, "strategy", "features", "schedule", "combiner", "variations", "revision", "variant"),
}
NOT_THE_IMAGES = {"title", "preset", *(name for name, flag in FLAGS.items() if flag.panel in (RUN, SCORE))}


def _at(name: str, revision: str) -> str:
    """Return the name of a model at a revision.

    Raises:
        UserError: it has one already, or several parts, whose revisions differ.
    """
    if "@" in name or "+" in name or Path(name).is_dir():
        raise UserError(f"--revision says nothing of {name}", "write it behind each hub id: OWNER/NAME@REVISION")
    return f"{name}@{revision}"


def _safe(readable: str) -> str:
    """Return a text as the beginning of a folder's name, which has few letters and few bytes."""
    safe = "".join(letter if letter.isalnum() or letter in f"-_.{ANY}" else "-" for letter in readable)
    return cut_to_bytes(safe, LONGEST_NAME).strip("-.")


def _several(names: tuple[str, ...]) -> str:
    first = Path(names[0]).name
    return first if len(names) == 1 else f"{first}-and-{len(names) - 1}-more"


def make_spec(layers: Sequence[Mapping[str, Any]]) -> SweepSpec:
    """Return the spec of several layers of values, later ones winning; None means not given.

    Which prompts is one question: a layer that names a set, a file or prompts answers it for those before. A layer
    with `official: true` has the released code's settings too, under what it says itself. How much to share, by taus or
    by savings, is one question too. Settings that only some families have stand among the others, or under `settings`.

    Raises:
        UserError: a name is unknown or a value does not fit; one line for the first of them.

    Examples:
        >>> spec = make_spec([{"model": "mini-sd", "tau": "0..1:0.5"}, {"tau": None, "seed": "0..2"}])
        >>> spec.model, spec.seed
        (('mini-sd',), (0, 1, 2))
        >>> [str(tau) for tau in spec.tau]
        ['0', '0.5', '1']
        >>> spec = make_spec([{"tau": 1}, {"savings": "0.5"}])
        >>> spec.tau, spec.savings
        ((), (Decimal('0.5'),))
        >>> make_spec([{"official": True, "steps": 20}]).steps
        (20,)
    """
    values: dict[str, Any] = {}
    for layer in map(_renamed, map(_flat, layers)):
        for answers, about in ABOUT.items():
            if any(layer.get(name) for name in answers):
                values = {name: value for name, value in values.items() if name not in (*answers, *about)}
        official = layer.pop("official", None)
        if official not in (None, True, False):
            raise UserError(f"official is true or false, not {official!r}", "write `official: true`, or --official")
        values |= OFFICIAL if official else {}
        values |= layer
    if own := {name: value for name, value in values.items() if name not in SweepSpec.model_fields}:
        values = {name: value for name, value in values.items() if name not in own} | {"settings": _of_families(own)}
    try:
        return SweepSpec.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        got = repr(first["input"])
        got = got if len(got) <= LONGEST_SHOWN else f"{got[:LONGEST_SHOWN]}..."
        raise UserError(f"{where}: {first['msg']}, not {got}", "see `bench sweep --help`") from error


def _renamed(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a layer that are given, former names replaced."""
    values: dict[str, Any] = {}
    for name, value in layer.items():
        if value is None:
            continue
        if name in REMOVED:
            raise UserError(f"the setting {name} was removed: {REMOVED[name]}", "leave it out")
        if (today := OLD_NAMES.get(name, name)) in values:
            raise UserError(f"{today} is given twice, once under its former name", "give it once")
        values[today] = value
    return values


def _flat(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer with what it says under `settings` among its other settings."""
    own = layer.get("settings") or {}
    if not isinstance(own, Mapping):
        raise UserError(f"settings is a mapping of names to values, not {own!r}", "see `bench families list`")
    return {**own, **{name: value for name, value in layer.items() if name != "settings"}}


def _of_families(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return these settings as the families have them that declare them.

    Raises:
        UserError: no family has one, or not with such a value.
    """
    from generators.families.base import families  # takes torch: imported only for what some families alone have

    types = [family.settings_type for family in families().values()]
    known = [name for kind in types for name in kind.own_names()]
    values = {}
    for name, value in own.items():
        kind = next((kind for kind in types if name in kind.own_names()), None)
        if kind is None:
            raise UserError(f"a sweep has no setting {name!r}", nearest(str(name), [*SweepSpec.model_fields, *known]))
        values[name] = kind.parsed(name, value)
    return dict(sorted(values.items()))


def read_yaml(path: Path | Traversable) -> dict[str, Any]:
    """Return the settings in a YAML file, or a run folder's ``sweep.yaml``; paths in it follow the file.

    `description` is for its readers and left out.

    Raises:
        UserError: unreadable, not YAML, or not a mapping.
    """
    content = read_mapping(path)
    values = {name: value for name, value in content.items() if name not in ("description", "schema_version")}
    return beside(path.parent, values, of_run="schema_version" in content) if isinstance(path, Path) else values


def beside(folder: Path, values: Mapping[str, Any], *, of_run: bool) -> dict[str, Any]:
    """Return the settings of a file in `folder`, with relative paths of prompts and models (./ or ../) followed.

    Files `of_run`, if they are older, have paths from where the command ran: those stay if nothing is here.
    """
    followed = dict(values)
    if isinstance(prompts := values.get("prompts"), str):
        followed["prompts"] = _beside(folder, prompts, of_run)
    if values.get("model"):
        models = items(values["model"])
        followed["model"] = [_beside(folder, name, of_run) if name.startswith(RELATIVE) else name for name in models]
    return followed


def _beside(folder: Path, path: str, of_run: bool) -> str:
    here = folder == Path() or (of_run and not (folder / path).exists())
    return path if here else str(folder / path)


def read_mapping(path: Path | Traversable) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        UserError: as `read_yaml`.
    """
    try:
        text = (input_file(path) if isinstance(path, Path) else path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", "check the path") from error
    try:
        content = parse_yaml(text)
    except ValueError as error:
        what = " ".join(str(error).split())
        raise UserError(f"{path} is not YAML: {what}", "write one setting a line, for example `tau: 0..2`") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a mapping of settings", "write for example `tau: 0..2`")
    return content


def presets() -> dict[str, str]:
    """Return the presets in the package, name to description."""
    return {name: str(read_mapping(file).get("description", "")) for name, file in _preset_files().items()}


def read_preset(name: str) -> dict[str, Any]:
    """Return the settings of the preset called `name`; a UserError with the nearest name if there is none."""
    known = _preset_files()
    if name not in known:
        raise UserError(f"unknown preset {name!r}", nearest(name, known))
    return read_yaml(known[name])


def _preset_files() -> dict[str, Traversable]:
    entries = sorted(files("sweeps").joinpath("presets").iterdir(), key=lambda entry: entry.name)
    return {entry.name.removesuffix(".yaml"): entry for entry in entries if entry.name.endswith(".yaml")}
