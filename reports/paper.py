"""The paper's tables and figures, one file each: published numbers, their source, and the sweep that repeats them.

Every YAML file in ``reports/published/`` is one item. What is not in it is not published.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.errors import UserError, nearest
from sweeps.record import Role

MINIATURE = "Miniature models and prompt sets"
# What `official: true` means for models that are not the released code's.
OFFICIAL = {"schedule": "official", "noise": "shared", "seed": 42}
# Settings that suit one model and no other: a miniature has its own.
A_MODELS_OWN = {
    "steps", "guidance", "prior_steps", "prior_guidance", "prior_seed", "settings", "scheduler",
    "dtype", "height", "width", "metric", "offload",
}  # fmt: skip


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(Part):
    """Published numbers of one model on one prompt set.

    Attributes:
        role: whether they are of prompts that share or of what these are held against.
        images: how many the numbers rest on.
        of: how many prompts the set has, where the images were drawn from more.
        published: by figure of a record; ``savings`` (of denoiser steps) and ``steps`` (an image, on average) are the
            plan's.
    """

    model: str
    dataset: str
    role: Role = "sharing"
    images: int = Field(ge=1)
    of: int | None = None
    published: dict[str, float]

    @property
    def prompts(self) -> int:
        return self.of or self.images


class Miniature(Part):
    """The stand-ins for the paper's models and prompt sets, by name, and settings of the sweep."""

    models: dict[str, str]
    datasets: dict[str, str]
    settings: dict[str, Any] = {}


class Item(Part):
    """One table or figure of the paper.

    Attributes:
        name: its file's.
        source: where its numbers were read.
        preset: the sweep that makes it.
        study: what is made besides, or instead where nothing is published in numbers.
        which: which of a sweep's cells a row is: that at `tau`; the one whose steps an image, as a share of all, are
            nearest to the row's; or a straight line between the two cells around the row's ``savings``.
        tau: the published one.
        steps: the published K, of which a row's steps are a share.
        sharing: what a cell must have been made with besides.
        reading: within how much a value that was read off a plot is right.
        rows: the published numbers; none where there are none.
        notes: what a reader must know, such as what is not published.
    """

    name: str
    title: str
    source: str
    preset: str
    study: str | None = None
    which: Literal["tau", "savings", "steps"] = "tau"
    tau: float | None = None
    steps: int | None = None
    sharing: dict[str, str] = {}
    reading: float = 0.0
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    miniature: Miniature

    @model_validator(mode="after")
    def _rows_are_found(self) -> Self:
        needed = {"tau": self.tau, "steps": self.steps, "savings": True}[self.which]
        if self.rows and needed is None:
            raise ValueError(f"rows by {self.which} need `{self.which}`")
        for row in self.rows:
            if row.model not in self.miniature.models or row.dataset not in self.miniature.datasets:
                raise ValueError(f"the miniature of {row.model} on {row.dataset} is not said")
        return self

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of a row's published results, in the order of the table's columns."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.published))

    def mini(self, preset: Mapping[str, Any]) -> dict[str, Any]:
        """Return a preset's settings with the miniature's models and prompt sets, which keep their own settings.

        How prompts share, the seeds, and what is held against what stay; of the released code's run, its schedule and
        its one initial latent.

        Raises:
            UserError: the preset has a model or prompt set for which there is no miniature.
        """
        kept = {name: value for name, value in preset.items() if name not in {*A_MODELS_OWN, "official"}}
        return {
            **(OFFICIAL if preset.get("official") else {}),
            **kept,
            "model": self._substituted("model", preset, self.miniature.models),
            "dataset": self._substituted("dataset", preset, self.miniature.datasets),
            "title": MINIATURE,
            **self.miniature.settings,
        }

    def _substituted(self, axis: str, preset: Mapping[str, Any], by: Mapping[str, str]) -> list[str]:
        names = preset.get(axis, [])
        names = [names] if isinstance(names, str) else list(names)
        for name in names:
            if name not in by:
                raise UserError(f"{self.name}: the {axis} {name!r} has no miniature", "run it as it is published")
        return list(dict.fromkeys(by[name] for name in names))


def items() -> dict[str, Item]:
    """Return every item by name."""
    return dict(_items())


def item(name: str) -> Item:
    """Return the item called `name`.

    Raises:
        UserError: there is none.
    """
    if name not in _items():
        raise UserError(f"the paper has no {name!r} here", nearest(name, _items()))
    return _items()[name]


@cache
def _items() -> dict[str, Item]:
    known = {}
    for entry in sorted(files("reports").joinpath("published").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            name = entry.name.removesuffix(".yaml")
            try:
                known[name] = Item(name=name, **yaml.safe_load(entry.read_text(encoding="utf-8")))
            except (ValidationError, yaml.YAMLError, TypeError) as error:
                raise UserError(f"reports/published/{entry.name}: {' '.join(str(error).split())}") from error
    return known
