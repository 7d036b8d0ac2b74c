"""The methods in the box, run on a card: the first rows of its leaderboard, made and scored as a stranger's are.

Every method is a sweep's cells, one a level of savings and seed. Their pictures become a submission
(`tasks.submission`), which the card's judge scores; what was made before is kept, so that an interrupted run continues.
"""

import csv
import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from common.bounded_yaml import parse_yaml
from common.errors import UserError, nearest
from common.files import atomic_write, canonical_json, sha256_text
from sweeps.events import Emit, Note
from sweeps.pictures import link
from sweeps.record import NEAR, Record
from sweeps.spec import SweepSpec
from tasks.card import Card
from tasks.row import ROW, Kind, Row

METHODS = files("tasks") / "methods.yaml"
ALONE = {"metric": "none", "seed_control": False, "audit": False}  # the card's judge scores, not the sweep
PLACE = "methods"  # in the folders of runs and of submissions
AXES = ("steps", "guidance_interval")  # that tell a method's points apart, beside tau


class Ours(BaseModel):
    """A method in the box.

    Attributes:
        name: as on the leaderboard.
        kind: as there.
        description: as there.
        url: of a paper.
        settings: of a sweep, beside the card's.
        savings: shares of node-steps to save, where they are not the card's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    description: str
    url: str = ""
    settings: dict[str, Any]
    savings: tuple[Decimal, ...] = ()


@cache
def ours() -> tuple[Ours, ...]:
    """Return the methods of ``tasks/methods.yaml``, in order."""
    return tuple(Ours.model_validate(entry) for entry in parse_yaml(METHODS.read_text(encoding="utf-8")))


def chosen(names: Sequence[str]) -> tuple[Ours, ...]:
    """Return the methods of these names, all unless any is given.

    Raises:
        UserError: one has no such name.
    """
    known = {one.name: one for one in ours()}
    for name in names:
        if name not in known:
            raise UserError(f"no method in the box is called {name!r}", nearest(name, known))
    return tuple(known[name] for name in names) if names else ours()


def sweeps(card: Card, methods: Sequence[Ours], savings: Sequence[Decimal]) -> list[tuple[SweepSpec, list[Ours]]]:
    """Return the sweeps that make the methods' pictures, each with its methods.

    Methods whose settings differ in their strategy alone are one sweep, and so have one baseline.
    """
    groups: dict[str, list[Ours]] = {}
    for one in methods:
        alike = {name: value for name, value in one.settings.items() if name != "strategy"}
        groups.setdefault(canonical_json([alike, [str(share) for share in one.savings]]), []).append(one)
    return [(_spec(card, group, savings), group) for group in groups.values()]


def _spec(card: Card, group: Sequence[Ours], savings: Sequence[Decimal]) -> SweepSpec:
    settings = dict(group[0].settings)
    if "strategy" in settings:
        settings["strategy"] = [one.settings["strategy"] for one in group]
    if "tau" not in settings:
        settings["savings"] = list(group[0].savings or savings)
    return card.spec(**ALONE, **settings)


@dataclass(frozen=True)
class Setting:
    """One point of a method: a cell a seed, in the order of the card's seeds."""

    name: str
    cells: tuple[Record, ...]

    @property
    def settings(self) -> dict[str, list[str]]:
        """Return the tau of each seed, where there is one: a tree may depend on the seed, and so its tau."""
        taus = [str(cell.config.tau) for cell in self.cells]
        return {"tau": taus} if any(cell.config.tau for cell in self.cells) else {}

    @property
    def nfe(self) -> int:
        """Return the rows of the denoiser that all pictures took."""
        return sum(cell.plan.nfe for cell in self.cells if cell.plan and cell.plan.nfe is not None)


def run(
    card: Card,
    *,
    names: Sequence[str] = (),
    savings: Sequence[Decimal] = (),
    rows: Path = Path("rows"),
    runs: Path = Path("runs"),
    submissions: Path = Path("submissions"),
    device: str | None = None,
    emit: Emit | None = None,
) -> Iterator[tuple[Path, Row]]:
    """Run methods in the box on a card, and yield the row of each, with its folder, when it is scored.

    Args:
        card: the task.
        names: of the methods; all unless any is given.
        savings: levels of savings at which methods that share are run; the card's unless given.
        rows: the folder of rows; what is there of the same pictures is kept.
        runs: the folder of runs.
        submissions: the folder of submissions, of which each is made again.
        device: a torch device; the best there is unless given.
        emit: hears progress, and which levels a method does not reach.

    Raises:
        UserError: a name is unknown, or as `reusebench.sweep` and `tasks.judge.judge`.
    """
    import reusebench
    from tasks.judge import judge, row_folder
    from tasks.submission import check

    emit = emit or (lambda _: None)
    card.check_weights()
    for spec, methods in sweeps(card, chosen(names), savings or card.savings):
        name = sha256_text(canonical_json(spec.model_dump(mode="json", exclude_defaults=True)))[:12]
        made = reusebench.sweep(spec, folder=runs / PLACE / card.name / name, device=device, emit=emit, reports=False)
        for failed in made.failed:
            why = failed.error.message if failed.error else "no reason was kept"
            emit(Note(f"{failed.config.strategy} failed at tau {failed.config.tau}: {why}"))
        for one in methods:
            points = settings_of(one, spec, made.records, card)
            if not points:
                emit(Note(f"{one.name} is left out: none of its settings is whole"))
                continue
            place = row_folder(rows, card, one.name)
            if known := _kept(place, card, one, points, made.folder):
                yield place, known
                continue
            folder = submissions / PLACE / place.relative_to(rows)
            write_submission(folder, card, one, points, made.folder)
            submission = check(folder, card).whole()
            yield place, judge(submission, place, runs=runs, device=device, emit=emit, kind=one.kind)


def settings_of(one: Ours, spec: SweepSpec, records: Sequence[Record], card: Card) -> list[Setting]:
    """Return the points of a method among the records of its sweep: those that every seed has."""
    groups: dict[str, dict[int, Record]] = {}
    for record in records:
        is_ours = one.settings.get("strategy", record.config.strategy) == record.config.strategy
        if record.status != "done" or record.role != "sharing" or record.plan is None or not is_ours:
            continue
        if spec.savings:
            target = min(spec.savings, key=partial(_off, record))
            key = f"savings={target}"
            known = groups.get(key, {}).get(record.config.seed)
            if _off(record, target) > NEAR or (known and _off(known, target) <= _off(record, target)):
                continue
        else:
            key = ", ".join(f"{axis}={getattr(record.config, axis)}" for axis in AXES if len(getattr(spec, axis)) > 1)
        groups.setdefault(key, {})[record.config.seed] = record
    whole = {key: by_seed for key, by_seed in groups.items() if by_seed.keys() >= set(card.seeds)}
    points = [Setting(key, tuple(by_seed[seed] for seed in card.seeds)) for key, by_seed in whole.items()]
    return sorted(points, key=lambda point: -point.nfe)


def _off(record: Record, target: Decimal) -> float:
    """Return how far a cell's savings are from a target."""
    assert record.plan is not None
    return abs(float(target) - record.plan.savings)


def write_submission(folder: Path, card: Card, one: Ours, points: Sequence[Setting], made: Path) -> None:
    """Write a method's pictures as a submission, in place of an earlier one.

    Args:
        folder: of the submission.
        card: the task.
        one: the method.
        points: its settings.
        made: the run folder that holds their pictures.

    Raises:
        UserError: a picture is not what was made.
    """
    import yaml

    from tasks.submission import ABOUT, MANIFEST

    shutil.rmtree(folder, ignore_errors=True)
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator="\n")
    table.writerow(["point", "prompt", "seed", "file", "root"])
    for number, point in enumerate(points):
        for seed, cell in zip(card.seeds, point.cells, strict=True):
            roots = _roots(made, cell)
            for prompt, picture in enumerate(cell.whole_pictures(made)):
                file = Path("pictures") / str(number) / f"{prompt:05d}-{seed}{picture.suffix}"
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                link(picture, folder / file)
                table.writerow([point.name, prompt, seed, file.as_posix(), roots[prompt]])
    about = {
        "card": card.name,
        "card_sha256": card.hash,
        "name": one.name,
        "description": one.description,
        "url": one.url,
        "authors": "ReuseBench",
        "settings": one.settings,
        "points": {point.name: {"nfe": point.nfe, "settings": point.settings} for point in points},
    }
    atomic_write(folder / f"{MANIFEST}.csv", lines.getvalue())
    atomic_write(folder / ABOUT, yaml.safe_dump(about, sort_keys=False, allow_unicode=True))


def _roots(made: Path, cell: Record) -> NDArray[np.int64]:
    """Return of each prompt the number of the draw of noise that its picture begins from."""
    from reports.pooling import made_plan

    if cell.config.noise.partition(":")[0] != "per-root":
        return np.zeros(cell.made_prompts, dtype=np.int64)
    return made_plan(made, cell).beginnings


def _kept(place: Path, card: Card, one: Ours, points: Sequence[Setting], made: Path) -> Row | None:
    """Return the row that is there, where it is of the same card, method and pictures."""
    try:
        row = Row.read(place / ROW)
    except UserError:
        return None
    about = {"name": one.name, "kind": one.kind, "description": one.description, "url": one.url}
    same = row.card_sha256 == card.hash and row.method.model_dump(include=set(about)) == about
    hashes = {point.name: _hash(point, made) for point in points}
    told = {point.name: point.pictures_sha256 for point in row.points}
    return row if same and hashes == told else None


def _hash(point: Setting, made: Path) -> str:
    """Return the hash of the hashes of all pictures' files, as a row's points have it."""
    return sha256_text(canonical_json([one for cell in point.cells for one in cell.picture_hashes(made).values()]))
