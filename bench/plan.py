"""`bench plan`: what sharing would save, with no generation at all."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from common.errors import UserError

if TYPE_CHECKING:
    from generators.component import Component
    from generators.families.base import Family
    from generators.settings import GenerationSettings
    from generators.sharing.tree import Tree
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
    model: o.Models = None,
    dataset: o.Datasets = None,
    prompts: o.PromptFile = None,
    prompt: o.Prompts = None,
    limit: o.Limit = None,
    strategy: o.Strategies = None,
    features: o.Features = None,
    schedule: o.Schedules = None,
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
    as_json: o.Json = False,
) -> None:
    """Predict node-steps and savings of a prompt set at some taus, or the tau that reaches given savings."""
    from sweeps.spec import make_spec

    flags = o.given(context.params)
    if tau and target_savings is not None:
        raise UserError("--tau and --target-savings ask opposite questions", "give one of them")
    spec = make_spec([flags])
    for axis in MANY:
        if len(getattr(spec, axis)) > 1:
            raise UserError(f"a plan is of one {axis}, not of {len(getattr(spec, axis))}", "run one plan for each")
    planned = _from_embeddings(spec, embeddings, flags) if embeddings else _from_prompts(spec)
    rows = planned.answers(spec) if target_savings is None else [planned.target(spec, target_savings)]
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        _print(rows, planned.title)


@dataclass(frozen=True)
class Planned:
    """A tree, its K, and, if a model is known, what its family calls and the bytes that weights and latents take."""

    tree: "Tree"
    steps: int
    title: str
    components: "Sequence[Component]" = ()
    memory: int | None = None

    def answers(self, spec: "SweepSpec") -> list[dict[str, Any]]:
        """One object a tau."""
        return [self._at(spec, float(tau)) for tau in spec.tau]

    def target(self, spec: "SweepSpec", target: float) -> dict[str, Any]:
        """The tau that reaches the target, or what the most is."""
        from generators.sharing.savings import tau_for_savings
        from generators.sharing.schedule import get_schedule

        found = tau_for_savings(self.tree, get_schedule(spec.schedule[0]), self.steps, target)
        return {"target": target, **self._at(spec, found.tau), **asdict(found)}

    def _at(self, spec: "SweepSpec", tau: float) -> dict[str, Any]:
        from generators.sharing.savings import node_steps
        from generators.sharing.schedule import get_schedule
        from sweeps.cost import cost

        n = self.tree.n_leaves
        nodes = node_steps(self.tree, get_schedule(spec.schedule[0]), tau, self.steps)
        return {
            "tau": tau,
            "prompts": n,
            "steps": self.steps,
            **cost(self.components, n, self.steps, nodes).plain(),
            **({} if self.memory is None else {"peak_memory_bytes": self.memory}),
        }


def _from_embeddings(spec: "SweepSpec", path: Path, flags: dict[str, Any]) -> Planned:
    from generators.catalogue import model
    from generators.embeddings import load_embeddings
    from sweeps.grid import parse_strategy, prompts_of, settings_of

    named = any(name in flags for name in ("dataset", "prompts", "prompt"))
    idle = ["features", "device", *([] if named else ["limit"]), *([] if "model" in flags else WITHOUT_MODEL)]
    if found := [f"--{name.replace('_', '-')}" for name in idle if name in flags]:
        raise UserError(f"{found[0]} means nothing for ready embeddings here", "leave it out, or plan without them")
    n_prompts = sum(len(each) for each in prompts_of(spec)) if named else None
    rows = load_embeddings(path, n_prompts)
    tree = parse_strategy(spec.strategy[0]).tree(rows, seed=spec.seed[0])
    title = f"{len(rows)} embeddings of {path}"
    if "model" in flags:
        entry = model(spec.model[0])
        settings = next(settings_of(spec, entry, "cpu"))
        from generators.families.base import get_family

        family = get_family(entry.family).load(entry, "cpu", settings.dtype)
        steps = family.sampler(settings).K
        return Planned(tree, steps, f"{title}, {entry.name}", *_computed(family, settings, len(rows)))
    if not spec.steps:
        raise UserError("without a model, the number of steps is not known", "add for example --steps 40")
    return Planned(tree, spec.steps[0], title)


def _from_prompts(spec: "SweepSpec") -> Planned:
    from bench.screen import screen
    from sweeps.grid import features_of, parse_strategy, sources
    from sweeps.making import Families, Maker
    from sweeps.source_run import BATCH_SIZE

    device = o.device_of(spec.device)
    source, *more = sources(spec, device)
    if more:
        raise UserError("a plan is of one prompt set", "run one plan for each")
    with screen() as seen:
        maker = Maker(source, Families(device), BATCH_SIZE, seen)
        tree = maker.tree(parse_strategy(spec.strategy[0]), features_of(spec, source.entry)[0])
    title = f"{len(source.prompts)} prompts of {source.prompts.name}, {source.entry.name}"
    return Planned(tree, source.steps, title, *_computed(maker.family, source.settings, len(source.prompts)))


def _computed(family: "Family", settings: "GenerationSettings", n_prompts: int) -> "tuple[Sequence[Component], int]":
    from metrics.memory import peak_bytes

    components = family.components(settings)
    return components, peak_bytes(components, family.latent_shape(settings), n_prompts, settings.dtype)


def _print(rows: list[dict[str, Any]], title: str) -> None:
    from rich.table import Table

    from bench.results import si, stdout

    if "target" in rows[0]:
        found = rows[0]
        saved = f"{found['savings']:.1%} of denoiser steps"
        answer = f"tau {found['tau']:g} saves {saved}"
        if not found["reached"]:
            answer = f"{found['target']:.1%} is out of reach: the most is {saved}, at tau {found['tau']:g}"
        typer.echo(f"{title}: {answer}")
        return
    table = Table(box=None, pad_edge=False, title=f"{title}, {rows[0]['steps']} steps", title_justify="left")
    for heading in ("tau", "node-steps", "of", "steps saved", "FLOPs", "FLOPs saved"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            *(f"{row['tau']:g}", f"{row['node_steps']:,}", f"{row['standard_node_steps']:,}", f"{row['savings']:.1%}"),
            *(si(row.get("flops")), f"{row['flop_savings']:.1%}" if "flop_savings" in row else "-"),
        )
    stdout().print(table)
    if "peak_memory_bytes" in rows[0]:
        typer.echo(f"weights and latents take at most {rows[0]['peak_memory_bytes'] / 2**30:.3g} GiB of memory")
