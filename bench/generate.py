"""`bench generate`: one set of images, the official code's everyday use: prompts, name, tau in; images, tree out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from common.errors import UserError
from common.files import atomic_write, canonical_json

if TYPE_CHECKING:
    from sweeps.grid import Cell
    from sweeps.spec import SweepSpec

COLUMNS, LARGEST = 8, 256  # pictures a row of the grid, pixels of one


@o.spec_options(
    without={
        "title": "it makes no tables and figures",
        "preset": "a preset is a grid of cells",
        "savings": "it is one tau",
        "isolate": "its one cell is always made by itself",
        "energy": "it measures nothing",
        "save_every": "it does not continue",
        **dict.fromkeys(("metric", "seed_control", "equal_compute"), "it scores nothing"),
    },
    changed={
        "tau": {"help": "How much to share: 0 shares nothing, more shares more steps.", "metavar": "X", "default": "1"},
        "dataset": {"default": None},
    },
)
def generate(
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The folder's name.",
            show_default="model, prompts and a hash of the settings",
            rich_help_panel=o.LEAVE,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder that holds it.", rich_help_panel=o.LEAVE, callback=o.local)
    ] = Path("generated"),
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Share nothing, as --tau 0.", rich_help_panel="How prompts share")
    ] = False,
    standard: Annotated[bool, typer.Option("--standard", hidden=True)] = False,
    **settings: Any,
) -> None:
    """Generate images of some prompts that share early denoising steps, without a sweep or scores.

    Writes images/, grid.png, dendrogram.png, plan.npz, tree.npz, sweep.yaml and identity.json into one folder, and
    prints what sharing saved.
    """
    from sweeps.spec import make_spec

    flags = o.given(settings)
    if (baseline or standard) and "tau" in flags:
        raise UserError("--baseline is tau 0, and --tau was given too", "give one of them")
    if not {"prompt", "prompts", "dataset"} & flags.keys():
        raise UserError("no prompts were given", 'add --prompt "...", --prompts FILE or --dataset NAME')
    spec = make_spec([flags, {"tau": "0" if baseline or standard else flags.get("tau", "1")}])
    _generate(spec, out / o.checked_name(name or spec.default_name()))


def _generate(spec: "SweepSpec", folder: Path) -> None:
    """Make the one cell of a spec in a folder that is new or empty."""
    from bench.results import seconds_line
    from bench.screen import screen
    from generators.sharing.parting import drawn
    from generators.sharing.plan import Planner, build_plan
    from sweeps.families import Families
    from sweeps.grid import cells
    from sweeps.making import Maker, write_prompts
    from sweeps.source_run import PLAN, TREE
    from sweeps.store import save_spec

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
