"""External images: the prompt that each is of, and their scores."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import atomic_path, atomic_write, canonical_json, input_file, parse_json, sha256_file, sha256_text
from common.pictures import MOST_PIXELS, SUFFIXES, is_blank, pixels_hash, read_picture
from generators.prompt_files import found_column
from generators.prompts import PromptSet, load_prompts, prompt_set
from metrics.over_seeds import pool_outcomes, pooled_difference
from metrics.pooled_similarity import pooled_similarity, pooled_similarity_difference
from metrics.scorer_audit import outside
from metrics.set_similarity import SetSimilarity
from metrics.statistics import Estimate
from reports.formats import harmless
from reports.frame import paired_metrics
from reports.paired_scores import is_score
from reports.pooling import COUNTS, as_result, averaged
from reusebench.pairing import COLUMNS, Pairing, by_column, by_names, by_table
from sweeps.delivery.official_files import PICTURES as OFFICIAL_PICTURES
from sweeps.delivery.official_files import Savings, read_savings
from sweeps.delivery.table import read_table
from sweeps.events import Emit
from sweeps.pictures import picture_name, write_pictures
from sweeps.record import Result
from sweeps.scorers import Scorers, measure, picture_notes, picture_results, results
from sweeps.scores import Scores, write_scores

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

FILE = "file"
SLACK = 0.01  # that numbers of pictures may lie outside of 0 to 1
SUMMARY = "scores.json"


@dataclass(frozen=True)
class Manifest:
    """Prompts, and where their file says so, the picture of each.

    Attributes:
        where: the file; of a known set, what it is called.
        prompts: in order.
        files: as they are named there, under `column`.
    """

    where: Path | str
    prompts: PromptSet
    files: tuple[str, ...] | None = None
    column: str = ""

    @classmethod
    def read(cls, path: Path, column: str | None = None) -> "Manifest":
        """Return the prompts of a file as in `load_prompts`; a column or key ``file`` names their pictures.

        That is found as people write it (``file_name``, ``Image``, ``path``), and by what is in it.

        Raises:
            UserError: as in `load_prompts`, several columns may be meant, or a line names no file.
        """
        prompts = load_prompts(path, column)
        named = _file_column(prompts.columns, str(path))
        if named is None:
            return cls(path, prompts)
        for number, name in enumerate(prompts.columns[named], 1):
            if not name.strip():
                raise UserError(f"{path}: prompt {number} names no picture", "give a file name relative to the folder")
        return cls(path, prompts, prompts.columns[named], named)

    @classmethod
    def known(cls, name: str) -> "Manifest":
        """Return the prompts of the known set of that name, with the errors of `prompt_set`."""
        return cls(f"the prompt set {name!r}", prompt_set(name))

    @property
    def origin(self) -> dict[str, str]:
        """Return where the prompts are from, and their hash, as plain values."""
        file = {"file": str(self.where.resolve())} if isinstance(self.where, Path) else {"dataset": self.prompts.name}
        return {**file, "sha256": self.prompts.hash}

    def pictures(self, folder: Path, unpacked: Path) -> Pairing:
        """Return the picture of every prompt, and what says so.

        They are the files that are named, else those of a folder's own table, which `bench generate` leaves, else those
        that its layout pairs (`by_names`). Of a folder that the
        paper's code left it is the rows of ``denoised_images.pt``, which are in prompt order; they are written to
        `unpacked`.

        Raises:
            UserError: a picture is missing or is none, or there are not as many as prompts.
        """
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}", "check the path")
        texts = self.prompts.prompts
        if self.files is not None:
            return by_column(folder, self.files, self.column, Path(self.where), texts)
        if (named := read_table(folder)) is not None:
            return by_table(folder, named, texts, self.where)
        if not (folder / OFFICIAL_PICTURES).is_file():
            return by_names(folder, texts, self.where)
        rows = _rows(folder / OFFICIAL_PICTURES)
        if len(rows) != len(texts):
            raise UserError(
                f"{folder / OFFICIAL_PICTURES} has {len(rows)} pictures, {self.where} has {len(texts)} prompts",
                "give the prompts that it was made of",
            )
        _unpack(rows, folder / OFFICIAL_PICTURES, unpacked)
        names = tuple(picture_name(row) for row in range(len(rows)))
        return Pairing([unpacked / "images" / name for name in names], names, f"the rows of {OFFICIAL_PICTURES}")


def _file_column(columns: Mapping[str, Sequence[str]], where: str) -> str | None:
    """Return the column that names pictures, by its name or, where no name is known, by what is in it."""
    if column := FILE if FILE in columns else found_column(COLUMNS, columns, where):
        return column
    named = [column for column, cells in columns.items() if all(map(_is_picture, cells))]
    if len(named) > 1:
        listed = ", ".join(map(repr, named))
        raise UserError(f"{where} has several columns of pictures: {listed}", f"call the one that is meant {FILE!r}")
    return named[0] if named else None


def _is_picture(cell: str) -> bool:
    return cell.strip().lower().endswith(SUFFIXES)


@dataclass(frozen=True)
class Seen:
    """What was seen of pictures in prompt order.

    Attributes:
        scores: what scorers measured.
        pixels: the hash of every picture's pixels.
        blank: which pictures are of one colour.
    """

    scores: Scores
    pixels: list[str]
    blank: list[bool]


def compared(scorers: Scorers, baseline: Seen, ours: Seen, prompts: Sequence[str]) -> dict[str, Result]:
    """Return the results of pictures beside others of the same prompts; equal pixels tie."""
    blank = sum(baseline.blank), sum(ours.blank)
    return {
        **results(scorers, baseline.scores, ours.scores, _same(baseline, ours)),
        **picture_results(baseline.pixels, ours.pixels, prompts, blank),
    }


def _same(baseline: Seen, ours: Seen) -> NDArray[np.bool_]:
    return np.array([one == other for one, other in zip(baseline.pixels, ours.pixels, strict=True)], dtype=np.bool_)


@dataclass(frozen=True)
class OverSeeds:
    """Pictures of the same prompts under several seeds, beside others of the same seeds: as one.

    Attributes:
        scorers: what measured all of them.
        baseline: of each seed.
        ours: likewise.
        prompts: the texts, of each seed the same.
        roots: the number of independent draws of noise that a seed's pictures begin from; None: of many.
        zones: by scorer, half the width of its zone of indifference, as claims have it; 0 where it has none.
    """

    scorers: Scorers
    baseline: Sequence[Seen]
    ours: Sequence[Seen]
    prompts: Sequence[str]
    roots: int | None
    zones: Mapping[str, float]

    @cached_property
    def same(self) -> NDArray[np.bool_]:
        """Which pictures are the baseline's [S, N]."""
        return np.array([_same(*pair) for pair in self._pairs])

    def values(self, scorer: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a scorer's score of each picture of the baseline and of ours, [S, N] each; one picture has one score.

        Raises:
            UserError: it does not measure one score a picture.
        """
        columns = [name for name, array in self.ours[0].scores.measured[scorer].items() if is_score(name, array)]
        if len(columns) != 1:
            raise UserError(f"{scorer} does not give each picture one score", "compare pictures by another scorer")
        theirs, ours = (
            np.array([seen.scores.measured[scorer][columns[0]] for seen in seeds], dtype=np.float64)
            for seeds in (self.baseline, self.ours)
        )
        return theirs, np.where(self.same, theirs, ours)

    def outcomes(self, scorer: str, zone: float | None = None) -> NDArray[np.float64]:
        """Return [S, N]: 1 where ours scores better, -1 where worse, 0 for a tie, as `reports.paired_scores.outcomes`.

        Args:
            scorer: one that gives each picture a score.
            zone: half the width of the zone of indifference; the scorer's own unless given.
        """
        theirs, ours = self.values(scorer)
        better = 1 if self.scorers.metrics[scorer].higher_is_better else -1
        return outside(better * (ours - theirs), self.zones.get(scorer, 0.0) if zone is None else zone)

    def results(self) -> dict[str, Result]:
        """Return the results over all seeds, with intervals that know what their pairs have in common.

        Win rates and their counts are as claims have them: a difference within a scorer's zone of indifference is a
        tie; ``win_rate_any_difference`` is the rate where none is. What has no pooled interval is averaged over seeds.
        """
        found = averaged([compared(self.scorers, *pair, self.prompts) for pair in self._pairs])
        for name in paired_metrics(list(found)):
            found.pop(f"{name}.win_rate_strict", None)
            found |= {f"{name}.{key}": as_result(value) for key, value in self._paired(name, found).items()}
            counts = zip(COUNTS, (1, 0, -1), strict=True)
            outcomes = self.outcomes(name)
            found |= {f"{name}.{key}": Result(value=int((outcomes == sign).sum())) for key, sign in counts}
        for name, metric in self.scorers.metrics.items():
            if isinstance(metric, SetSimilarity) and len(self.prompts) > 1:
                found |= {f"{name}.{key}": as_result(value) for key, value in self._similarity(name, metric).items()}
        return found

    def _paired(self, name: str, found: Mapping[str, Result]) -> dict[str, Estimate]:
        theirs, ours = self.values(name)
        one = Estimate(0.5, 0.5, 0.5, self.same.size, "identical pictures")
        rates = {"win_rate": self.outcomes(name), "win_rate_any_difference": self.outcomes(name, 0.0)}
        estimates = {
            key: one if self.same.all() else pool_outcomes(outcomes, self.roots).estimate()
            for key, outcomes in rates.items()
        }
        values = {"_difference": ours - theirs, "_mean": ours, "_mean_standard": theirs}
        for end, table in values.items():
            for known in (key for key in found if key.startswith(f"{name}.") and key.endswith(end)):
                estimates[known.partition(".")[2]] = pooled_difference(table, self.roots)
        return estimates

    def _similarity(self, name: str, metric: SetSimilarity) -> dict[str, Estimate]:
        """Return how alike a seed's pictures are to one another, and the difference, over all seeds."""
        column = metric.columns[0]
        theirs, ours = ([seen.scores.measured[name][column] for seen in seeds] for seeds in (self.baseline, self.ours))
        return {
            f"{column}_similarity": pooled_similarity([ours], n=metric.images),
            f"{column}_similarity_standard": pooled_similarity([theirs], n=metric.images),
            f"{column}_similarity_difference": pooled_similarity_difference(theirs, ours, n=metric.images),
        }

    @property
    def _pairs(self) -> list[tuple[Seen, Seen]]:
        return list(zip(self.baseline, self.ours, strict=True))


@dataclass(frozen=True)
class Pictures:
    """A folder's pictures in prompt order, what paired them with prompts, and what scorers measured of them."""

    folder: Path
    pairing: Pairing
    scores: Scores

    @classmethod
    def score(cls, folder: Path, pairing: Pairing, prompts: PromptSet, scorers: Scorers, emit: Emit) -> "Pictures":
        """Return pictures with their scores.

        Args:
            folder: where they lie.
            pairing: their files, in prompt order.
            prompts: what each is meant to show.
            scorers: what measures.
            emit: hears progress.
        """
        scores = Scores()
        for name, columns, about in measure(scorers, scorers.metrics, pairing.images, prompts.prompts, emit):
            scores.measured[name], scores.scorers[name] = columns, about
        return cls(folder, pairing, scores)

    @property
    def images(self) -> list[Path]:
        return self.pairing.images

    @property
    def savings(self) -> Savings | None:
        """Return what sharing saved of their denoiser steps, if the folder's ``savings.txt`` says it."""
        return self._saved[0]

    @cached_property
    def _saved(self) -> tuple[Savings | None, list[str]]:
        try:
            return read_savings(self.folder, len(self.images)), []
        except UserError as error:  # anyone's file may have that name
            return None, [f"{error.message}: it is left out"]

    @cached_property
    def hashes(self) -> list[str]:
        """Return the hash of every picture's file."""
        return [sha256_file(path) for path in self.images]

    @cached_property
    def seen(self) -> "Seen":
        """What comparing them needs: no file is read again."""
        read = [(pixels_hash(picture), is_blank(picture)) for picture in map(read_picture, self.images)]
        return Seen(self.scores, [pixels for pixels, _ in read], [blank for _, blank in read])

    def notes(self, prompts: PromptSet) -> list[str]:
        """Return in words what is odd about the pictures; mostly nothing."""
        odd = picture_notes(self.seen.pixels, self.seen.blank, prompts.prompts)
        return [*(f"{self.folder}: {note}" for note in odd), *self._saved[1]]

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
        by_name = compared(self.scorers, baseline.seen, self.ours.seen, self.manifest.prompts.prompts)
        if self.baseline is None:
            return {name: result for name, result in by_name.items() if f"{name}_standard" in by_name}
        return by_name

    def summary(self) -> dict[str, Any]:
        """Return the pictures, the scorers and the results, as plain values."""
        return {
            **places(self.manifest, self.ours.folder, self.baseline.folder if self.baseline else None),
            "pictures": len(self.ours.images),
            "pairing": self.ours.pairing.described(),
            "against_pairing": self.baseline.pairing.described() if self.baseline else None,
            "savings": self.ours.savings and self.ours.savings.described(),
            "against_savings": self.baseline and self.baseline.savings and self.baseline.savings.described(),
            "notes": self.notes(),
            "scorers": self.scorers.described(self.ours.scores.scorers),
            "figures": {name: json.loads(result.model_dump_json()) for name, result in self.results().items()},
        }

    def notes(self) -> list[str]:
        """Return in words what is odd about the pictures; mostly nothing."""
        sets = [self.ours, *([self.baseline] if self.baseline else [])]
        return [note for pictures in sets for note in pictures.notes(self.manifest.prompts)]

    def write(self, out: Path, summary: dict[str, Any]) -> None:
        """Write ``scores.csv`` with a row a prompt, ``scores.parquet`` as in a run folder, and the summary."""
        with atomic_path(out / "scores.csv") as beside:
            self._table().map(harmless).to_csv(beside, index=False)
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
            columns[f"{before}{FILE}"] = pictures.pairing.names
            for scorer, measured in pictures.scores.measured.items():
                columns |= {f"{before}{scorer}.{name}": column for name, column in measured.items() if column.ndim == 1}
        return pd.DataFrame(columns)


def places(manifest: Manifest, folder: Path, against: Path | None) -> dict[str, Any]:
    """Return the paths of pictures and prompts, as plain values."""
    return {
        "folder": str(folder.resolve()),
        "against": against and str(against.resolve()),
        "prompts": manifest.origin,
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


def _rows(path: Path) -> "Tensor":
    """Return the tensor of pictures [N, 3, H, W], 0 to 1, of any float type."""
    import torch

    input_file(path, most=sys.maxsize)
    try:
        rows = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever a damaged file makes torch raise
        raise UserError(f"cannot read {path}: {str(error).partition(chr(10))[0]}", "save it again") from error
    hint = "give a folder of picture files instead"
    if not isinstance(rows, torch.Tensor) or rows.ndim != 4 or rows.shape[1] != 3 or not rows.is_floating_point():
        raise UserError(f"{path} holds no pictures [N, 3, H, W], from 0 to 1", hint)
    height, width = rows.shape[2:]
    if height * width > MOST_PIXELS:
        raise UserError(f"{path} holds pictures of {width:,} x {height:,} pixels", f"{MOST_PIXELS:,} are the most")
    if rows.layout != torch.strided or rows.numel() * rows.element_size() > path.stat().st_size:
        raise UserError(f"{path} claims more pictures than it holds", hint)  # one row that stands for many
    return rows


def _unpack(rows: "Tensor", path: Path, folder: Path) -> None:
    """Write every row as a PNG file, rounded as torchvision rounds.

    Raises:
        UserError: a row of the file at `path` is no picture.
    """
    for number, row in enumerate(rows, 1):
        lowest, highest = (float(end) for end in row.float().aminmax())
        if not (isfinite(lowest) and isfinite(highest)):
            raise UserError(
                f"picture {number} of {path} is none: its numbers overflowed", "make it again in bf16 or fp32"
            )
        if lowest < -SLACK or highest > 1 + SLACK:
            raise UserError(
                f"picture {number} of {path} has numbers from {lowest:.3g} to {highest:.3g}",
                "save pictures whose numbers are from 0 to 1",
            )
    for number, row in enumerate(rows):
        pixels = (row.float() * 255 + 0.5).clamp(0, 255).byte().permute(1, 2, 0)
        write_pictures(folder, [number], pixels[None].numpy())
