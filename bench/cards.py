"""`bench cards list|show|run`: the tasks that methods are ranked on, and the methods in the box run on them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from bench.completion import completer
from bench.documents import print_json
from bench.voice import note

if TYPE_CHECKING:
    from tasks.card import Card

ROWS, RUNS, SUBMISSIONS = Path("rows"), Path("runs"), Path("submissions")
cards = typer.Typer(help="Task cards, on which methods are ranked: list, show and run them.", no_args_is_help=True)


@cards.command("list", epilog="Example: bench cards list --json")
def list_cards(as_json: o.Json = False) -> None:
    """List every task card, and whether rows can be made of it."""
    from tasks.card import Card
    from tasks.card import cards as known

    found = [Card.read(name, file.read_text(encoding="utf-8")) for name, file in known().items()]
    names = ("name", "title", "track", "status", "model", "dataset", "steps")
    rows = [{name: getattr(card, name) for name in names} for card in found]
    if as_json:
        print_json(rows)
        return
    from bench.results import columns, stdout

    table = columns(names, fold=True)
    for row in rows:
        table.add_row(*map(str, row.values()))
    stdout().print(table)


@cards.command("show", epilog="Example: bench cards show mini-sd-styles --prompts prompts.csv")
def show_card(
    name: Annotated[str, typer.Argument(metavar="CARD", help="A card's name.", autocompletion=completer("cards"))],
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write the prompts with their numbers, as .csv or .jsonl: the columns prompt and prompt_text.",
        ),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Show what a card fixes, what its baseline costs, and its hash; write its prompts."""
    from tasks.card import card as find

    card = find(name)
    if prompts is not None:
        from tasks.card import write_prompts

        write_prompts(card, prompts)
        note(f"{len(card.prompt_set)} prompts written to {prompts}")
    told = described(card)
    if as_json:
        print_json(told)
        return
    from bench.results import stdout

    console = stdout()
    for key, value in told.items():
        if isinstance(value, dict):
            value = ", ".join(f"{one}={what}" for one, what in value.items())
        elif isinstance(value, tuple | list):
            value = ", ".join(map(str, value))
        if value not in ("", None):
            console.print(f"{key:16} {value}", soft_wrap=True, markup=False, highlight=False)


@cards.command("run", epilog="Example: bench cards run mini-sd-styles --savings 0.1,0.3,0.5")
def run_card(
    name: Annotated[str, typer.Argument(metavar="CARD", help="A card's name.", autocompletion=completer("cards"))],
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A method in the box; repeat it for more.", show_default="all of them"),
    ] = None,
    savings: Annotated[
        str | None,
        typer.Option(
            metavar="0.1,0.3",
            help="Shares of denoiser evaluations that methods which share are to save.",
            show_default="the card's",
        ),
    ] = None,
    rows: Annotated[Path, o.folder("The folder of rows.")] = ROWS,
    runs: Annotated[Path, o.folder("The folder of runs, in which the pictures are made.")] = RUNS,
    submissions: Annotated[Path, o.folder("The folder of submissions, as strangers make them.")] = SUBMISSIONS,
    device: Annotated[
        str | None, typer.Option(metavar="cpu|cuda", help="Where to compute.", show_default="cuda where there is one")
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Run the methods in the box on a card, and score each as a stranger's: the first rows of its leaderboard.

    The same command continues one that was interrupted, and keeps the rows that are there. `bench leaderboard` makes
    the page.
    """
    from bench.results import stdout
    from bench.screen import screen
    from sweeps.axes import parse_savings
    from tasks.card import card as find
    from tasks.ours import run

    made = []
    with screen() as seen:
        places = {"rows": rows, "runs": runs, "submissions": submissions}
        levels = parse_savings(savings) if savings else ()
        for place, row in run(find(name), names=method or (), savings=levels, device=device, emit=seen, **places):
            made.append((place, row))
            note(f"{row.method.name}: {place}")
    if as_json:
        print_json([{"method": row.method.name, "folder": place, "sha256": row.sha256} for place, row in made])
        return
    for place, _ in made:
        stdout().print(f"row    {place}", soft_wrap=True, markup=False, highlight=False)
    stdout().print(f"next   bench leaderboard {rows}", soft_wrap=True, markup=False, highlight=False)


def described(card: "Card") -> dict[str, Any]:
    """Return all that a card says, its hash, and the cost of its baseline; None where prompts are not here."""
    from common.errors import UserError

    told: dict[str, Any] = {**card.model_dump(), "sha256": card.hash}
    if card.status == "draft":
        told["draft"] = (
            "the weights of its model and scorers are not pinned: it cannot be scored, and has no ranked rows"
        )
    try:
        told |= {"prompt_count": len(card.prompt_set), "pictures": card.pictures, "nfe": card.rows * card.pictures}
    except UserError as error:
        told |= {"prompt_count": None, "pictures": None, "nfe": None, "unavailable": str(error)}
    return told
