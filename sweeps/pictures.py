"""A folder of pictures that is complete or not there: images, and a manifest that says what made them."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from common.files import atomic_write, canonical_json, sha256_file, sha256_text
from common.pictures import is_blank, opened
from sweeps.record import ExecutionStats, Part, PlanCost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MANIFEST = "generation.json"


class Manifest(Part):
    """The manifest of a folder's pictures, which are complete when it is there, and whole when their hashes agree.

    Attributes:
        images: hashes by file name.
        blank: the names of pictures of one colour; None: an earlier release did not look.
    """

    images: dict[str, str]
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


def picture_hashes(folder: Path) -> dict[str, str]:
    """Return the hashes of a folder's pictures as its manifest has them; nothing where there is no readable one."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8")).images
    except (OSError, ValueError):
        return {}


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
    return f"{prompt:05d}.png"


def read_manifest(folder: Path, on_damage: Callable[[str], None]) -> Manifest | None:
    """Return the manifest of a folder whose pictures are all whole, or None if they have to be made.

    Every picture is hashed: `on_damage` hears of one that is not what was made, and it is not scored.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        on_damage(f"{path} is damaged")
        return None
    for name, expected in manifest.images.items():
        picture = folder / "images" / name
        if not picture.is_file() or sha256_file(picture) != expected:
            on_damage(f"{picture} is {'damaged' if picture.exists() else 'missing'}")
            return None
    return manifest


def clear(folder: Path) -> None:
    """Remove pictures and their manifest, the manifest first."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder / "images", ignore_errors=True)


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
    write_files(folder, prompts, map(png, pixels))


def png(pixels: "NDArray[np.uint8]") -> bytes:
    """Return one picture [H, W, 3] as the bytes of a PNG file."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_files(folder: Path, prompts: Iterable[int], files: Iterable[bytes]) -> None:
    """Write PNG files named by prompt number."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for prompt, file in zip(prompts, files, strict=True):
        (images / picture_name(prompt)).write_bytes(file)


def reuse_pictures(folder: Path, baseline: Path, prompts: Iterable[int]) -> None:
    """Put the baseline's pictures of these prompts into `folder`, in place of any that are there."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for prompt in prompts:
        link(baseline / "images" / picture_name(prompt), images / picture_name(prompt))


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` where the disk can, else a copy."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def finish(folder: Path, n_prompts: int, make: Callable[[dict[str, str]], Manifest]) -> Manifest:
    """Hash the pictures and write their manifest, which `make` gives for the hashes by file name: it is complete."""
    names = [picture_name(prompt) for prompt in range(n_prompts)]
    manifest = make({name: sha256_file(folder / "images" / name) for name in names})
    atomic_write(folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    return manifest
