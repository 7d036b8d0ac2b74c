"""The third pass: scorers measure every folder of pictures, once; no picture is made and no model needed."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, without_frames
from common.files import unwritable
from common.plugins import no_exit
from sweeps.events import Emit, Note
from sweeps.pictures import Manifest, blank_pictures, read_manifest, same_pictures
from sweeps.record import AGAIN, SCORES, Record
from sweeps.scorers import Scorers, measure
from sweeps.scores import Scores, read_scores, same_scorer, write_scores


@dataclass(frozen=True)
class Scored:
    """A folder of pictures, what made them and what was measured of them.

    Attributes:
        new: whether anything was measured now.
        seconds: of measuring.
    """

    manifest: Manifest
    scores: Scores
    new: bool
    seconds: float


@dataclass(frozen=True)
class Compared:
    """A record's pictures beside its baseline's.

    Attributes:
        record: what was known of it before.
        same: bool [N], True for pictures that are the baseline's: their files have the same hash.
        prompts: what the pictures are meant to show [N].
    """

    record: Record
    ours: Scored
    baseline: Scored
    same: NDArray[np.bool_]
    prompts: tuple[str, ...]


def score(
    run: Path,
    records: Sequence[Record],
    scorers: Mapping[str, Scorers],
    emit: Emit,
    *,
    manifests: Mapping[Path, Manifest | Exception] = MappingProxyType({}),
    again: bool = False,
) -> Iterator[tuple[Record, Compared | Exception]]:
    """Measure the pictures of records and of their baselines where that was not done yet.

    Args:
        run: the run folder, held by this process.
        records: what is known of them so far: a job's (`Job.record`), or those of a finished run.
        scorers: by model, what measures.
        manifests: by folder, what is known to be whole; elsewhere every picture is verified by its hash.
        again: measure even what is there.

    Yields:
        Each record, in order, with its pictures beside its baseline's and their scores, or with the error.
    """
    scoring = _Scoring(run, scorers, emit, dict(manifests), again)
    try:
        for before, record in zip([None, *records], records, strict=False):
            if before and before.config.model != record.config.model:
                scorers[before.config.model].release()
            try:
                with no_exit():
                    found = scoring.compared(record)
                yield record, found
            except Exception as error:
                if unwritable(error):
                    raise
                yield record, without_frames(error)
    finally:
        for measuring in scorers.values():
            measuring.release()


@dataclass
class _Scoring:
    """The folders of one run: one of baselines serves many records, and is scored once."""

    run: Path
    scorers: Mapping[str, Scorers]
    emit: Emit
    manifests: dict[Path, Manifest | Exception]
    again: bool
    _baselines: dict[Path, Scored | Exception] = field(default_factory=dict)

    def compared(self, record: Record) -> Compared:
        """Return a record's pictures beside its baseline's.

        Raises:
            UserError: a picture or another file is missing or damaged, or cannot be scored.
        """
        model, beside = record.config.model, record.baseline_folder(self.run)
        self._manifest(beside)  # what is known of the pictures comes before what their folder holds
        prompts = tuple(record.prompts(self.run))
        folder = record.made(self.run)
        for lost in {beside / SCORES, folder / SCORES} if record.scored else ():
            if lost.parent not in self._baselines and not os.path.lexists(lost):
                self.emit(Note(f"the scores {lost} are missing: measured again"))
        baseline = self._baseline(model, beside, prompts)
        if record.images is not None:  # another source's baseline
            ours = self._baseline(model, folder, prompts)
            same = same_pictures(ours.manifest.images, baseline.manifest.images)
            return Compared(record, ours, baseline, same, prompts)
        manifest = self._manifest(folder)
        if manifest.baseline != baseline.manifest.hash:
            raise UserError(f"the baseline of cell {record.id} was made again after its own pictures", AGAIN)
        same = same_pictures(manifest.images, baseline.manifest.images)
        ours = self._scored(model, folder, manifest, prompts, baseline.scores, same)
        return Compared(record, ours, baseline, same, prompts)

    def _baseline(self, model: str, folder: Path, prompts: tuple[str, ...]) -> Scored:
        """Return a folder of baselines; where they cannot be scored, all records beside it fail for the same reason."""
        if folder not in self._baselines:
            try:
                with no_exit():
                    self._baselines[folder] = self._scored(model, folder, self._manifest(folder), prompts)
            except Exception as error:
                self._baselines[folder] = without_frames(error)
        if isinstance(scored := self._baselines[folder], Exception):
            raise scored
        return scored

    def _manifest(self, folder: Path) -> Manifest:
        if folder not in self.manifests:
            self.manifests[folder] = whole_pictures(folder)
        if isinstance(manifest := self.manifests[folder], Exception):
            raise manifest
        if manifest.blank is None:
            manifest = manifest.model_copy(update={"blank": blank_pictures(folder, manifest.images)})
            self.manifests[folder] = manifest
        return manifest

    def _scored(
        self,
        model: str,
        folder: Path,
        manifest: Manifest,
        prompts: tuple[str, ...],
        baseline: Scores | None = None,
        same: NDArray[np.bool_] | None = None,
    ) -> Scored:
        """Measure what is missing; a picture that is the baseline's has the baseline's scores."""
        start, scorers = time.perf_counter(), self.scorers[model]
        scores = read_scores(folder, manifest.hash, lambda what: self.emit(Note(f"{what}: measured again")))
        known = {} if self.again else scores.scorers
        missing = [name for name, identity in scorers.identities.items() if not same_scorer(known.get(name), identity)]
        own = np.ones(len(prompts), dtype=np.bool_) if same is None else ~same
        rows, names = np.flatnonzero(own).tolist(), list(manifest.images)
        images = [folder / "images" / names[row] for row in rows]
        for name, columns, about in measure(scorers, missing, images, [prompts[row] for row in rows], self.emit, model):
            if baseline:
                # not measured again: equal files must tie, also by a scorer that is not the same bits in every batch
                whole = {column: values.copy() for column, values in baseline.measured[name].items()}
                for column in columns.keys() & whole.keys():  # the baseline's may be of an earlier version
                    whole[column][own] = columns[column]
                columns = whole
            scores.measured[name], scores.scorers[name] = columns, about
            write_scores(folder, prompts, scores, manifest.hash)
        return Scored(manifest, scores, self.again or bool(missing), time.perf_counter() - start)


def whole_pictures(folder: Path) -> Manifest:
    """Return the manifest of a folder whose pictures are all what was written.

    Raises:
        UserError: one is missing or damaged, or none was made.
    """
    damages: list[str] = []
    manifest = read_manifest(folder, damages.append)
    if manifest is None:
        raise UserError(damages[0] if damages else f"{folder} has no finished pictures", AGAIN)
    return manifest
