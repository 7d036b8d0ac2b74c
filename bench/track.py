"""`bench track`: send an existing run to MLflow, after an outage or from another machine."""

from pathlib import Path
from typing import Annotated

import typer

from bench import options as o
from bench.documents import print_json
from bench.voice import note


def track(
    run: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    tracking_uri: o.TrackingUri = None,
    experiment: o.Experiment = None,
    as_json: o.Json = False,
) -> None:
    """Send finished runs to MLflow, or the part that a server missed; what it has already stays as it is."""
    from bench.results import missing
    from common.addresses import shown
    from reports.tracking import track as send
    from sweeps.store import saved_spec

    for folder in run:
        saved_spec(folder)
    rows = []
    for folder in run:
        uri = tracking_uri or f"sqlite:///{folder.resolve().parent / 'mlflow.db'}"
        for what in missing(folder):
            note(what)
        sent, cells = send(folder, uri, experiment)
        rows.append({"run": folder, "sent": sent, "cells": cells, "server": shown(uri)})
        if not as_json:
            rest = ", the rest was there" * (sent < cells)
            typer.echo(f"{folder}: {sent} of {cells} cells sent to {shown(uri)}{rest}")
    if as_json:
        print_json(rows)
