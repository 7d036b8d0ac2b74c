"""The audit of scorers on pictures that exist: copies under edits are written, measured and forgotten.

In full it is `bench audit`. In short, edits that nobody sees and prompts unlike the pictures', it is part of every
sweep that scores: the floor of each scorer on each prompt set, which is the zone of indifference of the set's records,
and whether the baseline's pictures show their prompts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import unwritable
from common.pictures import read_picture
from common.selection import evenly
from metrics.base import OF_ATOMS
from metrics.edits import DAMAGE, INVISIBLE, Edit
from metrics.scorer_audit import (
    WRONG_CAPTIONS,
    AuditedScores,
    EditedScores,
    ScorerAudit,
    far_prompts,
    near_prompts,
)
from sweeps.audit_file import read_audits, write_audits
from sweeps.events import Emit, Note
from sweeps.jobs import Job
from sweeps.pictures import picture_name
from sweeps.record import Record
from sweeps.score import Compared, whole_pictures
from sweeps.scorers import Scorers, measure
from sweeps.scores import Scores, same_scorer

SHORT = 60  # pictures of a prompt set in the short audit: 300 copies; a 95th percentile is the 4th largest gap of 60
FULL = 120
FEWER_STEPS = "fewer steps"
OWN, WRONG, UNLIKE = "own", "wrong caption", "unlike caption"  # of `Copies` that no edit made


@dataclass(frozen=True)
class Copies:
    """Copies of pictures under one edit, by their files, or the same pictures with other prompts.

    Attributes:
        name: the edit's.
        images: their files [n].
        prompts: what each should show [n].
        kind: of damage; empty for an edit that nobody sees.
        dose: of damage.
    """

    name: str
    images: Sequence[Path]
    prompts: Sequence[str]
    kind: str = ""
    dose: float | None = None


def audit(
    scorers: Scorers,
    images: Sequence[Path],
    prompts: Sequence[str],
    emit: Emit,
    *,
    model: str,
    dataset: str,
    of: str,
    most: int = FULL,
    damaged: Mapping[int, Mapping[int, Path]] = MappingProxyType({}),
    known: Scores | None = None,
    short: bool = False,
) -> list[ScorerAudit]:
    """Return the audit of every scorer that gives each picture one score.

    Args:
        scorers: what is audited.
        images: the pictures of all prompts [N].
        prompts: what each is meant to show [N].
        emit: hears progress.
        model: whose pictures they are.
        dataset: the name of their prompts.
        of: a hash of the pictures.
        most: pictures that are edited, evenly from first to last.
        damaged: pictures of the same prompts that are worse by construction, by their number of steps, then by row.
        known: what these scorers measured of the pictures; measured here unless given.
        short: measure edits that nobody sees and unlike prompts alone.

    Raises:
        UserError: a picture cannot be read or scored, or no scorer gives each picture one score.
    """
    names = scored_singly(scorers)
    if not names:
        raise UserError("no scorer here gives each picture a score", "add for example --metric vqa")
    rows = evenly(len(images), most)
    own, unlike = dict[str, NDArray[Any]](), dict[str, NDArray[Any]]()
    by_edit, wrong = dict[str, list[EditedScores]](), dict[str, list[NDArray[Any]]]()
    with TemporaryDirectory(prefix="reusebench-audit-") as scratch:
        if known is not None:
            own = {name: single_score(name, known.measured[name])[rows] for name in names}
        for copies in _every_copy(images, prompts, rows, Path(scratch), damaged, short):
            if copies.name == OWN and known is not None:
                continue
            for name, scores in _scores(scorers, names, copies, emit, model):
                if copies.name == OWN:
                    own[name] = scores
                elif copies.name == UNLIKE:
                    unlike[name] = scores
                elif copies.name == WRONG:
                    wrong.setdefault(name, []).append(scores)
                else:
                    edited = EditedScores(copies.name, scores, copies.kind, copies.dose)
                    by_edit.setdefault(name, []).append(edited)
    audited = {
        name: AuditedScores(
            own=own[name],
            invisible=[edited for edited in by_edit[name] if not edited.kind],
            damage=[edited for edited in by_edit[name] if edited.kind],
            wrong=np.stack(wrong[name], axis=1) if name in wrong else None,
            higher_is_better=scorers.metrics[name].higher_is_better,
            probability=scorers.metrics[name].probability,
            unlike=unlike.get(name),
        )
        for name in names
    }
    return [
        ScorerAudit(
            model=model,
            dataset=dataset,
            scorer=name,
            pictures=len(rows),
            of=of,
            identity=scorers.identities[name],
            floor=one.floor,
            mean=float(one.own.mean()),
            invisible=one.effects(one.invisible),
            damage=one.effects(one.damage),
            captions=one.captions(),
            saturation=one.saturation,
            beside=tuple(one.beside(other, beside) for beside, other in audited.items() if other is not one)
            if one.damage
            else (),
            unlike=one.unlike_auc(),
            unlike_mean=None if one.unlike is None else float(one.unlike.mean()),
            higher_is_better=one.higher_is_better,
        )
        for name, one in audited.items()
    ]


def _every_copy(
    images: Sequence[Path],
    prompts: Sequence[str],
    rows: Sequence[int],
    scratch: Path,
    damaged: Mapping[int, Mapping[int, Path]],
    short: bool,
) -> Iterator[Copies]:
    """Yield the pictures themselves, then their copies, one edit at a time: the files of one are gone with the next."""
    texts = [prompts[row] for row in rows]
    yield Copies(OWN, [images[row] for row in rows], texts)
    for edit in INVISIBLE.values():
        yield Copies(edit.name, _edited(edit, images, rows, None, scratch), texts)
    if (far := far_prompts(prompts)) is not None:
        yield Copies(UNLIKE, [images[row] for row in rows], [prompts[far[row]] for row in rows])
    if short:
        return
    near = near_prompts(prompts, WRONG_CAPTIONS)
    partners = {None: None, "nearest": near[:, 0] if near.shape[1] else None, "far": far}
    for damage in DAMAGE.values():
        if damage.partner and partners[damage.partner] is None:
            continue  # a set of one prompt has no other's picture
        for dose in damage.doses:
            edit = damage.at(dose)
            copies = _edited(edit, images, rows, partners[damage.partner], scratch)
            yield Copies(edit.name, copies, texts, damage.name, dose)
    for steps, pictures in sorted(damaged.items(), reverse=True):
        yield Copies(f"{FEWER_STEPS}, {steps}", [pictures[row] for row in rows], texts, FEWER_STEPS, float(steps))
    for other in near.T:
        yield Copies(WRONG, [images[row] for row in rows], [prompts[other[row]] for row in rows])


def _edited(
    edit: Edit, images: Sequence[Path], rows: Sequence[int], partners: NDArray[np.int64] | None, scratch: Path
) -> list[Path]:
    paths = [scratch / picture_name(row) for row in rows]
    for row, path in zip(rows, paths, strict=True):
        other = None if partners is None else read_picture(images[partners[row]])
        edit(read_picture(images[row]), other, row).save(path)
    return paths


def _scores(
    scorers: Scorers, names: Sequence[str], copies: Copies, emit: Emit, model: str
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    for name, columns, _ in measure(scorers, names, copies.images, copies.prompts, emit, model):
        yield name, single_score(name, columns)


def single_score(name: str, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Return the only column [N] that holds one number a picture."""
    whole = (values for column, values in columns.items() if not column.endswith(OF_ATOMS))
    single = [values for values in whole if values.ndim == 1 and values.dtype.kind == "f"]
    if len(single) != 1:
        raise UserError(f"{name} gives a picture {len(single)} scores, not one", "leave it out with --metric")
    return np.asarray(single[0], dtype=np.float64)


def short_copies(jobs: Sequence[Job], scorers: Mapping[str, Scorers]) -> int:
    """Return how many scores the short audits of a sweep need, all scorers together: of copies, and of unlike prompts.

    Args:
        jobs: of the sweep.
        scorers: by model.
    """
    sizes = {(job.config.model, job.config.dataset): job.source.pictures for job in jobs}
    return sum(audit_scores(size) * len(scored_singly(scorers[model])) for (model, _), size in sizes.items())


def audit_scores(prompts: int) -> int:
    """Return how many scores the short audit of one scorer needs on a set of so many prompts.

    Examples:
        >>> audit_scores(4), audit_scores(1600)
        (24, 360)
    """
    return min(SHORT, prompts) * (len(INVISIBLE) + 1)


def scored_singly(scorers: Scorers) -> list[str]:
    """Return the scorers that give each picture one score."""
    return [name for name, metric in scorers.metrics.items() if "win_rate" in metric.results]


class Floors:
    """The zones of indifference of a run's scorers, by model and prompt set; measured once, then read from the run.

    Args:
        run: the run folder, held by this process.
        emit: hears progress, and why there is no floor.
        audited: whether to measure; if not, there are no zones but `given`.
        given: the half width of every zone, in place of the floor; 0 is the strict rule.
        again: measure even what is there.
    """

    def __init__(
        self, run: Path, emit: Emit, *, audited: bool = True, given: float | None = None, again: bool = False
    ) -> None:
        self.run, self.emit, self.audited, self.given, self.again = run, emit, audited, given, again
        self._floors: dict[tuple[str, str], dict[str, float]] = {}

    def of(self, compared: Compared, scorers: Scorers) -> dict[str, float]:
        """Return by scorer the half width of the zone for a record's pairs; a scorer without one has no zone.

        The pictures are the first baseline's of the record's model and prompt set.
        """
        names = scored_singly(scorers)
        place = (compared.record.config.model, compared.record.config.dataset)
        if self.audited and names and place not in self._floors:
            self._floors[place] = self._measured(place, compared, scorers, names)
        if self.given is not None:
            return dict.fromkeys(names, self.given)
        return {name: floor for name, floor in self._floors.get(place, {}).items() if name in names}

    def _measured(
        self, place: tuple[str, str], compared: Compared, scorers: Scorers, names: Sequence[str]
    ) -> dict[str, float]:
        record, of = compared.record, compared.baseline.manifest.hash
        known = {} if self.again else self._known(place, of, scorers)
        for name in names:
            if name in known:
                continue
            try:
                (new,) = audit(
                    scorers.only([name]),
                    record.baseline_pictures(self.run),
                    record.prompts(self.run),
                    self.emit,
                    model=place[0],
                    dataset=place[1],
                    of=of,
                    most=SHORT,
                    known=compared.baseline.scores,
                    short=True,
                )
            except Exception as error:  # a scorer may choke on a copy: the cells have their scores all the same
                if unwritable(error):
                    raise
                self.emit(Note(f"no audit of {name} on {' and '.join(place)}, so no zone of indifference: {error}"))
            else:
                write_audits(self.run, [new])
                known[name] = new
        return {name: one.floor for name, one in known.items()}

    def _known(self, place: tuple[str, str], of: str, scorers: Scorers) -> dict[str, ScorerAudit]:
        try:
            audits = read_audits(self.run)
        except UserError as error:
            self.emit(Note(f"{error.message}: made again"))
            return {}
        return {
            one.scorer: one
            for one in audits
            if (one.model, one.dataset) == place
            and one.of == of
            and same_scorer(one.identity, scorers.identities.get(one.scorer, {}))
        }


# Of a record, its prompts and rows, gives the pictures that `damaged` of `audit` are.
MadeAgain = Callable[[Record, Sequence[str], Sequence[int]], AbstractContextManager[Mapping[int, Mapping[int, Path]]]]


def audit_run(
    run: Path,
    records: Sequence[Record],
    scorers: Mapping[str, Scorers],
    emit: Emit,
    most: int = FULL,
    made_again: MadeAgain | None = None,
) -> list[ScorerAudit]:
    """Return the full audit of scorers on a run's baseline pictures, and write it into the run folder.

    The pictures are, for each model and prompt set, those of the first baseline; damage by fewer steps is there where
    the run has equal-compute baselines beside it, or where they are made.

    Args:
        run: the run folder, held by this process.
        records: its finished ones.
        scorers: by model.
        emit: hears progress.
        most: pictures of a prompt set.
        made_again: makes the baseline's pictures with fewer steps.

    Raises:
        UserError: as `audit`, or a picture is missing or damaged.
    """
    places = dict.fromkeys((record.config.model, record.config.dataset) for record in records)
    audits: list[ScorerAudit] = []
    for model, dataset in places:
        own = [record for record in records if (record.config.model, record.config.dataset) == (model, dataset)]
        first = next((record for record in own if record.role == "sharing"), own[0])
        damaged = {
            record.config.steps: dict(enumerate(record.whole_pictures(run)))
            for record in own
            if record.role == "fewer-steps" and record.baseline == first.baseline
        }
        manifest, prompts = whole_pictures(first.baseline_folder(run)), first.prompts(run)
        rows = evenly(len(prompts), most)
        with made_again(first, prompts, rows) if made_again else nullcontext({}) as made:
            new = audit(
                scorers[model],
                first.baseline_pictures(run),
                prompts,
                emit,
                model=model,
                dataset=dataset,
                of=manifest.hash,
                most=most,
                damaged={**damaged, **made},
            )
        write_audits(run, new)
        audits += new
    return audits
