"""Options that several commands have, and what they say as a spec."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from common.errors import UserError

WHAT, HOW, WITH = "What to make", "How prompts share", "How to run"
LONGEST_NAME = 200
UNSET: tuple[Any, ...] = (None, [], ())

Models: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Of `bench models list`, mini-kandinsky unless given; a checkpoint folder, or hub ids as "
        "kandinsky:OWNER/PRIOR+OWNER/DECODER.",
        rich_help_panel=WHAT,
    ),
]
Datasets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        help="Of `bench datasets list`; sweep and plan take mini_templates where no prompts are given.",
        rich_help_panel=WHAT,
    ),
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
Steps: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--steps", help="Denoising steps; by default the model's (`bench models list --json`).", rich_help_panel=WHAT
    ),
]
Seeds: TypeAlias = Annotated[
    list[str] | None, typer.Option("--seed", help="Seeds, as 1,2 or 0..3; 42 unless given.", rich_help_panel=WHAT)
]
Schedulers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--scheduler", help="A diffusers scheduler's class name; by default the model's.", rich_help_panel=WHAT
    ),
]
Guidances: TypeAlias = Annotated[
    list[str] | None, typer.Option("--guidance", help="Guidance scale; by default the model's.", rich_help_panel=WHAT)
]
NegativePrompt: TypeAlias = Annotated[str | None, typer.Option(help="What not to show.", rich_help_panel=WHAT)]
Height: TypeAlias = Annotated[int | None, typer.Option(help="Pixels; by default the model's.", rich_help_panel=WHAT)]
Width: TypeAlias = Annotated[int | None, typer.Option(help="Pixels; by default the model's.", rich_help_panel=WHAT)]
PriorSteps: TypeAlias = Annotated[
    int | None, typer.Option(help="The prior's steps; by default the model's.", rich_help_panel=WHAT)
]
PriorGuidance: TypeAlias = Annotated[
    float | None, typer.Option(help="The prior's guidance; by default the model's.", rich_help_panel=WHAT)
]
PriorSeed: TypeAlias = Annotated[
    int | None, typer.Option(help="The prior's seed, where it is not the pictures'.", rich_help_panel=WHAT)
]
Dtype: TypeAlias = Annotated[
    str | None, typer.Option(help="fp32, fp16 or bf16; by default the model's.", rich_help_panel=WHAT)
]
Others: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other setting of a spec, or one that only some families have, as super_res_steps=4; may be repeated.",
        rich_help_panel=WHAT,
    ),
]

Taus: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--tau", help="How much to share: 0..2 (step 0.25, the default), 0..2:0.1, 0,0.5,1.", rich_help_panel=HOW
    ),
]
Savings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--savings",
        help="Instead of --tau: shares of denoiser steps to save, as 0.3,0.5; each way to share gets the tau for it.",
        rich_help_panel=HOW,
    ),
]
Strategies: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--strategy",
        help="Of `bench strategies list`, ward-cosine unless given; parameters as name:key=value.",
        rich_help_panel=HOW,
    ),
]
Features: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--features",
        help="What prompts are clustered by: of `bench families list`, by default its first.",
        rich_help_panel=HOW,
    ),
]
Schedules: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--schedule",
        help="Of `bench schedules list`: eq7 (the paper, the default), official (its code); or name:key=value.",
        rich_help_panel=HOW,
    ),
]
Combiners: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--combiner",
        help="How a cluster's conditioning is made, of `bench combiners list`; mean unless given.",
        rich_help_panel=HOW,
    ),
]
DenoiserCaches: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--denoiser-cache",
        help="Reuse between the steps of each picture, beside sharing: of `bench denoiser-caches list`, parameters as "
        "name:key=value; none unless given. As none,first-block:threshold=0.1 it is measured alone and together.",
        rich_help_panel=HOW,
    ),
]
Noises: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--noise",
        help="per-root (the paper, the default), shared (its code's one initial latent), or official (all noise from "
        "one stream, in its code's order).",
        rich_help_panel=HOW,
    ),
]
Official: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--official",
        help="As the paper's released code: its schedule, noise, linkage, scheduler, guidance, steps, seed. Flags win.",
        rich_help_panel=HOW,
    ),
]

Device: TypeAlias = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1; by default cuda where there is one.", rich_help_panel=WITH)
]
BatchSize: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        help="Rows a denoiser call, at most. auto: the largest that gains something, measured once and remembered. By "
        "default auto on CUDA, 32 elsewhere.",
        rich_help_panel=WITH,
    ),
]
Isolate: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--isolate/--no-isolate",
        help="Make each cell's pictures alone and all of them, warmed up, so that its seconds are measured. Without it "
        "cells are denoised together, and a cell's seconds are its share. On where energy or a denoiser cache is asked "
        "for.",
        rich_help_panel=WITH,
    ),
]
SaveEvery: TypeAlias = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="How often denoising leaves its state on disk, from which a killed run goes on; 60 unless given.",
        rich_help_panel=WITH,
    ),
]
Offload: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="For small accelerators, what waits in main memory: model (whole parts) or sequential (layers, slow).",
        rich_help_panel=WITH,
    ),
]
ChannelsLast: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--channels-last/--no-channels-last",
        help="Convolutions in the memory order that tensor cores want. On on CUDA, off elsewhere.",
        rich_help_panel=WITH,
    ),
]
Compilation: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--compile",
        metavar="no|regional|full",
        help="Compile the denoiser by torch.compile: the blocks it repeats, or all of it. A minute or so a batch size, "
        "of which there are then few. Off.",
        rich_help_panel=WITH,
    ),
]
Autocast: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--autocast/--no-autocast",
        help="Multiply fp32 weights in bf16; on CPUs by oneDNN. Pictures move a little. Off.",
        rich_help_panel=WITH,
    ),
]
Threads: TypeAlias = Annotated[
    int | None,
    typer.Option(help="CPU threads of one operation; by default one a core.", rich_help_panel=WITH),
]
Metrics: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        help="Of `bench metrics list`: NAME, NAME:parameter=value (clip_diversity:images=all), or NAME=CHECKPOINT; may "
        "be repeated, for several scorers of one NAME too; `none` for none. By default all that the model has.",
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else there.")]


Out: TypeAlias = Annotated[Path, typer.Option(help="The folder that holds runs.")]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Print the cells and their cost; make nothing.")]
TrackingUri: TypeAlias = Annotated[
    str | None, typer.Option(help="An MLflow server; by default a file beside the runs.", envvar="MLFLOW_TRACKING_URI")
]
Mlflow: TypeAlias = Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Log to MLflow.")]


def tracking(uri: str | None, out: Path, mlflow: bool = True) -> str | None:
    """Where MLflow's view of the runs in `out` goes: the server asked for, or a file beside them; None for nowhere."""
    return (uri or f"sqlite:///{(out / 'mlflow.db').resolve()}") if mlflow else None


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Of a command's parameters, those that are settings of a sweep and were given.

    Raises:
        UserError: --set without a value, or of what has a flag that says something else.
    """
    from sweeps.spec import SweepSpec

    known = {*SweepSpec.model_fields, "official"}
    flags = {name: value for name, value in parameters.items() if name in known and value not in UNSET}
    others: dict[str, Any] = {}
    for text in parameters.get("others") or ():
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise UserError(f"--set {text} gives no value", "write it as --set NAME=VALUE")
        if name in flags or name in others:
            raise UserError(f"{name} is given twice", "give it once")
        others[name] = value
    return {**flags, **others}


def device_of(asked: str | None) -> str:
    """The device asked for, else the best there is.

    Raises:
        UserError: this machine has none such.
    """
    from generators.families.base import torch_device
    from sweeps.machine import default_device

    device = torch_device(asked or default_device())
    if device.type == "meta":
        raise UserError("the device 'meta' holds no numbers", "use --device cpu")
    return str(device)


def checked_name(name: str) -> str:
    """A folder's name that the user gave.

    Raises:
        UserError: it names something else than one folder.
    """
    if Path(name).name != name or name.startswith("."):
        raise UserError(f"{name!r} cannot be a run's name", "it names one folder; --out says where that is")
    if len(name.encode()) > LONGEST_NAME:
        raise UserError(f"a run's name of {len(name)} characters is too long", f"use {LONGEST_NAME} or fewer")
    return name
