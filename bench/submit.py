"""`bench submit new|check|verify|schema`: pictures that were made elsewhere, on the way to a row of the leaderboard."""

from pathlib import Path
from typing import Annotated

import typer

from bench import options as o
from bench.completion import completer
from bench.documents import print_json
from bench.voice import note

submit = typer.Typer(help="Submissions to a task card: begin, check and verify them.", no_args_is_help=True)
FAILED = 1


@submit.command("new", epilog="Example: bench submit new mine --card mini-sd-styles --name '14 steps'")
def new_submission(
    folder: Annotated[Path, o.argument("Where the submission will lie.")],
    card: Annotated[str, typer.Option(metavar="CARD", help="The task card's name.", autocompletion=completer("cards"))],
    name: Annotated[
        str, typer.Option(metavar="NAME", help="The method's name.", show_default="left to be filled in")
    ] = "",
    as_json: o.Json = False,
) -> None:
    """Write a submission.yaml and a manifest to fill in: a row for every prompt and seed of a card."""
    from bench.results import stdout
    from tasks.card import card as find
    from tasks.submission import new

    written = new(folder, find(card), name)
    if as_json:
        print_json({"written": written})
        return
    for path in written:
        stdout().print(f"written  {path}", soft_wrap=True)


@submit.command("check", epilog="Example: bench submit check mine")
def check_submission(
    folder: Annotated[Path, o.argument("A submission.")],
    as_json: o.Json = False,
) -> None:
    """Say everything that is wrong with a submission; nothing is scored, and no picture is made.

    Pictures that are the baseline's own are held against their cost where the baseline was made before, which `bench
    score` does.
    """
    from bench.results import stdout
    from tasks.judge import known_pixels
    from tasks.submission import check

    found = check(folder, baseline=known_pixels)
    valid = found.submission is not None and not found.problems
    points = found.submission.points if found.submission else ()
    if as_json:
        print_json(
            {
                "folder": folder,
                "valid": valid,
                "card": found.submission.card.name if found.submission else None,
                "points": [{"name": one.name, "pictures": one.nfe.size, "nfe": float(one.nfe.sum())} for one in points],
                "problems": found.problems,
                "problems_left_out": found.left_out,
                "notes": found.notes,
                "beside_baseline": found.beside_baseline,
            }
        )
    else:
        console = stdout()
        for problem in found.problems:
            console.print(f"problem  {problem}", soft_wrap=True, markup=False, highlight=False)
        if found.left_out:
            console.print(f"         and {found.left_out:,} more of the same kinds")
        for sentence in found.notes:
            note(sentence)
        if found.submission and valid:
            card = found.submission.card
            for point in points:
                total, rows = float(point.nfe.sum()), card.rows * point.nfe.size
                console.print(
                    f"valid  {point.name}: {point.nfe.size} pictures, {total:,.0f} of the baseline's {rows:,} rows, "
                    f"{1 - total / rows:.1%} saved",
                    soft_wrap=True,
                    highlight=False,
                )
            console.print(f"next   bench score {folder}", soft_wrap=True, highlight=False)
    if not valid:
        raise typer.Exit(FAILED)


@submit.command("verify", epilog="Example: bench submit verify rows/reusebench-v1/mini-sd-styles/mine")
def verify_row(
    folder: Annotated[Path, o.argument("The folder of a row, as `bench score` writes it.")],
    as_json: o.Json = False,
) -> None:
    """Compute a row's results again from the scores beside it, and say whether they are the row's."""
    from bench.results import stdout
    from tasks.judge import verify

    row = verify(folder)
    if as_json:
        print_json({"folder": folder, "card": row.card, "method": row.method.name, "sha256": row.sha256})
    else:
        stdout().print(f"whole  {row.method.name} on {row.card}: its scores give its results", soft_wrap=True)


@submit.command("schema", epilog="Example: bench submit schema")
def row_schema(as_json: o.Json = False) -> None:
    """Print the JSON schema of a row; with --json on one line."""
    import json

    from tasks.row import schema

    if as_json:
        print_json(schema())
    else:
        typer.echo(json.dumps(schema(), indent=2))
