"""`bench power`: what so many prompts can show of a win rate, and how many a claim needs."""

import json
from typing import Annotated, Any

import typer

from bench import options as o
from common.errors import UserError


def power(
    prompts: Annotated[int | None, typer.Option(help="How many prompts a run has.")] = None,
    ties: Annotated[float, typer.Option(help="The share of pairs that tie, e.g. 0.05.")] = 0.0,
    difference: Annotated[
        float | None, typer.Option(help="A true win rate's distance from one half, e.g. 0.1 for 60% or 40%.")
    ] = None,
    delta: Annotated[
        float, typer.Option(help="How far below one half a win rate may lie and still be no worse; 0.05 is 5 points.")
    ] = 0.05,
    target: Annotated[float, typer.Option("--power", help="With what probability a claim is to be shown.")] = 0.8,
    as_json: o.Json = False,
) -> None:
    """Say which win rates so many prompts can tell apart, and how many prompts a claim needs. Runs nothing."""
    found = answers(prompts, ties, difference, delta, target)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _print(found)


def answers(prompts: int | None, ties: float, difference: float | None, delta: float, target: float) -> dict[str, Any]:
    """What was asked, and for both claims: prompts needed, and of the given prompts the power and what they can show.

    Raises:
        UserError: a number is out of its range.
    """
    from metrics import power as p

    if difference == 0:
        raise UserError("a difference of 0 cannot be shown", "give one such as 0.1, or leave --difference out")
    differs: dict[str, Any] = {"difference": difference, "prompts_needed": None, "power": None, "smallest": None}
    no_worse: dict[str, Any] = {"delta": delta, "prompts_needed": None, "power": None, "smallest": None}
    no_worse["prompts_needed"] = p.pairs_for_noninferiority(delta, ties, target)
    if difference is not None:
        differs["prompts_needed"] = p.pairs_for_difference(difference, ties, target)
        differs["power"] = None if prompts is None else p.difference_power(prompts, difference, ties)
    if prompts is not None:
        differs["smallest"] = p.detectable_difference(prompts, ties, target)
        no_worse["power"] = p.noninferiority_power(prompts, delta, ties)
        no_worse["smallest"] = p.smallest_delta(prompts, ties, target)
    return {"prompts": prompts, "ties": ties, "power": target, "differs": differs, "no_worse": no_worse}


def _print(found: dict[str, Any]) -> None:
    from rich.table import Table

    from bench.results import stdout

    differs, no_worse = found["differs"], found["no_worse"]
    run = "" if found["prompts"] is None else f"{found['prompts']:,} prompts, "
    title = f"{run}{100 * found['ties']:.3g}% ties, to be shown with a power of {100 * found['power']:.3g}%"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    table.add_column("to show")
    for heading in ("prompts needed", "power", "least that shows"):
        table.add_column(heading, justify="right")
    away = "" if differs["difference"] is None else f", {_points(abs(differs['difference']))} away"
    for claim, answer in {
        f"a win rate other than 50%{away}": differs,
        f"no worse than 50% by more than {_points(no_worse['delta'])}": no_worse,
    }.items():
        needed = "-" if answer["prompts_needed"] is None else f"{answer['prompts_needed']:,}"
        shown = "-" if answer["power"] is None else f"{answer['power']:.1%}"
        table.add_row(claim, needed, shown, "-" if answer["smallest"] is None else _points(answer["smallest"]))
    console = stdout()
    console.print(table)
    console.print(
        "Normal approximation for independent prompts: two-sided at 5%; no worse, one-sided at 2.5%, "
        "were the true rate 50%. Several claims, corrected, need more.",
        soft_wrap=True,
    )


def _points(share: float) -> str:
    return f"{100 * share:.3g} points"
