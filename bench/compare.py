"""`bench compare`: which way to group prompts is best, at equal node-steps."""

from pathlib import Path
from typing import Annotated

import typer

from bench import options as o
from bench.sweep import FAILED, carry_out

EVERY = "all"
SAVINGS = ("0.3", "0.5", "0.7")
TABLES = ("strategies", "strategy_pairs", "strategy_ranking")
CompareStrategies = Annotated[
    list[str] | None,
    typer.Option(
        "--strategies",
        "--strategy",
        help="Of `bench strategies list`, parameters as name:key=value; all that run here unless given.",
        rich_help_panel=o.HOW,
    ),
]
CompareSavings = Annotated[
    list[str] | None,
    typer.Option(
        "--savings",
        help="Shares of denoiser steps to save; 0.3,0.5,0.7 unless given. Each strategy gets its own tau for them.",
        rich_help_panel=o.HOW,
    ),
]


def compare(
    context: typer.Context,
    strategy: CompareStrategies = None,
    savings: CompareSavings = None,
    model: o.Models = None,
    dataset: o.Datasets = None,
    prompts: o.PromptFile = None,
    prompt: o.Prompts = None,
    limit: o.Limit = None,
    features: o.Features = None,
    schedule: o.Schedules = None,
    combiner: o.Combiners = None,
    noise: o.Noises = None,
    steps: o.Steps = None,
    seed: o.Seeds = None,
    scheduler: o.Schedulers = None,
    guidance: o.Guidances = None,
    others: o.Others = None,
    dtype: o.Dtype = None,
    metric: o.Metrics = None,
    device: o.Device = None,
    batch_size: o.BatchSize = None,
    offload: o.Offload = None,
    isolate: o.Isolate = None,
    save_every: o.SaveEvery = None,
    name: Annotated[str | None, typer.Option(help="The run's name; by default it follows from what is asked.")] = None,
    out: o.Out = Path("runs"),
    dry_run: o.DryRun = False,
    tracking_uri: o.TrackingUri = None,
    mlflow: o.Mlflow = True,
) -> None:
    """Compare clustering strategies at equal node-steps, on several prompt sets and seeds at once.

    It is `bench sweep --savings`, and so continues when it is run again. Schedules, combiners and features given as
    several values are compared like strategies.
    """
    from sweeps.spec import make_spec

    flags = o.given(context.params)
    if flags.get("strategy", [EVERY]) == [EVERY]:
        flags["strategy"] = _every()
    asked = make_spec([{"savings": SAVINGS}, flags])
    folder = out / o.checked_name(name or asked.default_name())
    uri = o.tracking(tracking_uri, out, mlflow)
    if carry_out(asked, folder, uri, dry_run=dry_run, tables=TABLES):
        raise typer.Exit(FAILED)


def _every() -> list[str]:
    """The strategies that run here and share something."""
    from generators.strategies.base import strategies

    return [name for name, kind in strategies().items() if name != "none" and kind.unavailable() is None]
