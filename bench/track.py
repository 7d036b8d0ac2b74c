"""`bench track`: send an existing run to MLflow, after an outage or from another machine."""

from pathlib import Path
from typing import Annotated

import typer

from bench import options as o


def track(
    run: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    tracking_uri: o.TrackingUri = None,
) -> None:
    """Send finished runs to MLflow, or the part that a server missed; what it has already stays as it is."""
    from bench.results import missing
    from reports.tracking import masked
    from reports.tracking import track as send
    from sweeps.store import saved_spec

    for folder in run:
        saved_spec(folder)
    for folder in run:
        uri = tracking_uri or f"sqlite:///{folder.resolve().parent / 'mlflow.db'}"
        for what in missing(folder):
            typer.echo(f"note: {what}", err=True)
        sent, cells = send(folder, uri)
        typer.echo(f"{folder}: {sent} of {cells} cells sent to {masked(uri)}" + ", the rest was there" * (sent < cells))
