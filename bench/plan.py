"""`bench plan`: what sharing would save, with no generation at all."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from bench.completion import completer
from bench.costs import HERE, Priced, priced
from bench.documents import print_json
from bench.planned import Held, Planned, print_answers
from common.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from generators.component import Phase
    from generators.growth import Growth
    from generators.prompts import PromptSet
    from generators.sharing.plan import Grouping
    from generators.sharing.schedule import Schedule
    from generators.strategies.base import Strategy
    from sweeps.grid import Cell, Source
    from sweeps.session import Session
    from sweeps.spec import SweepSpec

MANY = (
    *("model", "dataset", "strategy", "features", "schedule", "steps", "seed"),
    *("scheduler", "guidance", "guidance_interval"),
)
# what means something where no model runs
WITHOUT_MODEL = {"model", "dataset", "prompts", "column", "prompt", "limit", "per_prompt", "seed", "steps"}


@o.spec_options(
    without={
        "title": "it makes no tables and figures",
        "preset": "a preset is a grid of cells",
        "savings": "--target-savings asks for the tau of one",
        "variations": "it plans one way to make pictures",
        "sample": "it plans all prompts, and makes no picture",
        "combiner": "it changes no cost",
        "noise": "it changes no cost",
        "denoiser_cache": "what a cache skips is known only as it runs",
        "batch_size": "it denoises nothing",
        **dict.fromkeys(("isolate", "energy", "save_every"), "it makes no image"),
        **dict.fromkeys(("metric", "audit", "indifference", "seed_control", "equal_compute"), "it scores nothing"),
    }
)
@priced
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
    pricing: Priced = HERE,
    as_json: o.Json = False,
    **settings: Any,
) -> None:
    """Predict what sharing saves on a prompt set at some taus, or find the tau that saves so much. Makes no image."""
    from generators.growth import LEAST
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
    elif spec.per_prompt > 1:
        raise UserError("--curve is of prompts, each once", "leave out --per-prompt")
    elif target_savings is not None:
        raise UserError("--curve is of taus", "ask for the tau first, then --tau TAU --curve")
    elif planned.grouping.n_leaves < 2 * LEAST:
        few = f"--curve takes parts of a set, and {planned.grouping.n_leaves} prompts are too few"
        raise UserError(few, f"give {2 * LEAST} or more")
    if pricing.asked and planned.model is None:
        raise UserError("hours and money are of a model's pictures, and none is named", "add --model NAME")
    planned = replace(planned, priced=pricing)
    if planned.source and planned.device:
        planned = replace(planned, measured=pricing.measured(planned.source, planned.device[0]))
    rows = planned.answers(spec.tau) if target_savings is None else [planned.target(target_savings)]
    if as_json:
        print_json(rows)
    else:
        print_answers(rows, planned.title)


def _from_embeddings(spec: "SweepSpec", path: Path, flags: dict[str, Any]) -> Planned:
    from generators.embeddings import load_embeddings
    from sweeps.grid import prompts_of

    named = any(name in flags for name in ("dataset", "prompts", "prompt"))
    _refuse(spec, flags, "ready embeddings", *([] if named else ["limit"]))
    sets = prompts_of(spec) if named else []
    rows = load_embeddings(path, sum(map(len, sets)) // spec.per_prompt if named else None)
    return _clustered(spec, rows, f"{len(rows)} embeddings of {path}", flags, sets)


def _from_text(spec: "SweepSpec", encoder: str, flags: dict[str, Any]) -> Planned:
    from bench.screen import screen
    from generators.strategies.base import refuse_too_large
    from generators.text_encoders.base import basis, text_embeddings
    from sweeps.grid import parse_strategy, prompts_of

    _refuse(spec, flags, "text embeddings")
    (prompts,) = prompts_of(spec)
    refuse_too_large(parse_strategy(spec.strategy[0]), len(prompts) // spec.per_prompt)
    with screen() as seen, seen.stage("encode"):
        rows = text_embeddings(encoder, prompts.prompts[:: spec.per_prompt])
    title = f"{len(rows)} prompts of {prompts.name}"
    return replace(_clustered(spec, rows, title, flags, [prompts]), basis=basis(encoder))


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


def _clustered(
    spec: "SweepSpec", rows: "NDArray[np.floating]", title: str, flags: dict[str, Any], sets: "Sequence[PromptSet]"
) -> Planned:
    """Return the plan of embeddings [N, D] that are no model's of ours; a model that is named says K and FLOPs.

    `sets` are the prompts that they are of, where these are known.
    """
    from bench.screen import screen
    from generators.prompts import PromptSet, classes
    from generators.sharing.plan import with_copies
    from generators.strategies.base import grouped
    from sweeps.events import Note
    from sweeps.grid import cells, parse_schedule, parse_strategy, sources

    if "model" not in flags and not spec.steps:
        raise UserError("without a model, the number of steps is not known", "add for example --steps 40")
    strategy, schedule = parse_strategy(spec.strategy[0]), parse_schedule(spec.schedule[0])
    own = [one for prompts in sets for one in prompts.own(spec.seed[0], spec.negative_prompt or "")]
    apart = classes(own[:: spec.per_prompt])
    with screen() as seen, seen.stage("cluster"):
        for note in (note for prompts in sets for note in prompts.notes):
            seen(Note(note))
        grouping = grouped(strategy, rows, seed=spec.seed[0], classes=apart)
        grouping = with_copies(grouping, spec.per_prompt, spec.copies_height, strategy.name)
    if "model" not in flags:
        grow = _grower(rows, strategy, grouping, schedule, spec.steps[0], spec.seed[0], apart)
        return Planned(grouping, schedule, spec.steps[0], title, grow=grow)
    texts = PromptSet("embeddings", ("",) * grouping.n_leaves, title)  # in place of those that were embedded
    cell = cells(spec, "cpu", sources(spec, "cpu", [texts], hashed=False))[0]
    return _of_cell(cell, grouping, rows, title, spec, spec.device or "cpu", apart)


def _from_prompts(spec: "SweepSpec") -> Planned:
    from bench.screen import screen
    from generators.strategies.base import refuse_too_large
    from sweeps.grid import cells
    from sweeps.machine import checked_device
    from sweeps.session import Session

    device = checked_device(spec.device)
    cell = cells(spec, device)[0]  # the others have other taus
    refuse_too_large(cell.strategy, len(cell.source.prompts) // spec.per_prompt)
    with screen() as seen:
        session = Session.of(spec, device, seen)
        for note in cell.source.notes:
            session.note(note)
        grouping, _ = session.grouping(cell.source, cell.strategy, cell.config.features)
        rows = session.features(cell.source, cell.config.features)
    title = f"{len(cell.source.prompts)} prompts of {cell.source.prompts.name}"
    planned = _of_cell(cell, grouping, rows, title, spec, device, cell.source.classes)
    return replace(planned, held=_held(cell.source, session))


def _held(source: "Source", session: "Session") -> Held:
    """Return what waves of a source's pictures are cut by, as whoever makes them does."""
    from metrics.memory import row_bytes
    from sweeps.waves import free, held_by

    family, settings = session.family(source), source.settings
    last_x0 = bool(settings.renoise or settings.own_x0)  # kept where nodes begin that need it
    beside = family.sampler(settings).remembered + last_x0
    state = row_bytes(family.latent_shape(settings), settings.dtype, remembered=beside)
    conditioning, least = session.encoded(source).conditioning, session.batch_size(source)[0]
    encoded, wide = conditioning.row_bytes, conditioning.wide_bytes
    return Held(held_by(source, session), free(session), least, state, encoded, wide, session.wave)


def _grower(
    rows: "NDArray[np.floating]",
    strategy: "Strategy",
    grouping: "Grouping",
    schedule: "Schedule",
    steps: int,
    seed: int,
    apart: "NDArray[np.int64] | None",
) -> "Callable[[Sequence[float]], list[Growth]]":
    """Return what gives the growth of these prompts' node-steps at some taus; `apart` are their classes."""
    from bench.screen import screen
    from generators.growth import growth
    from generators.strategies.base import grouped

    def grow(taus: "Sequence[float]") -> "list[Growth]":
        def group(part: "NDArray[np.int64]") -> "Grouping":
            return grouped(strategy, rows[part], seed=seed, classes=None if apart is None else apart[part])

        with screen() as seen, seen.stage("cluster"):
            return growth(len(rows), group, schedule, taus, steps, whole=grouping, seed=seed)

    return grow


def _of_cell(
    cell: "Cell",
    grouping: "Grouping",
    rows: "NDArray[np.floating]",
    title: str,
    spec: "SweepSpec",
    device: str,
    apart: "NDArray[np.int64] | None",
) -> Planned:
    """Return the plan of one cell's way to share, priced, with the memory that its model takes; `apart` as above."""
    from generators.batch_search import BATCH_SIZE
    from generators.device_memory import total_bytes
    from generators.families.base import get_family
    from metrics.memory import peaks
    from sweeps.cost import components
    from sweeps.executors.local import DECODED
    from sweeps.plan import repeated_prompts, repeats_line

    entry, settings = cell.source.entry, cell.source.settings
    # of embeddings, the texts are not known
    again = repeated_prompts(cell.source) & bool(cell.source.prompts.prompts[0])
    family = get_family(entry.family).load(entry, "cpu", settings.dtype)
    parts, shape, remembered = (
        components(cell.source),
        family.latent_shape(settings),
        family.sampler(settings).remembered,
    )

    def phases(rows: int) -> "dict[Phase, int]":
        return peaks(
            *(parts, shape, grouping.n_leaves, settings.dtype),
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
        parts,
        memory,
        device=(device, total_bytes(device)),
        model=entry.name,
        source=cell.source,
        grow=_grower(rows, cell.strategy, grouping, cell.schedule, cell.source.steps, settings.seed, apart),
        repeated=again,
        repeats=repeats_line(cell.source, again),
        guided=settings.guided(cell.source.steps),
        reuse=bool(spec.reuse_unconditional) and family.one_unconditional(settings) and not settings.renoise,
    )
