"""Scores the pictures that a run folder has: no model is loaded and no picture is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import canonical_json, sha256_text
from generators.catalogue import ModelEntry, model
from generators.sharing.plan import SharingPlan
from sweeps.events import CellScored, Emit
from sweeps.pictures import Generation, read_generation
from sweeps.record import Record, load_records
from sweeps.scores import Scores
from sweeps.scoring import NONE, Scorers, figures, score_folder
from sweeps.source_run import PLAN
from sweeps.store import open_store, saved_spec

AGAIN = "run the same sweep again: it makes the cell anew"


@dataclass(frozen=True)
class Scored:
    """A folder of whole pictures and what was measured of them."""

    generation: Generation
    scores: Scores


def rescore(
    folder: Path, asked: Sequence[str], device: str, emit: Emit, *, again: bool = False
) -> list[tuple[Record, UserError]]:
    """Measure the pictures of a run's finished cells and bring their records up to date.

    What the same scorer measured of the same pictures is used again; figures are made anew from all that is there,
    and those of other scorers stay. A scorer keeps the name that it has in the run.

    Args:
        folder: a run folder; it is held meanwhile.
        asked: as in `Scorers`; where nothing is asked for, the scorers that the sweep asked for.
        device: where the metrics run.
        emit: hears progress.
        again: measure even what is there.

    Returns:
        Cells that could not be scored, and why; their records are as they were.

    Raises:
        UserError: the folder is no run, another process's, or has no finished cell; or a scorer cannot be had.
    """
    spec = saved_spec(folder)
    with open_store(folder, spec) as store:
        records = [record for record in load_records(folder) if record.status == "done"]
        if not records:
            raise UserError(f"{folder} has no finished cell", "run the same sweep again")
        scorers = _scorers(records, asked or [text for text in spec.metric if text != NONE], device)
        rescoring, failures = Rescoring(folder, scorers, emit, again), list[tuple[Record, UserError]]()
        for number, record in enumerate(records, 1):
            try:
                scored = rescoring.record(record)
            except UserError as error:
                failures.append((record, error))
                emit(CellScored(record, number, len(records), error))
            else:
                if scored != record:
                    store.save(scored)
                emit(CellScored(scored, number, len(records)))
        return failures


class Rescoring:
    """Scores the cells of one run; a folder of standard images serves many."""

    def __init__(self, run: Path, scorers: Mapping[str, Scorers], emit: Emit, again: bool) -> None:
        self.run, self.scorers, self.emit, self.again = run, scorers, emit, again
        self._shared: dict[Path, Scored | UserError] = {}

    def record(self, record: Record) -> Record:
        """The record with the figures of its model's scorers.

        Raises:
            UserError: a picture or another file is missing or damaged, or cannot be scored.
        """
        scorers, prompts = self.scorers[record.asked.model], self._prompts(record)
        standard = self._scored(record.standard_scores(self.run).parent, scorers, prompts)
        folder = record.made(self.run)
        if record.images is None:
            generation = whole(folder)
            if generation.standard != standard.generation.hash:
                raise UserError(f"the standard images of cell {record.id} were made anew after its own", AGAIN)
            same = _same(folder, generation, standard.generation)
            ours = score_folder(
                folder, generation, prompts, scorers, self.emit, standard=(standard.scores, same), again=self.again
            )
        else:
            made = self._scored(folder, scorers, prompts)
            same, ours = _same(folder, made.generation, standard.generation), made.scores
        return updated(record, scorers, standard.scores, ours, same)

    def _scored(self, folder: Path, scorers: Scorers, prompts: tuple[str, ...]) -> Scored:
        """Standard images; where they cannot be scored, every cell beside them fails for the same reason."""
        if folder not in self._shared:
            try:
                generation = whole(folder)
                scores = score_folder(folder, generation, prompts, scorers, self.emit, again=self.again)
                self._shared[folder] = Scored(generation, scores)
            except UserError as error:
                self._shared[folder] = error
        if isinstance(found := self._shared[folder], UserError):
            raise found
        return found

    def _prompts(self, record: Record) -> tuple[str, ...]:
        prompts = tuple(record.prompts(self.run))
        if record.identity.get("prompts") != sha256_text(canonical_json(prompts)):
            raise UserError(f"the prompts beside the standard images of cell {record.id} are not its own", AGAIN)
        return prompts


def whole(folder: Path) -> Generation:
    """How the pictures in a folder were made, each of which is verified by its hash.

    Raises:
        UserError: one is missing or damaged, or none was made.
    """
    damages: list[str] = []
    generation = read_generation(folder, damages.append)
    if generation is None:
        raise UserError(damages[0] if damages else f"{folder} has no finished pictures", AGAIN)
    return generation


def updated(record: Record, scorers: Scorers, standard: Scores, ours: Scores, same: NDArray[np.bool_]) -> Record:
    """The record with these scorers' figures in place of those that they had; what it had stays in its order."""
    made = figures(scorers, standard, ours, same)
    kept = {
        name: figure
        for name, figure in record.figures.items()
        if name in made or name.partition(".")[0] not in scorers.metrics
    }
    about = {**record.scorers, **scorers.described(ours.scorers)}
    return record.model_copy(update={"figures": {**kept, **made}, "scorers": about})


def _same(folder: Path, generation: Generation, standard: Generation) -> NDArray[np.bool_]:
    """Which pictures are standard's own: by the plan that made them, or, without one, by what is in the files."""
    if (folder / PLAN).exists():
        return SharingPlan.load(folder / PLAN).solo & (generation.execution.reused > 0)
    return np.array([standard.images.get(name) == content for name, content in generation.images.items()])


def _scorers(records: Sequence[Record], asked: Sequence[str], device: str) -> dict[str, Scorers]:
    """By model; their names are those that they have anywhere in the run."""
    known: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        for name, about in record.scorers.items():
            known.setdefault(name, []).append(about)
    found = {
        name: Scorers(_entry(name), asked, device, known)
        for name in dict.fromkeys(record.asked.model for record in records)
    }
    for name, scorers in found.items():
        if not scorers.identities:
            raise UserError(f"there is nothing to score {name} by", "add for example --metric vqa=hf:OWNER/MODEL")
    return found


def _entry(name: str) -> ModelEntry | None:
    """Of a model that need not be here any more."""
    try:
        return model(name)
    except UserError:
        return None
