"""The sweep a user asks for: typed, validated, the same from a YAML file and from flags."""

from collections.abc import Mapping
from decimal import Decimal
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from common.errors import UserError, nearest
from common.files import canonical_json, sha256_text
from generators.acceleration import Acceleration, Compilation
from sweeps.axes import canonical, items, parse_batch_size, parse_integers, parse_savings, parse_taus

DEFAULT_MODEL = "mini-kandinsky"
DEFAULT_DATASET = "mini_templates"
DEFAULT_TAUS = "0..2"
# What answers one question each: a layer that gives one of them answers it for those before.
PROMPTS, SHARED = ("dataset", "prompts", "prompt"), ("tau", "savings")
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
SAVE_EVERY = 60.0  # seconds
MOST_STEPS = 10_000  # above any scheduler's; plans from embeddings know no scheduler
LONGEST_NAME = 100
# Settings that old spec files may name, and why they are gone; null, as a run's own file has them, asks for nothing.
REMOVED = {"attention": "no kernel was faster than PyTorch's own choice"}
LATER = {
    "savings",
    "denoiser_cache",
    "settings",
}  # settings that came later: where they say nothing, a run's name is as it was
NOT_THE_IMAGES = {
    "title",
    "preset",
    "another_seed",
    "fewer_steps",
    "metric",
    "device",
    "batch_size",
    "offload",
    "energy",
    "isolate",
    "save_every",
    *Acceleration.model_fields,
}


def _guidances(value: Any) -> tuple[float, ...]:
    try:
        return tuple(dict.fromkeys(float(item) for item in items(value)))
    except ValueError:
        raise UserError(f"guidance {value!r} is not a number", "write for example 4 or `1,4,10`") from None


def _texts(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _names(value: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items(value)))


MaybeNames = Annotated[tuple[str, ...], BeforeValidator(_names)]
Names = Annotated[MaybeNames, Field(min_length=1)]
Steps = Annotated[tuple[Annotated[int, Field(ge=1, le=MOST_STEPS)], ...], BeforeValidator(parse_integers)]
Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**63)], ...], BeforeValidator(parse_integers), Field(min_length=1)
]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Floats = Annotated[tuple[Finite, ...], BeforeValidator(_guidances)]
Canonical = PlainSerializer(lambda values: [canonical(value) for value in values], return_type=list[str])
Taus = Annotated[
    tuple[Decimal, ...],
    BeforeValidator(lambda value: () if value in ((), []) else parse_taus(value)),
    Canonical,
]
Savings = Annotated[tuple[Decimal, ...], BeforeValidator(parse_savings), Canonical]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class SweepSpec(BaseModel):
    """A grid of cells. Every axis takes one value or several; an empty one means the model's own default.

    Attributes:
        title: what every table and figure of the run says above all else; None: nothing.
        preset: the one that it started from, if it did.
        tau: how much is shared; 0..2 unless savings are given.
        isolate: make every cell's pictures by themselves, so that their seconds are measured.
        save_every: seconds between states of what is denoised, from which a killed run goes on; None: none is kept.
        settings: what only some families have (`Family.settings_type`), by name; given to the models that have it.
        savings: the same as shares of denoiser steps: each way to share gets the tau that saves them (`sweeps.levels`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    title: str | None = None
    preset: str | None = None

    model: Names = (DEFAULT_MODEL,)
    dataset: MaybeNames = ()
    strategy: Names = ("ward-cosine",)
    features: Names = ("default",)
    schedule: Names = ("eq7",)
    combiner: Names = ("mean",)
    tau: Taus = ()
    savings: Savings = ()
    steps: Steps = ()
    seed: Seeds = (42,)
    noise: Names = ("per-root",)
    scheduler: Names = ("default",)
    guidance: Floats = ()
    denoiser_cache: Names = ("none",)

    prompts: Path | None = None
    prompt: Texts = ()
    limit: int | None = Field(default=None, ge=1)

    dtype: str | None = None
    height: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=1)
    negative_prompt: str | None = None
    prior_steps: int | None = Field(default=None, ge=1)
    prior_guidance: Finite | None = None
    prior_seed: int | None = None
    settings: dict[str, Any] = {}

    another_seed: bool = True
    fewer_steps: bool = False

    metric: MaybeNames = ()
    device: str | None = None
    batch_size: Annotated[int | Literal["auto"] | None, BeforeValidator(parse_batch_size)] = None
    offload: Literal["none", "model", "sequential"] = "none"
    channels_last: bool | None = None
    compilation: Compilation | None = None
    autocast: bool | None = None
    threads: int | None = Field(default=None, ge=1)
    energy: bool = False
    isolate: bool = False
    save_every: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = SAVE_EVERY

    @model_validator(mode="after")
    def _some_prompts(self) -> Self:
        own = self.prompts is not None or bool(self.prompt)
        if not self.dataset and not own:
            object.__setattr__(self, "dataset", (DEFAULT_DATASET,))
        return self

    @model_validator(mode="after")
    def _how_much(self) -> Self:
        if self.tau and self.savings:
            raise UserError("tau and savings both say how much to share", "give one of them")
        if not self.tau and not self.savings:
            object.__setattr__(self, "tau", parse_taus(DEFAULT_TAUS))
        return self

    @model_validator(mode="after")
    def _compiled_alone(self) -> Self:
        if self.compilation in (None, "no"):
            return self
        if self.denoiser_cache != ("none",):
            raise UserError("a compiled denoiser decides nothing as it runs, as a denoiser cache does", "leave out one")
        if self.offload != "none":
            raise UserError("--compile and --offload both take the place of what the denoiser runs", "leave out one")
        return self

    def acceleration(self, device: str) -> Acceleration:
        """How denoisers compute on this device: what is asked for, and its defaults."""
        asked = {name: getattr(self, name) for name in Acceleration.model_fields}
        return Acceleration.chosen(device, **asked)

    @property
    def alone(self) -> bool:
        """Whether cells are made one by one: asked for, or because what they take is to be measured."""
        return self.isolate or self.energy or any(each != "none" for each in self.denoiser_cache)

    def changes_result(self) -> dict[str, Any]:
        """The part of the spec that changes cells' images, as plain values.

        How they are run and scored, and what they are held against besides standard images, does not.
        """
        idle = {name for name in LATER if getattr(self, name) == type(self).model_fields[name].default}
        return self.model_dump(mode="json", exclude=NOT_THE_IMAGES | idle)

    def default_name(self) -> str:
        """A run name one can read, which the same command gives again and another sweep does not."""
        own = (self.prompts.stem,) if self.prompts else ("prompts",) if self.prompt else ()
        readable = "-".join([_several(self.model), _several((*self.dataset, *own))])
        safe = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in readable)
        return f"{safe[:LONGEST_NAME].strip('-.')}-{sha256_text(canonical_json(self.changes_result()))[:8]}"


def _several(names: tuple[str, ...]) -> str:
    first = Path(names[0]).name
    return first if len(names) == 1 else f"{first}-and-{len(names) - 1}-more"


def make_spec(layers: list[Mapping[str, Any]]) -> SweepSpec:
    """The spec of several layers of values, later ones winning; None means not given.

    Which prompts is one question: a layer that names a set, a file or prompts answers it for those before. A layer
    with `official: true` has the released code's settings too, under what it says itself. How much to share, by taus or
    by savings, is one question too. Settings that only some families have stand among the others, or under `settings`.

    Raises:
        UserError: a name is unknown or a value does not fit; one line for the first of them.
    """
    values: dict[str, Any] = {}
    for layer in map(_flat, layers):
        for answers in (PROMPTS, SHARED):
            if any(layer.get(name) for name in answers):
                values = {name: value for name, value in values.items() if name not in answers}
        official = layer.get("official")
        if official not in (None, True, False):
            raise UserError(f"official is true or false, not {official!r}", "write `official: true`, or --official")
        values |= OFFICIAL if official else {}
        values |= {name: value for name, value in layer.items() if value is not None and name != "official"}
    for name in values.keys() & REMOVED:
        raise UserError(f"the setting {name} was removed: {REMOVED[name]}", "leave it out")
    if own := {name: value for name, value in values.items() if name not in SweepSpec.model_fields}:
        values = {name: value for name, value in values.items() if name not in own} | {"settings": _of_families(own)}
    try:
        return SweepSpec.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{where}: {first['msg']}, not {first['input']!r}", "see `bench sweep --help`") from error


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
    """The settings in a YAML file, a run folder's ``sweep.yaml`` too; `description` is for its readers and left out.

    Raises:
        UserError: unreadable, not YAML, or not a mapping.
    """
    content = read_mapping(path)
    return {name: value for name, value in content.items() if name not in ("description", "schema_version")}


def read_mapping(path: Path | Traversable) -> dict[str, Any]:
    """The mapping in a YAML file; errors are those of `read_yaml`."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", "check the path") from error
    except (yaml.YAMLError, ValueError) as error:  # PyYAML lets through what makes no date
        raise UserError(
            f"{path} is not YAML: {' '.join(str(error).split())}", "write one setting a line, for example `tau: 0..2`"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a mapping of settings", "write for example `tau: 0..2`")
    return content


def presets() -> dict[str, str]:
    """The presets in the box: name to description."""
    found = {}
    for entry in sorted(files("sweeps").joinpath("presets").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            content = yaml.safe_load(entry.read_text(encoding="utf-8"))
            found[entry.name.removesuffix(".yaml")] = str(content.get("description", ""))
    return found


def read_preset(name: str) -> dict[str, Any]:
    """The preset called `name`.

    Raises:
        UserError: there is none; the nearest name is in the hint.
    """
    known = presets()
    if name not in known:
        raise UserError(f"unknown preset {name!r}", nearest(name, known))
    return read_yaml(files("sweeps").joinpath("presets", f"{name}.yaml"))
