"""`bench models|datasets|strategies|...`: what there is, and whether it can run here."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from bench import options as o
from bench.datasets import datasets
from bench.documents import print_json
from bench.models import models
from bench.strategies import strategies
from common.plugins import Plugin
from common.units import size

if TYPE_CHECKING:
    from generators.model_entry import ModelEntry

presets = typer.Typer(help="Sweeps in the package: list them.", no_args_is_help=True)
GROUPS = {"models": models, "datasets": datasets, "strategies": strategies, "presets": presets}
FORMER = {"answerers": "vqa-backends"}  # what groups were called, still understood


class Kind(NamedTuple):
    """A kind of plug-in that is only listed: what they are, in a line of help, and the function that finds them.

    `columns` are shown besides name, description and availability: of `X`, the class attribute ``X_options``.
    """

    about: str
    module: str
    function: str
    columns: tuple[str, ...] = ()


PLUGINS = {
    "metrics": Kind("Metrics that score images", "metrics.base", "metrics"),
    "vqa-backends": Kind("Models that can compute VQAScore", "metrics.vqa_backends.base", "vqa_backends"),
    "encoders": Kind("Text encoders to plan by without loading a model", "generators.text_encoders.base", "encoders"),
    "schedules": Kind("Schedules, from tau to a threshold for every step", "generators.sharing.schedule", "schedules"),
    "combiners": Kind("Ways to compute a cluster's conditioning", "generators.combiners.base", "combiners"),
    "denoiser-caches": Kind(
        "Caches that reuse computation between the steps of one image",
        "generators.denoiser_caches.base",
        "denoiser_caches",
    ),
    "families": Kind(
        "Model families, and the embeddings that prompts can be clustered by",
        "generators.families.base",
        "families",
        ("features",),
    ),
    "executors": Kind("Places where a sweep can be denoised", "sweeps.executors.base", "executors"),
    "studies": Kind("Studies that make other figures with the models of a sweep", "studies.base", "studies"),
    "figures": Kind("Figures of a report", "reports.base", "figures"),
    "tables": Kind("Tables of a report", "reports.base", "tables"),
}


@models.command("list", epilog="Example: bench models list --json")
def list_models(
    as_json: o.Json = False,
    classes: Annotated[
        bool, typer.Option("--classes", help="Instead: the classes of diffusers pipelines, and what runs each.")
    ] = False,
) -> None:
    """List every model, its defaults, and whether it can run here."""
    from generators import model_entry

    if classes:
        _show(pipeline_classes(), ("class", "family", "equal to stock"), as_json)
        return

    fields = ("name", "family", "description", "defaults", "licence", "gated", "scorers", "optional_scorers")
    rows = [
        {
            **{name: getattr(entry, name) for name in fields},
            "weights": dict(zip(("here", "of"), entry.hub_bytes(ask=False), strict=True)) if entry.hosted else None,
            "unavailable": not_here(entry),
        }
        for entry in model_entry.models().values()
    ]
    _show(rows, ("name", "family", "description", "unavailable"), as_json)


def pipeline_classes() -> list[dict[str, str]]:
    """Return a row for every class of diffusers pipeline that takes a prompt, those first that tests prove equal."""
    from generators.families.base import families
    from generators.families.pipeline_classes import NAME, PROVED, classes

    def row(name: str, family: str) -> dict[str, str]:
        proof = "" if family not in families() else "not tested"
        if family in families() and family != NAME:
            proof = "bit for bit, by that family's own tests"
        elif name in PROVED:
            proof = f"bit for bit, with {' and '.join(PROVED[name])}"
        return {"class": name, "family": family, "equal to stock": proof}

    rows = [row(name, family) for name, family in classes().items()]
    return sorted(rows, key=lambda row: (not row["equal to stock"].startswith("bit"), not row["equal to stock"]))


@datasets.command("list", epilog="Example: bench datasets list --json")
def list_datasets(as_json: o.Json = False) -> None:
    """List every prompt set, and whether it is here."""
    from generators.prompts import prompt_sets

    rows = [
        {"name": name, "description": known.description, "unavailable": known.unavailable()}
        for name, known in prompt_sets().items()
    ]
    _show(rows, ("name", "description", "unavailable"), as_json)


@strategies.command("list", epilog="Example: bench strategies list --json")
def list_strategies(as_json: o.Json = False) -> None:
    """List every clustering strategy, what it costs, and whether it can run here."""
    from generators.strategies.base import strategies as found

    costs = ("complexity", "memory")
    rows = [_row(name, kind, {cost: getattr(kind, cost) for cost in costs}) for name, kind in found().items()]
    _show(rows, ("name", "description", *costs, "unavailable"), as_json)


@presets.command("list", epilog="Example: bench presets list --json")
def list_presets(as_json: o.Json = False) -> None:
    """List every preset of `bench sweep --preset`."""
    from sweeps.spec import presets as found

    rows = [{"name": name, "description": description} for name, description in found().items()]
    _show(rows, ("name", "description"), as_json)


def _plugins(name: str, kind: Kind) -> typer.Typer:
    """Return the group of commands of a kind of plug-in that is only listed."""
    group = typer.Typer(help=f"{kind.about}.", no_args_is_help=True)

    @group.command(
        "list", help=f"List them: {kind.about[0].lower()}{kind.about[1:]}.", epilog=f"Example: bench {name} list --json"
    )
    def list_them(as_json: o.Json = False) -> None:
        plugins: Mapping[str, type[Plugin]] = getattr(import_module(kind.module), kind.function)()
        rows = [
            _row(key, plugin, {column: ", ".join(getattr(plugin, f"{column}_options")) for column in kind.columns})
            for key, plugin in plugins.items()
        ]
        _show(rows, ("name", "description", *kind.columns, "unavailable"), as_json)

    return group


def _row(name: str, kind: type[Plugin], more: Mapping[str, Any]) -> dict[str, Any]:
    about = {"name": name, "version": kind.version, "description": kind.summary()}
    return {**about, **more, "unavailable": kind.unavailable()}


GROUPS |= {name: _plugins(name, kind) for name, kind in PLUGINS.items()}


def not_here(entry: "ModelEntry") -> str | None:
    """Return why a model cannot run without asking the hub, and what to do; None if it can."""
    from generators.families.base import get_family

    if not entry.hosted:
        return entry.unavailable()
    return get_family(entry.family).unavailable() or _not_fetched(*entry.hub_bytes(ask=False))


def _not_fetched(here: int, total: int | None) -> str | None:
    """Return how much of a hub model is here; None if all of it is."""
    if here and here == total:
        return None
    if here:
        return f"{size(here)} of {size(total) if total else 'its files'} are here; the rest is fetched when it is used"
    return "its weights come from the Hugging Face hub when it is first used, or pass a folder as --model"


def _show(rows: Sequence[Mapping[str, Any]], names: Sequence[str], as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    from bench.results import columns, stdout

    table = columns(["runs here" if name == "unavailable" else name for name in names], fold=True)
    for row in rows:
        table.add_row(*("yes" if row[name] is None and name == "unavailable" else str(row[name]) for name in names))
    stdout().print(table)
