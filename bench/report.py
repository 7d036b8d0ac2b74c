"""`bench report`: tables and figures of a run folder, made anew from its records."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    delta: Annotated[
        float, typer.Option(min=0, max=49, help="Points below 50% at which a win rate's lower bound is still parity.")
    ] = 5,
) -> None:
    """Write a run's tables and figures again and print the tables."""
    from bench.publish import publish
    from bench.results import print_places, print_tables
    from sweeps.record import load_records
    from sweeps.store import saved_spec

    saved_spec(run)
    records = load_records(run)
    written = publish(run, records, delta / 100)
    for note in written.notes:
        typer.echo(f"note: {note}", err=True)
    print_tables(written)
    print_places(run, written)
