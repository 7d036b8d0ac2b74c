"""A folder of pictures that is complete or not there: images, and a manifest that says what made them."""

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from common.errors import UserError
from common.files import canonical_json, make_folder, read_sealed, sha256_text, write_sealed
from common.pictures import is_blank, opened
from sweeps.delivery.files import IMAGES, PLAIN, PictureFiles
from sweeps.delivery.formats import PNG
from sweeps.record import RECORD, ExecutionStats, Part, PlanCost, read_record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MANIFEST, PLAN, TREE = "generation.json", "plan.npz", "tree.npz"


class Manifest(Part):
    """The manifest of a folder's pictures, which are complete when it is there, and whole when their hashes agree.

    Attributes:
        images: by file name, the SHA-256 of every picture.
        id: the cell or, of a baseline, the source that they are of; empty in manifests of earlier versions.
        files: the SHA-256 of the plan and the tree beside it; none in manifests of earlier versions.
        baseline: the hash of the baseline's pictures that some of these may be.
        blank: the names of pictures of one colour; None: an earlier version did not look.
    """

    images: dict[str, str]
    id: str = ""
    files: dict[str, str] = Field(default_factory=dict)
    blank: list[str] | None = None
    plan: PlanCost
    execution: ExecutionStats = ExecutionStats()
    timings: dict[str, float] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)
    hub: dict[str, str] = Field(default_factory=dict)
    baseline: str | None = None
    joules: float | None = None

    @property
    def hash(self) -> str:
        """Return one hash of all pictures."""
        return sha256_text(canonical_json(self.images))


def known_manifest(folder: Path) -> Manifest | None:
    """Return a folder's manifest, whose pictures nobody looks at here; None where there is no whole one of its own."""
    try:
        manifest = load_manifest(folder)
    except (OSError, ValueError):
        return None
    return manifest if manifest.id in ("", folder.name) else None


def load_manifest(folder: Path) -> Manifest:
    """Return a folder's manifest.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is damaged.
    """
    try:
        return Manifest.model_validate(read_sealed(folder / MANIFEST)[0])
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def picture_hashes(folder: Path) -> dict[str, str]:
    """Return the hashes of a folder's pictures as its manifest has them; nothing where there is no readable one."""
    manifest = known_manifest(folder)
    return manifest.images if manifest else {}


def same_pictures(ours: Mapping[str, str], baseline: Mapping[str, str]) -> "NDArray[np.bool_]":
    """Return a mask of the pictures that are the baseline's, bool [N]: their hashes in the two manifests are equal.

    It is the only rule there is: however a picture was made, and whatever its plan says, it ties with itself.

    Examples:
        >>> same_pictures({"00000.png": "ab", "00001.png": "cd"}, {"00000.png": "ab", "00001.png": "ef"}).tolist()
        [True, False]
    """
    import numpy as np

    return np.array([baseline.get(name) == content for name, content in ours.items()], dtype=np.bool_)


def picture_name(prompt: int) -> str:
    """Return the file name of a prompt's picture; names sort as prompts do.

    Examples:
        >>> picture_name(7)
        '00007.png'
    """
    return PLAIN.name(prompt)


def read_manifest(
    folder: Path, on_damage: Callable[[str], None], of: str | None = None, files: PictureFiles = PLAIN
) -> Manifest | None:
    """Return the manifest of a folder whose pictures are all whole, or None if they have to be made.

    Every picture is hashed: `on_damage` hears of one that is not what was made, and it is not scored.

    Args:
        folder: where they lie.
        on_damage: hears what is wrong.
        of: the cell or source that they are to be of; that of the folder's name unless given.
        files: what they are called, and where they lie if that is elsewhere.
    """
    path = folder / MANIFEST
    try:
        manifest = load_manifest(folder)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        on_damage(f"{path} is damaged")
        return None
    if manifest.id and manifest.id != (of or folder.name):
        on_damage(f"{path} is of another cell, {manifest.id}")
        return None
    images = files.images(folder)
    for name, fault in images.faults(manifest.images):
        on_damage(f"{images.place(name)} is {fault}")
        return None
    return manifest


def clear(folder: Path, keep: Collection[int] = (), files: PictureFiles = PLAIN) -> None:
    """Remove pictures and their manifest, the manifest first; the folder for pictures is there then.

    Args:
        folder: as in `reopen`, with the same errors.
        keep: prompts whose pictures stay.
        files: what they are called, and where they lie if that is elsewhere.
    """
    reopen(folder)
    if not keep:
        files.forget(folder)
    files.images(folder).keep(set(map(files.name, keep)))


def reopen(folder: Path) -> None:
    """Remove the manifest of pictures, so that others can be made; the folder for pictures is there then.

    A record that says which pictures it describes stays, in case no others can be made; one of an earlier version would
    be taken for the new ones', and goes first.

    Raises:
        OSError: something stands there that is no file, or no folder, of ours.
    """
    try:
        tied = bool(read_record(folder / RECORD).picture_sets)
    except UserError:
        tied = False
    if not tied:
        (folder / RECORD).unlink(missing_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    make_folder(folder / IMAGES)


def blank_pictures(folder: Path, names: Iterable[str]) -> list[str]:
    """Return the names of the PNG files in a folder's ``images`` that are of one colour.

    Deflate makes a thousandth of those: only files that are small enough to be one are read whole.

    Raises:
        UserError: one cannot be read.
    """
    blank = []
    for name in names:
        path = folder / "images" / name
        with opened(path) as picture:
            if path.stat().st_size <= 1000 + picture.width * picture.height // 50 and is_blank(picture):
                blank.append(name)
    return blank


def write_pictures(folder: Path, prompts: Iterable[int], pixels: "NDArray[np.uint8]") -> None:
    """Write the rows of `pixels` [B, H, W, 3] as PNG files named by prompt number."""
    for prompt, picture in zip(prompts, pixels, strict=True):
        PLAIN.write(folder, prompt, PNG.encode(picture))


def reuse_pictures(folder: Path, baseline: Path, prompts: Iterable[int]) -> None:
    """Put the baseline's pictures of these prompts into `folder`, in place of any that are there."""
    images = folder / "images"
    make_folder(images)
    for prompt in prompts:
        link(baseline / "images" / picture_name(prompt), images / picture_name(prompt))


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` where the disk can, else a copy."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def finish(
    folder: Path, prompts: Iterable[int], make: Callable[[dict[str, str]], Manifest], files: PictureFiles = PLAIN
) -> Manifest:
    """Write the manifest of a folder's pictures, which `make` gives for their hashes by file name: it is complete.

    `prompts` are those that have one, by their place in the set, ascending.
    """
    names = [files.name(prompt) for prompt in prompts]
    manifest = make(files.hashes(folder, names))
    write_sealed(folder / MANIFEST, json.loads(manifest.model_dump_json()))
    return manifest
