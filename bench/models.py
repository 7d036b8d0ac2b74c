"""`bench models show`: one model, and what its pictures cost."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from bench.completion import completer
from bench.costs import HERE, Priced, priced_on
from bench.documents import print_json

if TYPE_CHECKING:
    from generators.model_entry import ModelEntry
    from sweeps.model_costs import ModelCosts

PICTURES = 1000

models = typer.Typer(help="Models: list them, show one.", no_args_is_help=True)


@models.command(epilog="Example: bench models show sdxl")
@priced_on("h100")
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FOLDER|OWNER/NAME",
            help="A name of `bench models list`, a checkpoint folder, or a repository of the Hugging Face hub.",
            autocompletion=completer("models"),
        ),
    ],
    pricing: Priced = HERE,
    as_json: o.Json = False,
) -> None:
    """Show one model: where it comes from, its licence, its defaults, and what its pictures cost.

    Costs are counted from its configurations, in bf16 unless its default is another type: no weights are needed.
    """
    from generators import catalogue
    from generators.families.base import resolve_settings
    from sweeps.model_costs import model_costs

    entry = catalogue.model(name)
    costs = model_costs(entry, resolve_settings(entry, device="cuda"))
    about = described(entry, costs)
    thousand = {"gpu": pricing.where, **pricing.of_pictures(costs, PICTURES)}
    if as_json:
        print_json({**about, "parts": costs.parts, "thousand_pictures": thousand})
        return
    _print(about, costs)
    typer.echo(
        f"{PICTURES:,} pictures on {pricing.where}: {thousand['gpu_hours']:.3g} hours ({thousand['rests_on']}), "
        f"{thousand['cost']:.3g} at {pricing.price:g} an hour"
    )


def described(entry: "ModelEntry", costs: "ModelCosts") -> dict[str, Any]:
    """Return what is told of a model, by name; None where it is not known."""
    return {
        "name": entry.name,
        "description": entry.description,
        "class": costs.pipeline,
        "family": entry.family,
        "sources": {**entry.sources, **entry.components},
        "licence": entry.licence or None,
        "gated": entry.gated,
        "defaults": entry.defaults,
        "steps": costs.steps,
        "parameters": costs.parameters,
        "download_bytes": costs.download,
        "memory_bytes": costs.memory,
        "flops": costs.flops,
    }


def _print(about: dict[str, Any], costs: "ModelCosts") -> None:
    from bench.results import columns, stdout
    from common.units import si, size

    defaults = ", ".join(f"{key} {value}" for key, value in about["defaults"].items())
    lines = {
        "class": f"{about['class']}, run by the family {about['family']}",
        "weights": ", ".join(dict.fromkeys(about["sources"].values())),
        "licence": (about["licence"] or "not known here")
        + (", to be accepted on the hub first" if about["gated"] else ""),
        "defaults": defaults,
        "download": "not known here" if about["download_bytes"] is None else size(about["download_bytes"]),
        "memory": ", ".join(f"{phase} {size(held)}" for phase, held in about["memory_bytes"].items())
        + ", for one prompt: text encoders leave before the denoiser comes",
    }
    typer.echo(f"{about['name']}: {about['description']}\n")
    for key, value in lines.items():
        stdout().print(f"{key + ':':10}{value}", soft_wrap=True, highlight=False)
    table = columns(("component", "phase"), ("parameters", "download", "FLOPs a picture", "share"))
    for part in costs.parts:
        stored = "-" if part.download is None else size(part.download)
        share = f"{part.flops / costs.flops:.1%}"
        table.add_row(part.name, part.phase, si(part.parameters), stored, si(part.flops), share)
    table.add_section()
    stored = "-" if costs.download is None else size(costs.download)
    table.add_row("all", "", si(costs.parameters), stored, si(costs.flops), "")
    stdout().print(table)
