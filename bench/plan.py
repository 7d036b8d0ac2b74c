"""`bench plan`: what sharing would save, with no generation at all."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from bench.planned import Planned, print_answers
from common.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from generators.component import Component
    from generators.families.base import Family
    from generators.settings import GenerationSettings
    from sweeps.spec import SweepSpec

# What needs a model's prompts, or a model, to mean anything.
WITHOUT_MODEL = ("scheduler", "guidance", "prior_steps", "prior_guidance", "prior_seed", "dtype")
MANY = ("model", "dataset", "strategy", "features", "schedule", "steps", "seed", "scheduler", "guidance")


def plan(
    context: typer.Context,
    tau: o.Taus = None,
    target_savings: Annotated[
        float | None, typer.Option(help="Answer with the tau that saves this share of denoiser steps, e.g. 0.5.")
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="Ready embeddings, a .npy or .safetensors file: no model is loaded.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Of `bench encoders list`, say minilm: predict from text embeddings; no model is loaded."),
    ] = None,
    model: o.Models = None,
    dataset: o.Datasets = None,
    prompts: o.PromptFile = None,
    prompt: o.Prompts = None,
    limit: o.Limit = None,
    strategy: o.Strategies = None,
    features: o.Features = None,
    schedule: o.Schedules = None,
    official: o.Official = None,
    steps: o.Steps = None,
    seed: o.Seeds = None,
    scheduler: o.Schedulers = None,
    guidance: o.Guidances = None,
    prior_steps: o.PriorSteps = None,
    prior_guidance: o.PriorGuidance = None,
    prior_seed: o.PriorSeed = None,
    others: o.Others = None,
    dtype: o.Dtype = None,
    device: o.Device = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Also how long it takes at least on so many workers, and how much trunks cost."),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Predict node-steps and savings of a prompt set at some taus, or the tau that reaches given savings."""
    from sweeps.spec import make_spec

    flags = o.given(context.params)
    if tau and target_savings is not None:
        raise UserError("--tau and --target-savings ask opposite questions", "give one of them")
    if embeddings and encoder:
        raise UserError("--embeddings are ready, and --encoder makes some", "give one of them")
    spec = make_spec([flags])
    if spec.savings:
        raise UserError("a plan answers taus, or names the tau of one target", "use --target-savings")
    for axis in MANY:
        if len(getattr(spec, axis)) > 1:
            raise UserError(f"a plan is of one {axis}, not of {len(getattr(spec, axis))}", "run one plan for each")
    if embeddings:
        planned = _from_embeddings(spec, embeddings, flags)
    else:
        planned = _from_text(spec, encoder, flags) if encoder else _from_prompts(spec)
    if workers:
        planned = replace(planned, workers=workers)
    rows = planned.answers(spec) if target_savings is None else [planned.target(spec, target_savings)]
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        print_answers(rows, planned.title)


def _from_embeddings(spec: "SweepSpec", path: Path, flags: dict[str, Any]) -> Planned:
    from generators.embeddings import load_embeddings
    from sweeps.grid import prompts_of

    named = any(name in flags for name in ("dataset", "prompts", "prompt"))
    _refuse(flags, "ready embeddings", [*([] if named else ["limit"]), *_idle(spec, flags)])
    rows = load_embeddings(path, sum(len(each) for each in prompts_of(spec)) if named else None)
    return _clustered(spec, rows, f"{len(rows)} embeddings of {path}", flags)


def _from_text(spec: "SweepSpec", encoder: str, flags: dict[str, Any]) -> Planned:
    from bench.screen import screen
    from generators.text_encoders.base import basis, text_embeddings
    from sweeps.grid import prompts_of

    _refuse(flags, "text embeddings", _idle(spec, flags))
    prompts, *more = prompts_of(spec)
    if more:
        raise UserError("a plan is of one prompt set", "run one plan for each")
    with screen() as seen, seen.stage("encode"):
        rows = text_embeddings(encoder, prompts.prompts)
    return replace(_clustered(spec, rows, f"{len(rows)} prompts of {prompts.name}", flags), basis=basis(encoder))


def _idle(spec: "SweepSpec", flags: dict[str, Any]) -> list[str]:
    """The settings of some families that no model is named for."""
    return [] if "model" in flags else list(spec.settings)


def _refuse(flags: dict[str, Any], what: str, more: Sequence[str] = ()) -> None:
    """Raises a UserError for a flag that changes nothing where no model embeds the prompts."""
    idle = ["features", "device", *more, *([] if "model" in flags else WITHOUT_MODEL)]
    if found := [f"--{name.replace('_', '-')}" for name in idle if name in flags]:
        raise UserError(f"{found[0]} means nothing for {what} here", "leave it out, or plan without them")


def _clustered(spec: "SweepSpec", rows: "NDArray[np.floating]", title: str, flags: dict[str, Any]) -> Planned:
    """From embeddings [N, D] that are no model's of ours; a model that is named says what K and FLOPs are."""
    from bench.screen import screen
    from common.progress import listening
    from sweeps.grid import parse_strategy, settings_of

    if "model" not in flags and not spec.steps:
        raise UserError("without a model, the number of steps is not known", "add for example --steps 40")
    with screen() as seen, listening(seen.heard), seen.stage("cluster"):
        grouping = parse_strategy(spec.strategy[0]).grouping(rows, seed=spec.seed[0])
    if "model" not in flags:
        return Planned(grouping, spec.steps[0], title)
    from generators.catalogue import model
    from generators.families.base import get_family

    entry = model(spec.model[0])
    settings = next(settings_of(spec, entry, "cpu"))
    family = get_family(entry.family).load(entry, "cpu", settings.dtype)
    sampler = family.sampler(settings)
    computed = _computed(family, settings, len(rows))
    return Planned(grouping, sampler.K, f"{title}, {entry.name}", *computed, log_snr=sampler.log_snr)


def _from_prompts(spec: "SweepSpec") -> Planned:
    from bench.screen import screen
    from generators.batch_search import BATCH_SIZE
    from sweeps.families import Families
    from sweeps.grid import features_of, parse_strategy, sources
    from sweeps.making import Maker

    device = o.device_of(spec.device)
    source, *more = sources(spec, device)
    if more:
        raise UserError("a plan is of one prompt set", "run one plan for each")
    with screen() as seen:
        maker = Maker(source, Families(device), BATCH_SIZE, seen)
        grouping = maker.grouping(parse_strategy(spec.strategy[0]), features_of(spec, source.entry)[0])
    title = f"{len(source.prompts)} prompts of {source.prompts.name}, {source.entry.name}"
    computed = _computed(maker.family, source.settings, len(source.prompts))
    return Planned(grouping, source.steps, title, *computed, log_snr=source.log_snr)


def _computed(
    family: "Family", settings: "GenerationSettings", n_prompts: int
) -> "tuple[Sequence[Component], tuple[int, int]]":
    from generators.batch_search import BATCH_SIZE
    from metrics.memory import peaks

    components = family.components(settings)
    shape, remembered = family.latent_shape(settings), family.sampler(settings).remembered

    def most(batch_size: int) -> int:
        found = peaks(components, shape, n_prompts, settings.dtype, batch_size=batch_size, remembered=remembered)
        return max(found.values())

    return components, (most(1), most(BATCH_SIZE))
