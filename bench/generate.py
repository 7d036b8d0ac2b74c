"""`bench generate`: one set of images, the official code's everyday use: prompts, name, tau in; images, tree out."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from bench import executors
from bench import options as o
from bench.costs import HERE, Priced, priced
from bench.documents import print_json
from common.addresses import shown
from common.errors import UserError
from common.files import atomic_write, canonical_json, sha256_text
from common.remote import RemoteFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.delivery.files import Receipt
    from sweeps.delivery.formats import PictureFormat
    from sweeps.delivery.target import Target
    from sweeps.encoding_cache import EncodingCache
    from sweeps.executors.base import Executor
    from sweeps.grid import Cell
    from sweeps.jobs import Job
    from sweeps.session import Session
    from sweeps.spec import SweepSpec

GRID, FULL_GRID, DENDROGRAM = "grid.png", "grid-full.png", "dendrogram"
MOST_LEAVES = 500  # of a tree whose branches can be told apart on a page
LONG = 5_000  # characters of a prompt and its negative prompt, from which on a file may have no room for them


class Beside(NamedTuple):
    """What stands beside the pictures, if it is asked for."""

    grid: bool
    full_grid: bool
    official_files: bool


@o.spec_options(
    without={
        "title": "it makes no tables and figures",
        "preset": "a preset is a grid of cells",
        "savings": "it is one tau",
        "variations": "it makes one picture of each prompt",
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
@priced
def generate(
    name: Annotated[str | None, o.name_of("folder")] = None,
    out: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|URL",
            help="The folder that holds it, or an address that fsspec reads: s3://, gs://.",
            rich_help_panel=o.LEAVE,
            callback=o.with_secrets,
        ),
    ] = "generated",
    work: Annotated[
        Path | None,
        o.folder("What goes to an address leaves its plan and checkpoints here.", "a folder in the cache"),
    ] = None,
    picture_format: Annotated[
        str, typer.Option("--format", metavar="png|webp|jpeg", help="What to save.", rich_help_panel=o.LEAVE)
    ] = "png",
    quality: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Of webp and jpeg, 1 to 100; a webp file of 100 is lossless.",
            show_default="Pillow's: 80 and 75",
            rich_help_panel=o.LEAVE,
        ),
    ] = None,
    name_by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Name files by this column of --prompts.",
            show_default="numbers",
            rich_help_panel=o.LEAVE,
        ),
    ] = None,
    grid: Annotated[
        bool, typer.Option("--grid/--no-grid", help="Draw a contact sheet, grid.png.", rich_help_panel=o.LEAVE)
    ] = True,
    full_grid: Annotated[
        bool,
        typer.Option(
            "--full-grid",
            help="Draw a sheet of pictures at their own size too, grid-full.png.",
            rich_help_panel=o.LEAVE,
        ),
    ] = False,
    official_files: Annotated[
        bool,
        typer.Option(
            "--official-files",
            help="Write what the paper's released code writes too: denoised_images.pt (float32, 0 to 1) and "
            "savings.txt.",
            rich_help_panel=o.LEAVE,
        ),
    ] = False,
    encoding_cache: Annotated[
        bool,
        typer.Option(
            "--encoding-cache/--no-encoding-cache",
            help="Keep the encoded prompts of a --dataset in the cache, for the next command.",
            rich_help_panel=o.LEAVE,
        ),
    ] = True,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Share nothing, as --tau 0.", rich_help_panel="How prompts share")
    ] = False,
    standard: Annotated[bool, typer.Option("--standard", hidden=True)] = False,
    executor: executors.Name = "local",
    address: executors.Address = None,
    workers: executors.Workers = None,
    store: executors.Store = None,
    devices: executors.Devices = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it costs; make nothing.", rich_help_panel=o.LEAVE)
    ] = False,
    as_json: o.Json = False,
    pricing: Priced = HERE,
    **settings: Any,
) -> None:
    """Generate images of some prompts that share early denoising steps, without a sweep or scores.

    Writes images/, manifest.parquet (a row an image), grid.png, identity.json and, of prompts that merge into a tree,
    dendrogram.png, and prints what sharing saved. Every file says how it was made. An interrupted command continues
    when it is run again.
    """
    from sweeps.continuing import run_name
    from sweeps.delivery.formats import PictureFormat
    from sweeps.delivery.target import Target, target_of
    from sweeps.encoding_cache import EncodingCache
    from sweeps.spec import make_spec

    flags = executors.of_devices(o.given(settings), devices)
    if (baseline or standard) and "tau" in flags:
        raise UserError("--baseline is tau 0, and --tau was given too", "give one of them")
    if not {"prompt", "prompts", "dataset"} & flags.keys():
        raise UserError("no prompts were given", 'add --prompt "...", --prompts FILE or --dataset NAME')
    files = PictureFormat(picture_format, quality)  # type: ignore[arg-type]
    spec = make_spec([flags, {"tau": "0" if baseline or standard else flags.get("tau", "1")}])
    root, url = target_of(out, work)
    if official_files and (url or not files.lossless):
        what = f"--out {shown(url)}" if url else f"--format {files.name}"
        hint = "write to a folder, as PNG or as WebP of --quality 100"
        raise UserError(f"--official-files holds every pixel, in a file on a disk: not with {what}", hint)
    kept = EncodingCache() if encoding_cache and spec.dataset else None
    beside = Beside(grid, full_grid, official_files)
    own = o.checked_name(name) if name else run_name(spec, root)
    target = Target(root / own, RemoteFolder(f"{url}/{own}") if url else None)
    at = executors.chosen(executor, address, workers, store, devices)
    _generate(spec, target, files, name_by, at, kept, pricing, beside=beside, dry_run=dry_run, as_json=as_json)


def _generate(
    spec: "SweepSpec",
    target: "Target",
    files: "PictureFormat",
    name_by: str | None,
    executor: "Executor | None",
    kept: "EncodingCache | None",
    pricing: Priced,
    *,
    beside: Beside,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make the one cell of a spec in a folder that is new, empty, or its own: then what is missing there is made."""
    from bench.results import print_bill, seconds_line
    from bench.screen import screen
    from sweeps.continuing import continued
    from sweeps.executors.local import Local
    from sweeps.generate import generate
    from sweeps.grid import cells
    from sweeps.machine import checked_device
    from sweeps.plan import plan_pictures
    from sweeps.session import Session
    from sweeps.store import open_store, refuse_another

    folder, where = target.folder, checked_device(spec.device)
    names = _names(spec, files, name_by)  # of the file as it is now, not as a run folder that is there has it
    spec = continued(spec, folder, where)
    refuse_another(folder, spec)
    with screen() as seen:
        with seen.stage("identify"):
            cell, *more = cells(spec, where)
        if more:
            raise UserError(f"one set of images is one cell; this asks for {1 + len(more)}", "use `bench sweep`")
        if dry_run:
            job = plan_pictures(cell, folder, Session.of(spec, where, seen), keep=False)
            print_bill(pricing.bill([job], where, folder.parent), job, as_json=as_json)
            return
        session, executor = Session.of(spec, where, seen, executor, kept), executor or Local()
        with open_store(folder, spec), executor.opened(spec, where, seen):
            atomic_write(folder / "identity.json", canonical_json(cell.identity) + "\n")
            job = _job(cell, target, files, name_by, names, session)
            pricing.announce([job], where, seen, folder.parent)
            manifest = generate([job], session, executor)[folder].manifest
            if isinstance(manifest, Exception):
                raise manifest
            written, notes = _hand_over(job, target, job.files.known(folder, list(manifest.images)), beside)
        for note in notes:
            seen.say(f"note: {note}")
    taken, seconds = manifest.plan, seen.seconds()
    if as_json:
        document = {"run": folder, "results": target.shown, "written": written, "config": cell.config, "plan": taken}
        print_json({**document, "images": manifest.images, "seconds": seconds})
        return
    distinct = "" if taken.distinct_savings is None else f" ({taken.distinct_savings:.1%} without repeated images)"
    state = [f"state    {folder}/ (to go on, and to check what is there)"] if target.remote else []
    lines = [
        f"{taken.n_prompts} images at tau {cell.config.tau:f}: {taken.node_steps:,} of {taken.baseline_node_steps:,} "
        f"denoiser steps, {taken.savings:.1%} saved{distinct}",
        f"results  {target.shown}/ ({', '.join(written)})",
        *state,
        f"time     {seconds_line(seconds)}{pricing.paid(sum(seconds.values()), where)}",
    ]
    typer.echo("\n".join(lines))


def _names(spec: "SweepSpec", files: "PictureFormat", name_by: str | None) -> list[str]:
    """Return the names of the pictures' files, without the suffix; nothing where they are numbered."""
    from generators.prompt_files import read_prompt_file
    from sweeps.delivery.names import stems
    from sweeps.grid import prompts_of

    if name_by is None:
        return []
    if spec.prompts is None or spec.dataset or spec.prompt:
        raise UserError("--name-by is a column of the file that all prompts are from", "give --prompts FILE alone")
    ids, times = prompts_of(spec)[0].column(name_by), spec.per_prompt
    where = read_prompt_file(spec.prompts, spec.column).where[: len(ids) // times]
    numbers = [number % times for number in range(len(ids))] if times > 1 else []
    lines = [line for line in where for _ in range(times)]
    return stems(ids, name_by, files.suffix, where=lines, numbers=numbers)


def _job(
    cell: "Cell", target: "Target", files: "PictureFormat", name_by: str | None, names: list[str], session: "Session"
) -> "Job":
    """Return the planned job, with what its pictures' files are like, which the destination has taken by then."""
    from sweeps.delivery.about import abouts
    from sweeps.delivery.files import PLAIN, PictureFiles
    from sweeps.plan import plan_pictures

    hashed = sha256_text(canonical_json(names)) if names else None
    kind = {"format": files.name, "quality": files.quality, "name_by": name_by, "names": hashed}
    says = target.claim(kind, cell.id)
    job = plan_pictures(cell, target.folder, session)
    if not says:
        return replace(job, files=PLAIN)
    about = abouts(job)
    for prompt, text in enumerate(cell.source.prompts.prompts):
        if len(text) + len((said := about(prompt)).negative_prompt) >= LONG:
            files.check(said, f"prompt {prompt + 1}")
    return replace(job, files=PictureFiles(files, names, about, target.remote))


def _hand_over(
    job: "Job", target: "Target", receipts: "Sequence[Receipt]", beside: Beside
) -> tuple[list[str], list[str]]:
    """Write what stands beside the pictures; return what is there then, and notes on what is not or in part."""
    from reports.contact_sheet import MOST, chosen, contact_sheet, most_at_full_size
    from sweeps.delivery.files import IMAGES
    from sweeps.delivery.official_files import Savings, write_pictures, write_savings
    from sweeps.delivery.table import TABLE, table

    assert job.plan
    assert job.tree

    def picture(row: int) -> Path | bytes:
        return target.get(Path(IMAGES) / receipts[row].name)

    target.put(TABLE, table(job, receipts, IMAGES))
    written, notes = [f"{IMAGES}/", TABLE], []
    sheets = {GRID: MOST} if beside.grid else {}
    if beside.full_grid:
        sheets[FULL_GRID] = most_at_full_size(len(receipts), receipts[0].width, receipts[0].height)
    for name, most in sheets.items():
        rows = chosen(len(receipts), most)
        sheet = map(picture, rows)
        target.put(name, contact_sheet([*sheet]) if name == GRID else contact_sheet([*sheet], largest=None))
        written.append(name)
        if len(rows) < len(receipts):
            notes.append(f"{name} shows {len(rows)} of {len(receipts):,} images, at even distances")
    if beside.official_files:
        written.append(write_pictures(target.folder, len(receipts), picture))
        written.append(write_savings(target.folder, Savings(job.plan.node_steps, job.plan.baseline_node_steps)))
    if len(receipts) > MOST_LEAVES:
        notes.append(f"no {DENDROGRAM}.png: nobody can read a tree of {len(receipts):,} prompts; it is in tree.npz")
    else:
        written += _dendrogram(job, target)
    if target.remote:
        target.put("identity.json", (target.folder / "identity.json").read_bytes())
    return written, notes


def _dendrogram(job: "Job", target: "Target") -> list[str]:
    """Write the tree, with the share that was saved where a threshold cuts it; return its file, if it has branches."""
    from generators.sharing.parting import is_parting
    from reports.figures.dendrogram import draw_tree
    from reports.style import save, theme

    assert job.plan
    assert job.tree
    saved = None if is_parting(job.tree, job.plan) else {float(job.config.tau): job.plan.savings}
    with theme():
        drawing = draw_tree(job.tree, job.source.prompts.prompts, saved)
        if drawing is None:
            return []
        for path in save(drawing, target.folder / DENDROGRAM):
            if target.remote:
                target.put(path.name, path.read_bytes())
    return [f"{DENDROGRAM}.png"]
