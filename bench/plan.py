"""`bench plan`: what sharing would save, with no generation at all."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from bench.completion import completer
from bench.planned import Planned, Priced, print_answers
from common.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from generators.component import Phase
    from generators.growth import Growth
    from generators.sharing.plan import Grouping
    from generators.sharing.schedule import Schedule
    from generators.strategies.base import Strategy
    from sweeps.grid import Cell
    from sweeps.spec import SweepSpec

MANY = ("model", "dataset", "strategy", "features", "schedule", "steps", "seed", "scheduler", "guidance")
WITHOUT_MODEL = {"model", "dataset", "prompts", "prompt", "limit", "seed", "steps"}  # mean something where none runs


@o.spec_options(
    without={
        "title": "it makes no tables and figures",
        "preset": "a preset is a grid of cells",
        "savings": "--target-savings asks for the tau of one",
        "sample": "it plans all prompts, and makes no picture",
        "combiner": "it changes no cost",
        "noise": "it changes no cost",
        "denoiser_cache": "what a cache skips is known only as it runs",
        "batch_size": "it denoises nothing",
        **dict.fromkeys(("isolate", "energy", "save_every"), "it makes no image"),
        **dict.fromkeys(("metric", "audit", "indifference", "seed_control", "equal_compute"), "it scores nothing"),
    }
)
def plan(
    target_savings: Annotated[
        float | None, typer.Option(metavar="0.5", help="Find the tau that saves this share of denoiser evaluations.")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Cluster these embeddings, of a .npy or .safetensors file; no model is loaded."
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Cluster by a text encoder of `bench encoders list`, such as minilm; no model is loaded.",
            autocompletion=completer("encoders"),
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Also say how long so many workers take at least, and what bounds them."),
    ] = None,
    curve: Annotated[
        bool, typer.Option("--curve", help="Also say how savings grow with the set, and what further prompts cost.")
    ] = False,
    gpu: Annotated[
        str | None, typer.Option(metavar="h100|...", help="Also say hours and money on this accelerator.")
    ] = None,
    price: o.Price = 2.5,
    utilisation: o.Utilisation = 0.4,
    seconds_per_step: o.SecondsPerStep = None,
    as_json: o.Json = False,
    **settings: Any,
) -> None:
    """Predict what sharing saves on a prompt set at some taus, or find the tau that saves so much. Makes no image."""
    from generators.growth import LEAST
    from sweeps.accelerators import accelerator
    from sweeps.spec import make_spec

    flags = o.given(settings)
    if "tau" in flags and target_savings is not None:
        raise UserError("--tau and --target-savings ask opposite questions", "give one of them")
    if embeddings and encoder:
        raise UserError("--embeddings are ready, and --encoder makes some", "give one of them")
    spec = make_spec([flags])
    if spec.savings:
        raise UserError("a plan answers taus, or names the tau of one target", "use --target-savings")
    for axis in MANY:
        if len(getattr(spec, axis)) > 1:
            raise UserError(f"a plan is of one {axis}, not of {len(getattr(spec, axis))}", "run one plan for each")
    if not embeddings and sum(map(bool, (spec.dataset, spec.prompts, spec.prompt))) > 1:
        raise UserError("a plan is of one prompt set", "run one plan for each")
    if embeddings:
        planned = _from_embeddings(spec, embeddings, flags)
    else:
        planned = _from_text(spec, encoder, flags) if encoder else _from_prompts(spec)
    planned = replace(planned, workers=workers)
    if not curve:
        planned = replace(planned, grow=None)
    elif target_savings is not None:
        raise UserError("--curve is of taus", "ask for the tau first, then --tau TAU --curve")
    elif planned.grouping.n_leaves < 2 * LEAST:
        few = f"--curve takes parts of a set, and {planned.grouping.n_leaves} prompts are too few"
        raise UserError(few, f"give {2 * LEAST} or more")
    if gpu is not None:
        if planned.model is None:
            raise UserError("--gpu says what a model's pictures cost, and none is named", "add --model NAME")
        planned = replace(planned, priced=Priced(accelerator(gpu), price, utilisation, seconds_per_step))
    rows = planned.answers(spec.tau) if target_savings is None else [planned.target(target_savings)]
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        print_answers(rows, planned.title)


def _from_embeddings(spec: "SweepSpec", path: Path, flags: dict[str, Any]) -> Planned:
    from generators.embeddings import load_embeddings
    from sweeps.grid import prompts_of

    named = any(name in flags for name in ("dataset", "prompts", "prompt"))
    _refuse(spec, flags, "ready embeddings", *([] if named else ["limit"]))
    rows = load_embeddings(path, sum(map(len, prompts_of(spec))) if named else None)
    return _clustered(spec, rows, f"{len(rows)} embeddings of {path}", flags)


def _from_text(spec: "SweepSpec", encoder: str, flags: dict[str, Any]) -> Planned:
    from bench.screen import screen
    from generators.strategies.base import refuse_too_large
    from generators.text_encoders.base import basis, text_embeddings
    from sweeps.grid import parse_strategy, prompts_of

    _refuse(spec, flags, "text embeddings")
    (prompts,) = prompts_of(spec)
    refuse_too_large(parse_strategy(spec.strategy[0]), len(prompts))
    with screen() as seen, seen.stage("encode"):
        rows = text_embeddings(encoder, prompts.prompts)
    return replace(_clustered(spec, rows, f"{len(rows)} prompts of {prompts.name}", flags), basis=basis(encoder))


def _refuse(spec: "SweepSpec", flags: dict[str, Any], what: str, *more: str) -> None:
    """Raise a UserError for a flag that changes nothing where no model embeds the prompts."""
    from sweeps.spec import FLAGS, MAKE, RUN

    idle = {"features", *more, *(name for name, flag in FLAGS.items() if flag.panel == RUN)}
    if "model" in flags:
        idle.discard("offload")  # it decides the memory
    else:
        idle |= {*spec.settings, *(name for name, flag in FLAGS.items() if flag.panel == MAKE)} - WITHOUT_MODEL
    if unused := [name for name in flags if name in idle]:
        flag = next(iter(FLAGS[unused[0]].names), f"--{unused[0].replace('_', '-')}")
        raise UserError(f"{flag} means nothing for {what} here", "leave it out, or plan without them")


def _clustered(spec: "SweepSpec", rows: "NDArray[np.floating]", title: str, flags: dict[str, Any]) -> Planned:
    """Return the plan of embeddings [N, D] that are no model's of ours; a model that is named says K and FLOPs."""
    from bench.screen import screen
    from generators.strategies.base import grouped
    from sweeps.grid import cells, parse_schedule, parse_strategy, sources

    if "model" not in flags and not spec.steps:
        raise UserError("without a model, the number of steps is not known", "add for example --steps 40")
    strategy, schedule = parse_strategy(spec.strategy[0]), parse_schedule(spec.schedule[0])
    with screen() as seen, seen.stage("cluster"):
        grouping = grouped(strategy, rows, seed=spec.seed[0])
    if "model" not in flags:
        grow = _grower(rows, strategy, grouping, schedule, spec.steps[0], spec.seed[0])
        return Planned(grouping, schedule, spec.steps[0], title, grow=grow)
    from generators.prompts import PromptSet

    texts = PromptSet("embeddings", ("",) * len(rows), title)  # in place of those that were embedded
    cell = cells(spec, "cpu", sources(spec, "cpu", [texts], hashed=False))[0]
    return _of_cell(cell, grouping, rows, title, spec, spec.device or "cpu")


def _from_prompts(spec: "SweepSpec") -> Planned:
    from bench.screen import screen
    from generators.strategies.base import refuse_too_large
    from sweeps.grid import cells
    from sweeps.machine import checked_device
    from sweeps.session import Session

    device = checked_device(spec.device)
    cell = cells(spec, device)[0]  # the others have other taus
    refuse_too_large(cell.strategy, len(cell.source.prompts))
    with screen() as seen:
        session = Session.of(spec, device, seen)
        grouping, _ = session.grouping(cell.source, cell.strategy, cell.config.features)
        rows = session.features(cell.source, cell.config.features)
    title = f"{len(cell.source.prompts)} prompts of {cell.source.prompts.name}"
    return _of_cell(cell, grouping, rows, title, spec, device)


def _grower(
    rows: "NDArray[np.floating]",
    strategy: "Strategy",
    grouping: "Grouping",
    schedule: "Schedule",
    steps: int,
    seed: int,
) -> "Callable[[Sequence[float]], list[Growth]]":
    """Return what gives the growth of these prompts' node-steps at some taus."""
    from bench.screen import screen
    from generators.growth import growth

    def grow(taus: "Sequence[float]") -> "list[Growth]":
        def group(part: "NDArray[np.floating]") -> "Grouping":
            return strategy.grouping(part, seed=seed)

        with screen() as seen, seen.stage("cluster"):
            return growth(rows, group, schedule, taus, steps, whole=grouping, seed=seed)

    return grow


def _of_cell(
    cell: "Cell", grouping: "Grouping", rows: "NDArray[np.floating]", title: str, spec: "SweepSpec", device: str
) -> Planned:
    """Return the plan of one cell's way to share, priced, with the memory that its model takes."""
    from generators.batch_search import BATCH_SIZE
    from generators.device_memory import total_bytes
    from generators.families.base import get_family
    from metrics.memory import peaks
    from sweeps.cost import components
    from sweeps.executors.local import DECODED

    entry, settings = cell.source.entry, cell.source.settings
    family = get_family(entry.family).load(entry, "cpu", settings.dtype)
    priced, shape, remembered = (
        components(cell.source),
        family.latent_shape(settings),
        family.sampler(settings).remembered,
    )

    def phases(rows: int) -> "dict[Phase, int]":
        return peaks(
            *(priced, shape, grouping.n_leaves, settings.dtype),
            batch_size=rows,
            remembered=remembered,
            offload=spec.offload,
            decoded=rows if device == "cpu" and spec.offload == "none" else min(rows, DECODED),
        )

    memory = (phases(1), phases(BATCH_SIZE))
    return Planned(
        grouping,
        cell.schedule,
        cell.source.steps,
        f"{title}, {entry.name}",
        priced,
        memory,
        device=(device, total_bytes(device)),
        model=entry.name,
        grow=_grower(rows, cell.strategy, grouping, cell.schedule, cell.source.steps, settings.seed),
    )
