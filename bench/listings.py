"""`bench models|datasets|strategies|...`: what there is, and whether it can run here."""

import json
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bench import options as o
from bench.datasets import datasets
from bench.strategies import strategies
from common.plugins import Plugin

if TYPE_CHECKING:
    from generators.catalogue import ModelEntry

EMBEDDED = "embedded:"

models = typer.Typer(help="Models: list them.", no_args_is_help=True)
presets = typer.Typer(help="Sweeps in the box: list them.", no_args_is_help=True)
GROUPS = {"models": models, "datasets": datasets, "strategies": strategies, "presets": presets}
# Of every other kind of plug-in: what it is, the module whose function of the group's name finds it, what to show.
PLUGINS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "metrics": ("What pictures are scored by", "metrics.base", ()),
    "vqa-backends": ("Models that VQAScore can ask", "metrics.vqa_backends.base", ()),
    "encoders": ("What prompts are embedded by to plan without their model", "generators.text_encoders.base", ()),
    "schedules": ("From tau to what each step shares", "generators.sharing.schedule", ()),
    "combiners": ("How a cluster's conditioning is made", "generators.combiners.base", ()),
    "denoiser-caches": ("Reuse between the steps of a picture", "generators.denoiser_caches.base", ()),
    "families": (
        "Kinds of model, and what their prompts can be clustered by",
        "generators.families.base",
        ("features",),
    ),
    "executors": ("Where a sweep's plans are denoised", "sweeps.executors.base", ()),
    "studies": ("What else is made with a sweep's models, to look at", "sweeps.studies.base", ()),
    "figures": ("What a report draws", "reports.base", ()),
    "tables": ("What a report tells in numbers", "reports.base", ()),
}


@models.command("list")
def list_models(as_json: o.Json = False) -> None:
    """Every model, its defaults, and whether it can run here."""
    from generators import catalogue

    rows = [
        {
            "name": entry.name,
            "family": entry.family,
            "description": entry.description,
            "defaults": entry.defaults,
            "scorers": entry.scorers,
            "optional_scorers": entry.optional_scorers,
            "unavailable": not_here(entry),
        }
        for entry in catalogue.models().values()
    ]
    _show(rows, ("name", "family", "description", "unavailable"), as_json)


@datasets.command("list")
def list_datasets(as_json: o.Json = False) -> None:
    """Every prompt set, and whether it is here."""
    from generators.prompts import prompt_sets

    rows = [
        {"name": name, "description": known.description, "unavailable": known.unavailable()}
        for name, known in prompt_sets().items()
    ]
    _show(rows, ("name", "description", "unavailable"), as_json)


@strategies.command("list")
def list_strategies(as_json: o.Json = False) -> None:
    """Every clustering strategy, what it costs, and whether it can run here."""
    from generators.strategies.base import strategies as found

    rows = [
        {
            "name": name,
            "version": strategy.version,
            "description": strategy.summary(),
            "complexity": strategy.complexity,
            "memory": strategy.memory,
            "unavailable": strategy.unavailable(),
        }
        for name, strategy in found().items()
    ]
    _show(rows, ("name", "description", "complexity", "memory", "unavailable"), as_json)


@presets.command("list")
def list_presets(as_json: o.Json = False) -> None:
    """Every preset of `bench sweep --preset`."""
    from sweeps.spec import presets as found

    rows = [{"name": name, "description": description} for name, description in found().items()]
    _show(rows, ("name", "description"), as_json)


def _plugins(name: str, about: str, module: str, more: tuple[str, ...]) -> typer.Typer:
    """The group of commands of a kind of plug-in that is only listed."""
    group = typer.Typer(help=f"{about}: list them.", no_args_is_help=True)

    @group.command("list", help=f"{about}, and whether it can run here.")
    def list_them(as_json: o.Json = False) -> None:
        found: Mapping[str, type[Plugin]] = getattr(import_module(module), name.replace("-", "_"))()
        rows = [
            {
                "name": key,
                "version": kind.version,
                "description": kind.summary(),
                **{column: ", ".join(getattr(kind, f"{column}_options")) for column in more},
                "unavailable": kind.unavailable(),
            }
            for key, kind in found.items()
        ]
        _show(rows, ("name", "description", *more, "unavailable"), as_json)

    return group


GROUPS |= {name: _plugins(name, *about) for name, about in PLUGINS.items()}
FORMER = {"answerers": GROUPS["vqa-backends"]}  # earlier names of groups, which still work and are not shown


def not_here(entry: "ModelEntry") -> str | None:
    """Why a model cannot run without asking the hub, and what to do; None if it can."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    reason = entry.unavailable()
    if reason and not any(source.startswith(EMBEDDED) or Path(source).is_dir() for source in entry.sources.values()):
        return "its weights come from the Hugging Face hub when it is first used, or pass a folder as --model"
    return reason


def _show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(list(rows), default=str))
        return
    from rich.table import Table

    from bench.results import stdout

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column("runs here" if column == "unavailable" else column, overflow="fold")
    for row in rows:
        table.add_row(*("yes" if row[c] is None and c == "unavailable" else str(row[c]) for c in columns))
    stdout().print(table)
