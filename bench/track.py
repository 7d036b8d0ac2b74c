"""`bench track`: an existing run to MLflow, after an outage or from another machine."""

from pathlib import Path
from typing import Annotated

import typer


def track(
    run: Annotated[list[Path], typer.Argument(help="Run folders.")],
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="An MLflow server; by default a file beside each run.", envvar="MLFLOW_TRACKING_URI"),
    ] = None,
) -> None:
    """Send finished runs to MLflow, or what a server missed of them; what it has already is left as it is."""
    from reports.tracking import masked
    from reports.tracking import track as send
    from sweeps.store import saved_spec

    for folder in run:
        saved_spec(folder)
    for folder in run:
        uri = tracking_uri or f"sqlite:///{folder.resolve().parent / 'mlflow.db'}"
        sent, cells = send(folder, uri)
        typer.echo(f"{folder}: {sent} of {cells} cells sent to {masked(uri)}" + ", the rest was there" * (sent < cells))
