"""`bench report`: tables and figures of a run folder, made anew from its records."""

from pathlib import Path
from typing import Annotated

import typer


def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write a run's tables and figures again and print its summary."""
    from bench.publish import publish
    from bench.results import print_places, print_summary
    from sweeps.record import load_records
    from sweeps.store import saved_spec

    saved_spec(run)
    records = load_records(run)
    written = publish(run, records)
    for note in written.notes:
        typer.echo(f"note: {note}", err=True)
    print_summary(records)
    print_places(run, written)
