"""`bench leaderboard`: rows of methods as a page that any static host shows, a data set, and results for the hub."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from bench import options as o
from bench.documents import print_json
from bench.voice import note
from common.errors import UserError

OUT = Path("leaderboard")
Rows: TypeAlias = Annotated[
    list[Path],
    typer.Argument(metavar="ROWS...", help="Rows, or folders that hold them, as `bench score` writes them."),
]


def leaderboard(
    rows: Rows,
    out: Annotated[Path, o.folder("Where the page goes; an earlier leaderboard there is replaced.")] = OUT,
    hub_results: Annotated[
        Path | None,
        o.folder(
            "Also write each row as an evaluation result of the Hugging Face hub, a folder a method.", default=False
        ),
    ] = None,
    hub_dataset: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="With --hub-results: the repository of the benchmark's data on the hub, where results are listed.",
            show_default=False,
            rich_help_panel=o.LEAVE,
        ),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Rank rows and write them as a static page, with their scores as a data set beside it.

    Rows are ranked card by card, by savings at parity; those that the data do not tell apart share ranks. Every row
    that has its scores beside it is computed again from them, and refused where they do not give it.
    """
    from bench.results import stdout
    from metrics.method_comparison import rank_text
    from tasks.leaderboard.entries import boards, found
    from tasks.leaderboard.hub_results import write_hub_results
    from tasks.leaderboard.site import write_site

    if (hub_results is None) != (hub_dataset is None):
        raise UserError(
            "--hub-results and --hub-dataset go together: results name the data set that they are of",
            "give both, for example --hub-results hub --hub-dataset OWNER/NAME",
        )
    ranked = boards(found(rows))
    site = write_site(ranked, out)
    results = write_hub_results(ranked, hub_results, hub_dataset) if hub_results and hub_dataset else []
    for sentence in site.notes:
        note(sentence)
    if as_json:
        print_json(
            {
                "page": site.page,
                "hub_results": results,
                "cards": {
                    board.card.name: [
                        {
                            "method": entry.name,
                            "ranks": board.ranking.ranks[i] if board.ranking else None,
                            "savings_at_parity": entry.row.parity.model_dump(mode="json"),
                            "row": entry.path,
                        }
                        for i, entry in enumerate(board.entries)
                    ]
                    for board in ranked
                },
                "notes": site.notes,
            }
        )
        return
    console = stdout()
    for board in ranked:
        console.print(f"{board.card.name}, by savings at parity", soft_wrap=True, markup=False, highlight=False)
        for i, entry in enumerate(board.entries):
            place, reached = rank_text(board.ranking.ranks[i]) if board.ranking else "-", entry.row.parity
            ends = "" if reached.low is None or reached.high is None else f" [{reached.low:.1%}, {reached.high:.1%}]"
            line = f"{place:>6}  {entry.name}: {reached.value:.1%}{ends}"
            console.print(line, soft_wrap=True, markup=False, highlight=False)
    console.print(f"page    {site.page}", soft_wrap=True, highlight=False)
    if results:
        console.print(f"hub     {len(results)} results in {hub_results}", soft_wrap=True, highlight=False)
