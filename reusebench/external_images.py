"""External images: the prompt that each is of, and their scores."""

import csv
import json
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError
from common.files import atomic_path, atomic_write, canonical_json, input_file, parse_json, sha256_file, sha256_text
from generators.prompts import PromptSet, load_prompts
from metrics.images import read_picture
from sweeps.events import Emit
from sweeps.pictures import picture_name, write_pictures
from sweeps.record import Result
from sweeps.scorers import Scorers, measure, picture_results, results
from sweeps.scores import Scores, write_scores

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
OFFICIAL = "denoised_images.pt"  # what the paper's code leaves, beside a grid of the first of its pictures
FILE = "file"
SUMMARY = "scores.json"
MOST_PIXELS = 1 << 26  # of a picture: 8,192 x 8,192


@dataclass(frozen=True)
class Manifest:
    """Prompts, and where their file says so, the picture of each: names relative to the folder of pictures."""

    path: Path
    prompts: PromptSet
    files: tuple[str, ...] | None

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Return the prompts of a file as in `load_prompts`; a column or key ``file`` names their pictures.

        Raises:
            UserError: as in `load_prompts`, or a line names no file.
        """
        prompts, rows = load_prompts(path), list[dict[str, Any]]()
        with path.open(encoding="utf-8-sig", errors="replace") as lines:
            if path.suffix.lower() == ".csv":
                rows = list(csv.DictReader(lines))
            elif path.suffix.lower() == ".jsonl":
                rows = [parse_json(line) for line in lines]
        if not any(FILE in row for row in rows):
            return cls(path, prompts, None)
        for number, row in enumerate(rows, 1):
            if not isinstance(name := row.get(FILE), str) or not name or Path(name).is_absolute():
                raise UserError(f"{path}: prompt {number} names no picture", "give a file name relative to the folder")
        return cls(path, prompts, tuple(row[FILE] for row in rows))

    def pictures(self, folder: Path, unpacked: Path) -> list[Path]:
        """Return the picture of every prompt.

        They are the files that are named, else the folder's PNG, JPEG and WebP files in the natural order of their
        names (2 before 10). Of a folder that the paper's code left it is the rows of ``denoised_images.pt``, which are
        in prompt order; they are written to `unpacked`.

        Raises:
            UserError: a picture is missing, or there are not as many as prompts.
        """
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}", "check the path")
        official = self.files is None and (folder / OFFICIAL).is_file()
        if self.files is not None:
            paths = [folder / name for name in self.files]
            if missing := [path for path in paths if not path.is_file()]:
                raise UserError(
                    f"{missing[0]}, which {self.path} names, is missing", "names are relative to the folder"
                )
        elif official:
            rows = _rows(folder / OFFICIAL)
            paths = [unpacked / "images" / picture_name(row) for row in range(len(rows))]
        else:
            names = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "."]
            paths = sorted(names, key=lambda path: (_natural(path.name), path.name))
        if len(paths) != len(self.prompts):
            first = ", ".join(path.name for path in paths[:3]) or "none"
            raise UserError(
                f"{folder} has {len(paths)} pictures (first: {first}), {self.path} has {len(self.prompts)} prompts",
                f"make them agree, or name each prompt's picture in a column {FILE!r} of a .csv or .jsonl file",
            )
        if official:
            _unpack(rows, unpacked)
        return paths


@dataclass(frozen=True)
class Pictures:
    """A folder's pictures in prompt order, and what scorers measured of them."""

    folder: Path
    images: list[Path]
    scores: Scores

    @classmethod
    def score(cls, folder: Path, images: list[Path], prompts: PromptSet, scorers: Scorers, emit: Emit) -> "Pictures":
        """Return pictures with their scores.

        Args:
            folder: where they lie.
            images: their files, in prompt order.
            prompts: what each is meant to show.
            scorers: what measures.
            emit: hears progress.
        """
        scores = Scores()
        for name, columns, about in measure(scorers, scorers.metrics, images, prompts.prompts, emit):
            scores.measured[name], scores.scorers[name] = columns, about
        return cls(folder, images, scores)

    @cached_property
    def hashes(self) -> list[str]:
        """Return the hash of every picture's file."""
        return [sha256_file(path) for path in self.images]

    @cached_property
    def contents(self) -> list[str]:
        """Return the hash of every picture's pixels: two files of one picture may differ in all else."""
        pictures = map(read_picture, self.images)
        return [sha256_text(f"{picture.size} {picture.tobytes().hex()}") for picture in pictures]

    def write_scores(self, folder: Path, prompts: PromptSet) -> None:
        """Write ``scores.parquet`` as in a run folder."""
        write_scores(folder, prompts.prompts, self.scores, sha256_text(canonical_json(self.hashes)))


@dataclass(frozen=True)
class Comparison:
    """Pictures of some prompts, alone or against others of the same prompts.

    Attributes:
        manifest: the prompts.
        ours: the pictures.
        baseline: those they are compared with.
        scorers: what measured them.
    """

    manifest: Manifest
    ours: Pictures
    baseline: Pictures | None
    scorers: Scorers

    def results(self) -> dict[str, Result]:
        """Return the results that a cell would have; of pictures alone, those that describe one set of pictures.

        They are those that metrics also give of the baseline, under a name that ends in ``_standard``.
        """
        baseline = self.baseline or self.ours
        same = np.array(baseline.hashes) == np.array(self.ours.hashes)
        by_name = {
            **results(self.scorers, baseline.scores, self.ours.scores, same),
            **picture_results(baseline.contents, self.ours.contents, self.manifest.prompts.prompts),
        }
        if self.baseline is None:
            return {name: result for name, result in by_name.items() if f"{name}_standard" in by_name}
        return by_name

    def summary(self) -> dict[str, Any]:
        """Return the pictures, the scorers and the results, as plain values."""
        return {
            **places(self.manifest, self.ours.folder, self.baseline.folder if self.baseline else None),
            "pictures": len(self.ours.images),
            "scorers": self.scorers.described(self.ours.scores.scorers),
            "figures": {name: json.loads(result.model_dump_json()) for name, result in self.results().items()},
        }

    def write(self, out: Path, summary: dict[str, Any]) -> None:
        """Write ``scores.csv`` with a row a prompt, ``scores.parquet`` as in a run folder, and the summary."""
        with atomic_path(out / "scores.csv") as beside:
            self._table().to_csv(beside, index=False)
        self.ours.write_scores(out, self.manifest.prompts)
        if self.baseline:
            self.baseline.write_scores(out / "against", self.manifest.prompts)
        atomic_write(out / SUMMARY, json.dumps(summary, indent=1) + "\n")

    def _table(self) -> "pd.DataFrame":
        """Return every score that is one number a picture."""
        import pandas as pd

        columns: dict[str, Any] = {"prompt": self.manifest.prompts.prompts}
        for before, pictures in (("", self.ours), ("against ", self.baseline)):
            if pictures is None:
                continue
            columns[f"{before}{FILE}"] = self.manifest.files or [path.name for path in pictures.images]
            for scorer, measured in pictures.scores.measured.items():
                columns |= {f"{before}{scorer}.{name}": column for name, column in measured.items() if column.ndim == 1}
        return pd.DataFrame(columns)


def places(manifest: Manifest, folder: Path, against: Path | None) -> dict[str, Any]:
    """Return the paths of pictures and prompts, as plain values."""
    return {
        "folder": str(folder.resolve()),
        "against": against and str(against.resolve()),
        "prompts": {"file": str(manifest.path.resolve()), "sha256": manifest.prompts.hash},
    }


def refuse_others(out: Path, places: dict[str, Any]) -> None:
    """Raise a UserError if a folder holds scores of other pictures or prompts."""
    try:
        held = parse_json((out / SUMMARY).read_text(encoding="utf-8"))
        differs = [name for name in places if held.get(name) != places[name]]
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError):
        differs = ["content"]
    if differs:
        raise UserError(
            f"{out} holds scores of other pictures: it differs in {', '.join(differs)}",
            "choose another --out, or move that folder away",
        )


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers by value and the rest by letter."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _rows(path: Path) -> "Tensor":
    """Return the tensor of pictures [N, 3, H, W], 0 to 1, of any float type."""
    import torch

    input_file(path, most=sys.maxsize)
    try:
        rows = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever a damaged file makes torch raise
        raise UserError(f"cannot read {path}: {str(error).partition(chr(10))[0]}", "save it again") from error
    hint = "give a folder of picture files instead"
    if not isinstance(rows, torch.Tensor) or rows.ndim != 4 or rows.shape[1] != 3:
        raise UserError(f"{path} holds no pictures [N, 3, H, W]", hint)
    height, width = rows.shape[2:]
    if height * width > MOST_PIXELS:
        raise UserError(f"{path} holds pictures of {width:,} x {height:,} pixels", f"{MOST_PIXELS:,} are the most")
    if rows.layout != torch.strided or rows.numel() * rows.element_size() > path.stat().st_size:
        raise UserError(f"{path} claims more pictures than it holds", hint)  # one row that stands for many
    return rows


def _unpack(rows: "Tensor", folder: Path) -> None:
    """Write every row as a PNG file, rounded as torchvision rounds."""
    for number, row in enumerate(rows):
        pixels = (row.float() * 255 + 0.5).clamp(0, 255).byte().permute(1, 2, 0)
        write_pictures(folder, [number], pixels[None].numpy())
