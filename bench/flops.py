"""`bench flops`: what a model costs, by component, counted on shapes alone."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from bench import options as o
from bench.completion import completer
from bench.documents import print_json


@o.spec_options(only=("height", "width"))
def flops(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER|OWNER/NAME",
            help="A name of `bench models list`, a checkpoint folder, or a repository of the Hugging Face hub.",
            show_default="mini-kandinsky",
            autocompletion=completer("models"),
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Denoising steps.", show_default="the model's")] = None,
    guidance: Annotated[
        float | None, typer.Option(metavar="X", help="Guidance scale.", show_default="the model's")
    ] = None,
    as_json: o.Json = False,
    **size: Any,
) -> None:
    """Count the FLOPs of one image of the baseline (a multiply-add is 2), by component.

    It reads the model's configuration and needs no weights.
    """
    from generators import catalogue, model_entry
    from generators.families.base import get_family, resolve_settings
    from metrics.flops import count

    entry = catalogue.model(model or model_entry.default_model())
    asked = {"steps": steps, "guidance": guidance, **size}
    settings = resolve_settings(entry, asked)
    family = get_family(entry.family).load(entry, "cpu", settings.dtype)
    evaluations = family.sampler(settings).K
    table = [
        Line(part.name, part.phase, count(part), part.calls * (evaluations if part.unit == "node_step" else 1))
        for part in family.components(settings)
        if part.calls
    ]
    if as_json:
        print_json([{**asdict(line), "flops": line.flops} for line in table])
    else:
        _print(table, f"{entry.name}: one image, {evaluations} steps")


@dataclass(frozen=True)
class Line:
    """One component: the FLOPs of a call at batch 1, and its calls an image."""

    component: str
    phase: str
    flops_per_call: int
    calls: float

    @property
    def flops(self) -> float:
        return self.flops_per_call * self.calls


def _print(lines: list[Line], title: str) -> None:
    from bench.results import columns, stdout
    from common.units import si

    total = sum(line.flops for line in lines)
    table = columns(("component", "phase"), ("FLOPs a call", "calls", "FLOPs", "share"), title)
    for line in lines:
        share = f"{line.flops / total:.1%}"
        table.add_row(line.component, line.phase, si(line.flops_per_call), f"{line.calls:g}", si(line.flops), share)
    table.add_section()
    table.add_row("total", "", "", "", si(total), "")
    stdout().print(table)
