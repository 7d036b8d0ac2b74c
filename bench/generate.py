"""`bench generate`: one set of images, the official code's everyday use: prompts, name, tau in; images, tree out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from common.errors import UserError
from common.files import atomic_write, canonical_json
from common.pictures import read_picture

if TYPE_CHECKING:
    from sweeps.jobs import Job
    from sweeps.spec import SweepSpec

COLUMNS, LARGEST = 8, 256  # pictures a row of the grid, pixels of one


@o.spec_options(
    without={
        "title": "it makes no tables and figures",
        "preset": "a preset is a grid of cells",
        "savings": "it is one tau",
        "sample": "it makes every picture",
        "isolate": "its one cell is always made by itself",
        "energy": "it measures nothing",
        **dict.fromkeys(("metric", "audit", "indifference", "seed_control", "equal_compute"), "it scores nothing"),
    },
    changed={
        "tau": {"help": "How much to share: 0 shares nothing, more shares more steps.", "metavar": "X", "default": "1"},
        "dataset": {"default": None},
    },
)
def generate(
    name: Annotated[str | None, o.name_of("folder")] = None,
    out: Annotated[Path, o.folder("The folder that holds it.")] = Path("generated"),
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
    from sweeps.continuing import run_name
    from sweeps.spec import make_spec

    flags = o.given(settings)
    if (baseline or standard) and "tau" in flags:
        raise UserError("--baseline is tau 0, and --tau was given too", "give one of them")
    if not {"prompt", "prompts", "dataset"} & flags.keys():
        raise UserError("no prompts were given", 'add --prompt "...", --prompts FILE or --dataset NAME')
    spec = make_spec([flags, {"tau": "0" if baseline or standard else flags.get("tau", "1")}])
    _generate(spec, out / (o.checked_name(name) if name else run_name(spec, out)))


def _generate(spec: "SweepSpec", folder: Path) -> None:
    """Make the one cell of a spec in a folder that is new, empty, or its own: then what is missing there is made."""
    from bench.results import seconds_line
    from bench.screen import screen
    from sweeps.continuing import continued
    from sweeps.generate import generate
    from sweeps.grid import cells
    from sweeps.machine import checked_device
    from sweeps.plan import plan_pictures
    from sweeps.session import Session
    from sweeps.store import open_store, refuse_another

    where = checked_device(spec.device)
    spec = continued(spec, folder, where)
    refuse_another(folder, spec)
    with screen() as seen:
        cell, *more = cells(spec, where)
        if more:
            raise UserError(f"one set of images is one cell; this asks for {1 + len(more)}", "use `bench sweep`")
        session = Session.of(spec, where, seen)
        with open_store(folder, spec):
            atomic_write(folder / "identity.json", canonical_json(cell.identity) + "\n")
            job = plan_pictures(cell, folder, session)
            manifest = generate([job], session)[folder].manifest
            if isinstance(manifest, Exception):
                raise manifest
            _draw(job)
    taken = manifest.plan
    typer.echo(
        f"{taken.n_prompts} images at tau {cell.config.tau:f}: {taken.node_steps:,} of {taken.baseline_node_steps:,} "
        f"denoiser steps, {taken.savings:.1%} saved\nresults  {folder}/ (images/, grid.png, dendrogram.png)\n"
        f"time     {seconds_line(seen.seconds())}"
    )


def _draw(job: "Job") -> None:
    """Write the pictures as one grid, and the tree with the share that was saved, where a threshold cuts it."""
    from generators.sharing.parting import is_parting
    from reports.figures.dendrogram import draw_tree
    from reports.style import save, theme

    assert job.plan
    assert job.tree
    _mosaic(sorted((job.folder / "images").glob("[0-9]*.png")), job.folder / "grid.png")
    saved = None if is_parting(job.tree, job.plan) else {float(job.config.tau): job.plan.savings}
    with theme():
        if drawing := draw_tree(job.tree, job.source.prompts.prompts, saved):
            save(drawing, job.folder / "dendrogram")


def _mosaic(pictures: list[Path], path: Path) -> None:
    """All pictures in prompt order, eight a row."""
    from PIL import Image

    width, height = (min(length, LARGEST) for length in read_picture(pictures[0]).size)
    rows = -(-len(pictures) // COLUMNS)
    grid = Image.new("RGB", (min(len(pictures), COLUMNS) * width, rows * height), "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, COLUMNS)
        grid.paste(read_picture(picture).resize((width, height)), (column * width, row * height))
    grid.save(path)
