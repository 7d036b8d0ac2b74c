"""`bench generate`: one set of images, the official code's everyday use: prompts, name, tau in; images, tree out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import options as o
from common.errors import UserError
from common.files import atomic_write, canonical_json

if TYPE_CHECKING:
    from sweeps.grid import Cell

COLUMNS, LARGEST = 8, 256  # pictures a row of the grid, pixels of one


def generate(
    context: typer.Context,
    prompt: o.Prompts = None,
    prompts: o.PromptFile = None,
    dataset: o.Datasets = None,
    limit: o.Limit = None,
    name: Annotated[
        str | None, typer.Option(help="The folder's name; by default it follows from what is asked.")
    ] = None,
    tau: Annotated[list[str] | None, typer.Option(help="How much to share; 1 unless given.")] = None,
    standard: Annotated[bool, typer.Option("--standard", help="Share nothing: tau 0.")] = False,
    out: Annotated[Path, typer.Option(help="The folder that holds it.")] = Path("generated"),
    model: o.Models = None,
    strategy: o.Strategies = None,
    features: o.Features = None,
    schedule: o.Schedules = None,
    combiner: o.Combiners = None,
    noise: o.Noises = None,
    official: o.Official = None,
    steps: o.Steps = None,
    seed: o.Seeds = None,
    scheduler: o.Schedulers = None,
    guidance: o.Guidances = None,
    denoiser_cache: o.DenoiserCaches = None,
    negative_prompt: o.NegativePrompt = None,
    height: o.Height = None,
    width: o.Width = None,
    prior_steps: o.PriorSteps = None,
    prior_guidance: o.PriorGuidance = None,
    prior_seed: o.PriorSeed = None,
    others: o.Others = None,
    dtype: o.Dtype = None,
    device: o.Device = None,
    batch_size: o.BatchSize = None,
    offload: o.Offload = None,
    channels_last: o.ChannelsLast = None,
    compilation: o.Compilation = None,
    autocast: o.Autocast = None,
    threads: o.Threads = None,
) -> None:
    """Generate images of some prompts with shared early steps, without a sweep or scores.

    Leaves images/, grid.png, dendrogram.png, plan.npz, tree.npz and what was asked for (sweep.yaml, identity.json), and
    prints what was saved.
    """
    from bench.results import seconds_line
    from bench.screen import screen
    from generators.sharing.parting import drawn
    from generators.sharing.plan import Planner, build_plan
    from sweeps.families import Families
    from sweeps.grid import cells
    from sweeps.making import Maker, write_prompts
    from sweeps.source_run import PLAN, TREE
    from sweeps.spec import make_spec
    from sweeps.store import save_spec

    if standard and tau:
        raise UserError("--standard is tau 0, and --tau was given too", "give one of them")
    flags = o.given(context.params)
    if not {"prompt", "prompts", "dataset"} & flags.keys():
        raise UserError("no prompts were given", 'add --prompt "...", --prompts FILE or --dataset NAME')
    spec = make_spec([flags, {"tau": "0" if standard else tau or "1"}])
    folder = out / o.checked_name(name or spec.default_name())
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty", "choose another --name, or delete it")
    where = o.device_of(spec.device)
    with screen() as seen:
        cell, *more = cells(spec, where)
        if more:
            raise UserError(f"one set of images is one cell; this asks for {1 + len(more)}", "use `bench sweep`")
        families = Families(where, spec.offload, None, spec.acceleration(where))
        maker = Maker(cell.source, families, spec.batch_size, seen)
        grouping = maker.grouping(cell.strategy, cell.asked.features)
        plan = build_plan(grouping, cell.schedule, float(cell.asked.tau), cell.source.steps, cell.asked.combiner)
        save_spec(folder, spec)
        atomic_write(folder / "identity.json", canonical_json(cell.identity) + "\n")
        write_prompts(folder, cell.source.prompts.prompts)
        drawn(grouping, plan).save(folder / TREE)
        plan.save(folder / PLAN)
        took = maker.make(plan, folder, cache=cell.denoiser_cache).plan
        _draw(folder, cell, None if isinstance(grouping, Planner) else took.savings)
    typer.echo(
        f"{plan.n_prompts} images at tau {cell.asked.tau:f}: {took.node_steps:,} of {took.standard_node_steps:,} "
        f"denoiser steps, {took.savings:.1%} saved\nresults  {folder}/ (images/, grid.png, dendrogram.png)\n"
        f"time     {seconds_line(seen.seconds())}"
    )


def _draw(folder: Path, cell: "Cell", savings: float | None) -> None:
    """The pictures and the tree; no savings where no threshold cuts it."""
    from generators.sharing.tree import Tree
    from reports.figures.dendrogram import draw_tree
    from reports.style import save, theme
    from sweeps.source_run import TREE

    _mosaic(sorted((folder / "images").glob("[0-9]*.png")), folder / "grid.png")
    with theme():
        tree = Tree.load(folder / TREE)
        saved = None if savings is None else {float(cell.asked.tau): savings}
        if drawing := draw_tree(tree, cell.source.prompts.prompts, saved):
            save(drawing, folder / "dendrogram")


def _mosaic(pictures: list[Path], path: Path) -> None:
    """All pictures in prompt order, eight a row."""
    from PIL import Image

    with Image.open(pictures[0]) as first:
        width, height = (min(length, LARGEST) for length in first.size)
    rows = -(-len(pictures) // COLUMNS)
    grid = Image.new("RGB", (min(len(pictures), COLUMNS) * width, rows * height), "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, COLUMNS)
        with Image.open(picture) as image:
            grid.paste(image.resize((width, height)), (column * width, row * height))
    grid.save(path)
