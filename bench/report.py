"""`bench report`: tables and figures of a run folder, made anew from its records."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    delta: Annotated[
        float, typer.Option(min=0, max=0.49, help="How far below 0.5 a win rate may lie and still be parity.")
    ] = 0.05,
) -> None:
    """Write a run's tables and figures again and print the tables."""
    from bench.publish import publish
    from bench.results import print_places, print_tables
    from sweeps.record import load_records
    from sweeps.store import saved_spec

    saved_spec(run)
    records = load_records(run)
    written = publish(run, records, delta)
    for note in written.notes:
        typer.echo(f"note: {note}", err=True)
    print_tables(written)
    print_places(run, written)
