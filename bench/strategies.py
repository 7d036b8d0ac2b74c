"""`bench strategies show` and `check`: one clustering strategy, installed or a class in your own module."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from bench.completion import completer
from bench.documents import print_json
from common.errors import UserError

if TYPE_CHECKING:
    from generators.strategies.base import Strategy
    from generators.strategies.check import Finding

strategies = typer.Typer(help="Clustering strategies: list them, show one, check your own.", no_args_is_help=True)

Which = Annotated[
    str,
    typer.Argument(
        metavar="NAME|MODULE:CLASS",
        help="A name of `bench strategies list`, with parameters as hdbscan:min_samples=3; or your own class, as "
        "my_module:MyStrategy.",
        autocompletion=completer("strategies"),
    ),
]


@strategies.command(epilog="Example: bench strategies show hdbscan")
def show(which: Which, as_json: o.Json = False) -> None:
    """Show one strategy: its documentation, parameters, costs and source."""
    from inspect import getdoc

    from sweeps.grid import parse_strategy

    kind = type(parse_strategy(which))
    about: dict[str, Any] = {
        "name": kind.name,
        "version": kind.version,
        "documentation": getdoc(kind),
        "complexity": kind.complexity,
        "memory": kind.memory,
        "source": kind.source,
        "unavailable": kind.unavailable(),
        "parameters": {
            key: {"type": _type(field.annotation), "default": field.default, "description": field.description}
            for key, field in kind.model_fields.items()
        },
    }
    if as_json:
        print_json(about)
        return
    typer.echo(f"{kind.name} (version {kind.version})\n\n{about['documentation']}\n")
    for key in ("complexity", "memory", "source"):
        typer.echo(f"{key + ':':12}{about[key]}")
    typer.echo("parameters:" + ("" if about["parameters"] else " none"))
    for key, field in about["parameters"].items():
        typer.echo(f"  {key}: {field['type']} = {field['default']!r}  {field['description'] or ''}".rstrip())


@strategies.command(epilog="Example: bench strategies check my_module:MyStrategy")
def check(
    which: Which,
    size: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            help="A number of prompts at which time and memory are measured; give it three times or more.",
            show_default="several from 250 to 2000",
        ),
    ] = None,
    growth: Annotated[
        bool, typer.Option("--growth/--no-growth", help="Measure how time and memory grow with the prompts.")
    ] = True,
    as_json: o.Json = False,
) -> None:
    """Check what every strategy must do: a valid tree, the same for any order of prompts, at the declared cost.

    The exit code is 1 if a check fails.
    """
    from generators.strategies.check import check_strategy
    from generators.strategies.growth import SIZES
    from sweeps.grid import parse_strategy

    sizes = tuple(sorted(set(size or SIZES)))
    if len(sizes) < 3 or sizes[0] < 1:
        raise UserError("growth is measured at three sizes or more, each 1 or above", "repeat --size")
    strategy = parse_strategy(which)
    findings = check_strategy(strategy, sizes if growth else ())
    if as_json:
        print_json(findings)
    else:
        _print(strategy, findings)
    if not all(finding.passed for finding in findings):
        raise typer.Exit(1)


def _type(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _print(strategy: "Strategy", findings: "list[Finding]") -> None:
    from bench.results import columns, stdout

    table = columns(("check", "", "seen"), title=f"strategy {strategy.name}", fold=True)
    for finding in findings:
        table.add_row(finding.check, "pass" if finding.passed else "FAIL", finding.reason)
    stdout().print(table)
