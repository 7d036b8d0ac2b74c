"""Options that several commands have, and what they say as a spec."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

WHAT, HOW, WITH = "What to make", "How prompts share", "How to run"
UNSET: tuple[Any, ...] = (None, [], ())

Models: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--model", help="A model of `bench models list`, or a checkpoint folder.", rich_help_panel=WHAT),
]
Datasets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="A prompt set of `bench datasets list`.", rich_help_panel=WHAT),
]
PromptFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--prompts", help="Your own prompts: a .txt, .csv, .jsonl or .npy file.", rich_help_panel=WHAT),
]
Prompts: TypeAlias = Annotated[
    list[str] | None, typer.Option("--prompt", help="A prompt; may be repeated.", rich_help_panel=WHAT)
]
Limit: TypeAlias = Annotated[
    int | None, typer.Option(help="Only the first N prompts of each set.", rich_help_panel=WHAT)
]
Steps: TypeAlias = Annotated[list[str] | None, typer.Option("--steps", help="Denoising steps.", rich_help_panel=WHAT)]
Seeds: TypeAlias = Annotated[list[str] | None, typer.Option("--seed", help="Seeds: 42, or 0..3.", rich_help_panel=WHAT)]
Schedulers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--scheduler", help="A diffusers scheduler, e.g. DDIMScheduler.", rich_help_panel=WHAT),
]
Guidances: TypeAlias = Annotated[
    list[str] | None, typer.Option("--guidance", help="Guidance scale.", rich_help_panel=WHAT)
]
NegativePrompt: TypeAlias = Annotated[str | None, typer.Option(help="What not to show.", rich_help_panel=WHAT)]
Height: TypeAlias = Annotated[int | None, typer.Option(help="Pixels.", rich_help_panel=WHAT)]
Width: TypeAlias = Annotated[int | None, typer.Option(help="Pixels.", rich_help_panel=WHAT)]
PriorSteps: TypeAlias = Annotated[int | None, typer.Option(help="The prior's steps.", rich_help_panel=WHAT)]
PriorGuidance: TypeAlias = Annotated[float | None, typer.Option(help="The prior's guidance.", rich_help_panel=WHAT)]
PriorSeed: TypeAlias = Annotated[
    int | None, typer.Option(help="The prior's seed, where it is not the pictures'.", rich_help_panel=WHAT)
]
Dtype: TypeAlias = Annotated[str | None, typer.Option(help="fp32, fp16 or bf16.", rich_help_panel=WHAT)]

Taus: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--tau", help="How much to share: 0..2 (step 0.25), 0..2:0.1, or 0,0.5,1.", rich_help_panel=HOW),
]
Strategies: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--strategy", help="Of `bench strategies list`; parameters as name:key=value.", rich_help_panel=HOW),
]
Features: TypeAlias = Annotated[
    list[str] | None, typer.Option("--features", help="What prompts are clustered by.", rich_help_panel=HOW)
]
Schedules: TypeAlias = Annotated[
    list[str] | None, typer.Option("--schedule", help="eq7 (the paper) or official (its code).", rich_help_panel=HOW)
]
Combiners: TypeAlias = Annotated[
    list[str] | None, typer.Option("--combiner", help="How a cluster's conditioning is made.", rich_help_panel=HOW)
]
Noises: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--noise", help="per-root (the paper) or shared (its code).", rich_help_panel=HOW),
]

Device: TypeAlias = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1; by default cuda where there is one.", rich_help_panel=WITH)
]
BatchSize: TypeAlias = Annotated[int | None, typer.Option(help="Rows a denoiser call, at most.", rich_help_panel=WITH)]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else there.")]


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Of a command's parameters, those that are settings of a sweep and were given."""
    from sweeps.spec import SweepSpec

    return {name: value for name, value in parameters.items() if name in SweepSpec.model_fields and value not in UNSET}


def device_of(asked: str | None) -> str:
    """The device asked for, else the best there is.

    Raises:
        UserError: this machine has none such.
    """
    from generators.families.base import torch_device
    from sweeps.machine import default_device

    return str(torch_device(asked or default_device()))
