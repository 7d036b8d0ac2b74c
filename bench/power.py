"""`bench power`: which win rates a number of prompts can tell apart, and how many prompts a claim needs."""

from typing import Annotated, Any

import typer

from bench import options as o
from bench.documents import print_json
from common.errors import UserError


def power(
    prompts: Annotated[int | None, typer.Option(metavar="N", help="How many prompts a run has.")] = None,
    ties: Annotated[float, typer.Option(metavar="X", help="The share of pairs that tie, such as 0.05.")] = 0.0,
    difference: Annotated[
        float | None, typer.Option(metavar="X", help="How far the true win rate is from one half: 0.1 for 60% or 40%.")
    ] = None,
    delta: Annotated[
        float,
        typer.Option(metavar="X", help="Non-inferiority: how far below one half a win rate may lie; 0.05 is 5 points."),
    ] = 0.05,
    target: Annotated[
        float, typer.Option("--power", metavar="X", help="The probability with which a true claim is to be shown.")
    ] = 0.8,
    as_json: o.Json = False,
) -> None:
    """Say which win rates a number of prompts can tell apart, and how many prompts a claim needs. Runs nothing."""
    answer = answers(prompts, ties, difference, delta, target)
    if as_json:
        print_json(answer)
    else:
        _print(answer)


def answers(prompts: int | None, ties: float, difference: float | None, delta: float, target: float) -> dict[str, Any]:
    """Return the question, and for both claims the prompts needed, the power, and the least that shows.

    Raises:
        UserError: a number is out of its range.
    """
    from metrics import power as p

    if difference == 0:
        raise UserError("a difference of 0 cannot be shown", "give one such as 0.1, or leave --difference out")
    unknown = dict.fromkeys(("prompts_needed", "power", "smallest"))
    differs: dict[str, Any] = {"difference": difference, **unknown}
    no_worse: dict[str, Any] = {"delta": delta, **unknown}
    no_worse["prompts_needed"] = p.pairs_for_noninferiority(delta, ties, target)
    if difference is not None:
        differs["prompts_needed"] = p.pairs_for_difference(difference, ties, target)
        differs["power"] = None if prompts is None else p.difference_power(prompts, difference, ties)
    if prompts is not None:
        differs["smallest"] = p.detectable_difference(prompts, ties, target)
        no_worse["power"] = p.noninferiority_power(prompts, delta, ties)
        no_worse["smallest"] = p.smallest_delta(prompts, ties, target)
    return {"prompts": prompts, "ties": ties, "power": target, "differs": differs, "no_worse": no_worse}


def _print(answer: dict[str, Any]) -> None:
    from bench.results import columns, stdout

    differs, no_worse = answer["differs"], answer["no_worse"]
    run = "" if answer["prompts"] is None else f"{answer['prompts']:,} prompts, "
    title = f"{run}{100 * answer['ties']:.3g}% ties, to be shown with a power of {100 * answer['power']:.3g}%"
    table = columns(("to show",), ("prompts needed", "power", "least that shows"), title)
    away = "" if differs["difference"] is None else f", {_points(abs(differs['difference']))} away"
    for claim, part in {
        f"a win rate other than 50%{away}": differs,
        f"no worse than 50% by more than {_points(no_worse['delta'])}": no_worse,
    }.items():
        needed = "-" if part["prompts_needed"] is None else f"{part['prompts_needed']:,}"
        shown = "-" if part["power"] is None else f"{part['power']:.1%}"
        table.add_row(claim, needed, shown, "-" if part["smallest"] is None else _points(part["smallest"]))
    console = stdout()
    console.print(table)
    console.print(
        "Normal approximation for independent prompts: two-sided at 5%; no worse, one-sided at 2.5%, "
        "were the true rate 50%. Several claims, corrected, need more.",
        soft_wrap=True,
    )


def _points(share: float) -> str:
    return f"{100 * share:.3g} points"
