"""`bench flops`: what a model costs, by component, counted on shapes alone."""

import json
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from bench import options as o


def flops(
    model: Annotated[str | None, typer.Option(help="Of `bench models list`, or a checkpoint folder.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale.")] = None,
    height: o.Height = None,
    width: o.Width = None,
    as_json: o.Json = False,
) -> None:
    """Count the FLOPs of one standard image (multiply-add = 2). Needs the model's configuration, not its weights."""
    from generators import catalogue
    from generators.families.base import get_family, resolve_settings
    from metrics.flops import count

    entry = catalogue.model(model or catalogue.default_model())
    asked = {"steps": steps, "guidance": guidance, "height": height, "width": width}
    settings = resolve_settings(entry, asked)
    family = get_family(entry.family).load(entry, "cpu", settings.dtype)
    evaluations = family.sampler(settings).K
    table = [
        Line(each.name, each.phase, count(each), each.calls * (evaluations if each.unit == "node_step" else 1))
        for each in family.components(settings)
        if each.calls
    ]
    if as_json:
        typer.echo(json.dumps([{**asdict(line), "flops": line.flops} for line in table]))
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
    from rich.table import Table

    from bench.results import si, stdout

    total = sum(line.flops for line in lines)
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for heading in ("component", "phase"):
        table.add_column(heading)
    for heading in ("FLOPs a call", "calls", "FLOPs", "share"):
        table.add_column(heading, justify="right")
    for line in lines:
        share = f"{line.flops / total:.1%}"
        table.add_row(line.component, line.phase, si(line.flops_per_call), f"{line.calls:g}", si(line.flops), share)
    table.add_section()
    table.add_row("total", "", "", "", si(total), "")
    stdout().print(table)
