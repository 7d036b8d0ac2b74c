"""The files that the paper's released code leaves of a run, and programs written for it read: pictures and savings.

Facts of ddecatur/hierarchical-diffusion at 62b43d7, ``main.py``: ``denoised_images.pt`` is one tensor [N, 3, H, W] from
0 to 1, float16 of up to 32 prompts and float32 of more, in prompt order; ``savings.txt`` is one line of two counts.
"""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import atomic_path, atomic_write, input_file, make_folder, path_beside
from common.pictures import read_picture

PICTURES, SAVINGS = "denoised_images.pt", "savings.txt"
COUNTS = re.compile(r"Total steps: (\d{1,18}), Standard total steps: (\d{1,18})\s*")
LONGEST = 1000  # bytes of a file of two counts


@dataclass(frozen=True)
class Savings:
    """The denoiser evaluations of a run.

    Attributes:
        node_steps: of all nodes, each of which is one row a step.
        baseline_node_steps: of the same pictures without sharing.

    Examples:
        >>> Savings(84, 100).text
        'Total steps: 84, Standard total steps: 100'
        >>> Savings(84, 100).savings
        0.16
    """

    node_steps: int
    baseline_node_steps: int

    @property
    def savings(self) -> float:
        """Return the share of the evaluations that sharing saved, 0 to 1."""
        return round(1 - self.node_steps / self.baseline_node_steps, 12)

    @property
    def text(self) -> str:
        """Return them as ``savings.txt`` has them."""
        return f"Total steps: {self.node_steps}, Standard total steps: {self.baseline_node_steps}"

    def described(self) -> dict[str, float]:
        """Return them as plain values."""
        return {**asdict(self), "savings": self.savings}


def read_savings(folder: Path, pictures: int) -> Savings | None:
    """Return what a folder's ``savings.txt`` says of its pictures; None where there is none.

    Args:
        folder: of the pictures.
        pictures: as many as it holds: each takes the same number of steps without sharing.

    Raises:
        UserError: it says something else, or is of another number of pictures.
    """
    path = folder / SAVINGS
    if not path.is_file():
        return None
    try:
        said = COUNTS.fullmatch(input_file(path, LONGEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}", "move it away") from error
    if said is None:
        raise UserError(f"{path} does not say what the released code's says", f"it is like {Savings(84, 100).text!r}")
    found = Savings(*map(int, said.groups()))
    if not 0 < found.node_steps <= found.baseline_node_steps or found.baseline_node_steps % pictures:
        what = f"{path} is not of {pictures} pictures: {found.text}"
        raise UserError(what, "move it away, or give the prompts that the pictures were made of")
    return found


def write_savings(folder: Path, savings: Savings) -> str:
    """Write ``savings.txt``, and return its name."""
    atomic_write(folder / SAVINGS, savings.text)
    return SAVINGS


def write_pictures(folder: Path, count: int, read: Callable[[int], Path | bytes]) -> str:
    """Write ``denoised_images.pt``, and return its name: float32 [count, 3, H, W], the pixels of files divided by 255.

    Memory holds one picture: the others wait in a file.

    Args:
        folder: to write to.
        count: of the pictures, all of one size.
        read: returns each one's file, or what is in it.

    Raises:
        UserError: a picture cannot be read.
        OSError: the disk cannot be written.
    """
    import torch

    make_folder(folder)
    raw = path_beside(folder / "pictures.raw")
    try:
        height = width = 0
        with raw.open("wb") as rows:
            for number in range(count):
                file = read(number)
                pixels = np.asarray(read_picture(file if isinstance(file, Path) else BytesIO(file)))
                height, width, _ = pixels.shape
                rows.write((pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)).tobytes())
        shape = (count, 3, height, width)
        with atomic_path(folder / PICTURES) as beside:
            torch.save(torch.from_file(str(raw), size=int(np.prod(shape)), dtype=torch.float32).view(shape), beside)
    finally:
        raw.unlink(missing_ok=True)
    return PICTURES
