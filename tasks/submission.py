"""Submissions: a folder of pictures that anyone made, a manifest that says whose they are and what they cost.

The folder holds ``submission.yaml`` (`About`), a manifest (``manifest.csv``, ``.tsv``, ``.jsonl``, ``.json`` or
``.parquet``) with a row a picture, and the pictures. Nothing outside of the folder is read, and everything that is
wrong with it is said at once.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import fsum, isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.bounded_yaml import parse_yaml
from common.errors import UserError, nearest
from common.files import atomic_write, canonical_json, input_file
from common.pictures import is_blank, pixels_hash, read_picture
from generators.prompt_files import TextTable, found_column, read_text_table
from generators.prompts import short
from tasks.card import Card, Hash
from tasks.card import card as card_of
from tasks.row import Kind, Method

ABOUT, MANIFEST = "submission.yaml", "manifest"
KINDS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
ONE = "default"  # the name of the point of a submission that names none
CONTROL = "another seed"  # stands for a point where the baseline is held against itself
LONGEST = 80  # letters of a point's name
MOST_TIMES = 100  # the baseline's rows, beyond which a cost is a slip of the pen
MOST_SHOWN = 20  # problems of one kind
MOST_ABOUT = 1 << 20  # bytes
COLUMNS = {  # by what each is, the names that it may have (`found_column`)
    "prompt": {"prompt", "promptid", "id"},
    "seed": {"seed"},
    "file": {"file", "filename", "image", "path"},
    "nfe": {"nfe", "rows"},
    "seconds": {"seconds"},
    "point": {"point", "setting"},
    "prompt_text": {"prompttext", "text"},
    "root": {"root", "noise"},
}
Known: TypeAlias = Callable[[Card], Sequence[Sequence[str]] | None]
WHOLE = re.compile(r"(\d+)(?:\.0*)?")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PointAbout(_Part):
    """What is said of one setting at which a method is submitted.

    Attributes:
        nfe: rows of the denoiser that all its pictures took together, where the manifest has no column of them: of
            pictures that share computation nobody can tell the cost of one.
        seconds: that all its pictures took together, likewise.
        settings: what the method was run with at this setting.
    """

    nfe: Annotated[float, Field(gt=0)] | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None
    settings: dict[str, Any] = {}


class About(_Part):
    """``submission.yaml``: what made the pictures.

    Attributes:
        card: the name of the task card.
        card_sha256: its hash, by which a card that changed since is noticed.
        name: the method's.
        description: one or two sentences.
        url: of a paper or code.
        authors: who submits it.
        hardware: what it ran on.
        settings: what it was run with.
        noise: ``own`` where every picture begins from noise of its own, ``one`` where all pictures of a seed begin from
            the same; a column ``root`` of the manifest says it picture by picture.
        points: by name, what is said of each setting.
    """

    card: str
    card_sha256: Hash | None = None
    name: Annotated[str, Field(min_length=1, max_length=80)]
    description: str = ""
    url: str = ""
    authors: str = ""
    hardware: str = ""
    settings: dict[str, Any] = {}
    noise: Literal["own", "one"] | None = None
    points: dict[Annotated[str, Field(min_length=1, max_length=80)], PointAbout] = {}

    def method(self, kind: Kind = "submission") -> Method:
        """Return it as a row holds it."""
        told = self.model_dump(include=set(Method.model_fields))
        points = {name: point.settings for name, point in self.points.items() if point.settings}
        return Method(**{**told, "kind": kind, "settings": {**self.settings, **({"points": points} if points else {})}})


@dataclass(frozen=True)
class Point:
    """The pictures of one setting, of S seeds and N prompts.

    Attributes:
        name: of the setting.
        files: paths [S][N].
        nfe: rows that each picture took [S, N]; a total that was told is divided evenly.
        seconds: that all took; None where it is not told.
        roots: the number of independent draws of noise that a seed's pictures begin from, the seeds' least.
    """

    name: str
    files: list[list[Path]]
    nfe: NDArray[np.float64]
    seconds: float | None
    roots: int


@dataclass(frozen=True)
class Submission:
    """A submission that was read.

    Attributes:
        folder: where it lies.
        card: the task.
        about: what made the pictures.
        points: its settings, in the order of the manifest.
    """

    folder: Path
    card: Card
    about: About
    points: tuple[Point, ...]


@dataclass
class Checked:
    """What a check found.

    Attributes:
        problems: sentences, each with its file and line, that keep the submission from being scored.
        notes: what is odd and allowed.
        submission: what was read; None where it cannot be.
        left_out: problems beyond those that are shown.
        beside_baseline: whether pictures were held against the baseline's.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    submission: Submission | None = None
    left_out: int = 0
    beside_baseline: bool = False

    def whole(self) -> Submission:
        """Return the submission.

        Raises:
            UserError: there is a problem.
        """
        if self.submission is None or self.problems:
            more = len(self.problems) + self.left_out - 1
            also = f" (and {more} problem{'s' if more > 1 else ''} more)" if more > 0 else ""
            raise UserError(f"{self.problems[0]}{also}", "`bench submit check FOLDER` names all problems")
        return self.submission

    def add(self, sentences: Collection[str]) -> None:
        """Add problems of one kind, as many as are shown."""
        self.problems += list(sentences)[:MOST_SHOWN]
        self.left_out += max(len(sentences) - MOST_SHOWN, 0)


def check(folder: Path, card: Card | None = None, baseline: Known = lambda _: None) -> Checked:
    """Return what is wrong with a submission, all at once, and the submission where it can be read.

    Args:
        folder: of the submission.
        card: the task; the one that it names unless given.
        baseline: returns the hashes of the pixels of a card's baseline pictures [S][N] (`common.pictures.pixels_hash`),
            or None where they are not known; where they are, pictures that are the baseline's are held against their
            cost.
    """
    found = Checked()
    if not folder.is_dir():
        found.problems.append(f"there is no folder {folder}")
        return found
    about = _about(folder, found)
    if about is None:
        return found
    task = _card(folder / ABOUT, about, card, found)
    path = _manifest(folder, found)
    if task is None or path is None:
        return found
    try:
        table = read_text_table(path)
        prompts = task.prompt_set.prompts
    except UserError as error:
        found.problems.append(str(error))
        return found
    _read(folder, path, table, task, prompts, about, found)
    if found.submission:
        _look(found.submission, baseline(task), found)
    return found


def is_submission(folder: Path) -> bool:
    """Return whether a folder says that it is a submission."""
    return (folder / ABOUT).is_file()


def new(folder: Path, card: Card, name: str = "") -> list[Path]:
    """Write a ``submission.yaml`` and a manifest to fill in, a row a picture; return their paths.

    Args:
        folder: of the submission.
        card: the task.
        name: the method's; left to be filled in unless given.

    Raises:
        UserError: there is one already.
    """
    import csv
    import io
    import json

    paths = [folder / ABOUT, folder / f"{MANIFEST}.csv"]
    for path in paths:
        if path.exists():
            raise UserError(f"{path} is there already", "choose another folder, or move it away")
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator="\n")
    table.writerow(["prompt", "seed", "file", "nfe", "prompt_text"])
    for seed in card.seeds:
        for prompt, text in enumerate(card.prompt_set.prompts):
            table.writerow([prompt, seed, f"pictures/{prompt:04d}-{seed}.png", "", text])
    atomic_write(paths[0], NEW.format(card=card.name, sha256=card.hash, name=json.dumps(name), rows=card.rows))
    atomic_write(paths[1], lines.getvalue())
    return paths


NEW = """\
card: {card}
card_sha256: {sha256}
name: {name}          # your method's, as the leaderboard shows it
description: ""   # one or two sentences
url: ""           # of a paper or code
authors: ""
hardware: ""      # what it ran on, if you tell seconds
settings: {{}}      # enough to run it again
noise: own        # own: every picture begins from noise of its own; one: all pictures of a seed begin from the same
# manifest.csv: `nfe` is how many rows the denoiser evaluated for a picture, two a step with guidance; a picture of the
# baseline takes {rows}. If pictures share steps, remove that column and say what all of them took together:
# points: {{default: {{nfe: 12345}}}}
"""


def _about(folder: Path, found: Checked) -> About | None:
    path = folder / ABOUT
    try:
        _inside(path, folder)
        about = About.model_validate(parse_yaml(input_file(path, MOST_ABOUT).read_text(encoding="utf-8")))
        canonical_json(about.method().model_dump(mode="json"))  # what the row would refuse
        return about
    except FileNotFoundError:
        found.problems.append(f"{path} is missing: it says what made the pictures (`bench submit new` writes one)")
    except ValidationError as error:
        found.add([f"{path}: {'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors()])
    except (OSError, ValueError, UserError) as error:
        found.problems.append(f"{path} cannot be read: {' '.join(str(error).split())}")
    return None


def _inside(path: Path, folder: Path) -> Path:
    """Return a path that leads to no place outside of the folder.

    Raises:
        UserError: it does.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{path} lies outside of the folder", "put it there, without links")
    return path


def _card(path: Path, about: About, card: Card | None, found: Checked) -> Card | None:
    """Return the task of a submission, which has to be the one that it was made for."""
    try:
        card = card or card_of(about.card)
    except UserError as error:
        found.problems.append(f"{path}: {error}")
        return None
    if card.name not in (about.card, f"{card.name.partition('/')[0]}/{about.card}"):
        found.problems.append(f"{path}: it is for the card {about.card}, not {card.name}")
    if card.status == "draft":
        found.problems.append(f"{path}: the card {card.name} is a draft, whose weights nobody pinned: it has no rows")
    if about.card_sha256 and about.card_sha256 != card.hash:
        found.problems.append(
            f"{path}: it was made for another version of the card {card.name}: its hash was {about.card_sha256[:12]}..."
            f", and is {card.hash[:12]}..."
        )
    return card


def _manifest(folder: Path, found: Checked) -> Path | None:
    there = [folder / f"{MANIFEST}{suffix}" for suffix in KINDS if (folder / f"{MANIFEST}{suffix}").exists()]
    if len(there) == 1:
        try:
            return _inside(there[0], folder)
        except UserError as error:
            found.problems.append(str(error))
            return None
    if not there:
        names = ", ".join(f"{MANIFEST}{suffix}" for suffix in KINDS)
        found.problems.append(f"{folder} has no manifest: it is called one of {names}")
    else:
        found.problems.append(f"{folder} has several manifests: {', '.join(path.name for path in there)}; keep one")
    return None


def _read(
    folder: Path,
    path: Path,
    table: TextTable,
    card: Card,
    prompts: Sequence[str],
    about: About,
    found: Checked,
) -> None:
    """Read a manifest's rows; the submission is there where each picture is, once a setting."""
    try:
        columns = {what: found_column(names, table.columns, str(path)) for what, names in COLUMNS.items()}
    except UserError as error:
        found.problems.append(str(error))
        return
    if missing := [what for what in ("prompt", "seed", "file") if columns[what] is None]:
        has = ", ".join(map(repr, table.columns)) or "none"
        found.problems.append(f"{path} has no column {' and none '.join(map(repr, missing))}; its columns: {has}")
        return
    rows = _Rows(folder, path, table, columns, card, prompts)
    entries: dict[tuple[str, int, int], _Entry] = {}
    places: dict[tuple[str, int, int], str] = {}
    problems: list[str] = []
    for row, where in enumerate(table.where):
        entry, wrong = rows.entry(row)
        problems += [f"{path}, {where}: {what}" for what in wrong]
        if entry is None:
            continue
        key = (entry.point, entry.seed, entry.prompt)
        if key in entries:
            what = f"prompt {entry.prompt}, seed {entry.seed}{_of(entry.point)}"
            problems.append(f"{path}, {where}: {what} was on {places[key]} already")
        entries.setdefault(key, entry)
        places.setdefault(key, where)
    points = list(dict.fromkeys(point for point, *_ in entries)) or [ONE]
    found.add(problems)
    gone = (_missing(path, point, entries, card, len(prompts)) for point in points)
    found.add([sentence for sentence in gone if sentence])
    found.add(_costs_told(path, folder / ABOUT, points, columns, about))
    if columns["root"] is None and about.noise is None:
        found.problems.append(
            f"{folder / ABOUT}: noise is not said: write `noise: own` if every picture begins from noise of its own, "
            f"`noise: one` if all pictures of a seed begin from the same, or give {path.name} a column `root`"
        )
    if found.problems:
        return
    made = tuple(_point(point, entries, card, len(prompts), about) for point in points)
    found.submission = Submission(folder, card, about, made)
    for one in made:
        found.add(_costs(path, one, card))


@dataclass(frozen=True)
class _Entry:
    """A row of a manifest."""

    point: str
    prompt: int
    seed: int
    file: Path
    nfe: float | None
    seconds: float | None
    root: str | None


@dataclass(frozen=True)
class _Rows:
    """The rows of a manifest, and what they are held against."""

    folder: Path
    path: Path
    table: TextTable
    columns: Mapping[str, str | None]
    card: Card
    prompts: Sequence[str]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each prompt by its text, those that stand in the set once."""
        counts = Counter(self.prompts)
        return {text.strip(): number for number, text in enumerate(self.prompts) if counts[text] == 1}

    def cell(self, what: str, row: int) -> str | None:
        """Return a row's cell; None where there is no such column or the cell is empty."""
        column = self.columns[what]
        return (self.table.columns[column][row].strip() or None) if column else None

    def entry(self, row: int) -> tuple[_Entry | None, list[str]]:
        """Return a row, or None where it names no picture; and what is wrong with it."""
        wrong: list[str] = []
        prompt, seed, file = self._prompt(row, wrong), self._seed(row, wrong), self._file(row, wrong)
        numbers: dict[str, float | None] = {}
        for what in ("nfe", "seconds"):
            numbers[what] = self._number(what, row, wrong)
        if prompt is None or seed is None or file is None:
            return None, wrong
        point, root = self.cell("point", row) or ONE, self.cell("root", row)
        if self.columns["nfe"] and not (self.cell("nfe", row)):
            wrong.append("no nfe: the rows that the denoiser evaluated for the picture")
        if point == CONTROL or len(point) > LONGEST:
            wrong.append(
                f"a point cannot be called {short(point)!r}: give it another name of {LONGEST} letters at most"
            )
            return None, wrong
        if self.columns["root"] and root is None:
            wrong.append(f"no {self.columns['root']}: name the draw of noise that the picture begins from")
        return _Entry(point, prompt, seed, file, numbers["nfe"], numbers["seconds"], root), wrong

    def _prompt(self, row: int, wrong: list[str]) -> int | None:
        told, text = self.cell("prompt", row), self.cell("prompt_text", row)
        known = WHOLE.fullmatch(told or "")
        if known and int(known[1]) < len(self.prompts):
            number = int(known[1])
            if text and text != self.prompts[number].strip():
                wrong.append(f"prompt {number} is {short(self.prompts[number])!r}, not {short(text)!r}")
            return number
        if told in self.numbers:
            return self.numbers[told]
        what = f"{short(told)!r} is no prompt of the card" if told else "no prompt"
        wrong.append(f"{what}: give its number, 0 to {len(self.prompts) - 1}")
        return None

    def _seed(self, row: int, wrong: list[str]) -> int | None:
        told = self.cell("seed", row)
        known = WHOLE.fullmatch(told or "")
        if known and int(known[1]) in self.card.seeds:
            return int(known[1])
        wrong.append(f"{told or 'no'} seed: the card's are {', '.join(map(str, self.card.seeds))}")
        return None

    def _file(self, row: int, wrong: list[str]) -> Path | None:
        told = self.cell("file", row)
        if told is None:
            wrong.append("no file")
            return None
        try:
            path = _inside(self.folder / told, self.folder)
        except UserError:
            wrong.append(f"{told} lies outside of the folder")
            return None
        if not path.is_file():
            wrong.append(f"{told} is missing; files are relative to the folder of the submission")
            return None
        return path

    def _number(self, what: str, row: int, wrong: list[str]) -> float | None:
        if (told := self.cell(what, row)) is None:
            return None
        try:
            number = float(told)
        except ValueError:
            number = float("nan")
        if isfinite(number) and number >= 0:
            return number
        wrong.append(f"{what} is {told!r}: give a number, 0 or more")
        return None


def _of(point: str) -> str:
    return "" if point == ONE else f" of {point!r}"


def _missing(
    path: Path, point: str, entries: Mapping[tuple[str, int, int], _Entry], card: Card, prompts: int
) -> str | None:
    gone = [(prompt, seed) for seed in card.seeds for prompt in range(prompts) if (point, seed, prompt) not in entries]
    if not gone:
        return None
    first = ", ".join(f"{prompt} with seed {seed}" for prompt, seed in gone[:5])
    more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
    return f"{path}: no picture{_of(point)} of prompt {first}{more}; every prompt has one of every seed"


def _costs_told(
    path: Path, yaml: Path, points: Sequence[str], columns: Mapping[str, str | None], about: About
) -> list[str]:
    """Return what is wrong with where costs are told: once, in the manifest or for each point."""
    strange = [name for name in about.points if name not in points]
    wrong = [f"{yaml}: {path.name} has no point {name!r}: {nearest(name, points)}" for name in strange]
    for what in ("nfe", "seconds"):
        told = [name for name in points if name in about.points and getattr(about.points[name], what) is not None]
        if columns[what] and told:
            wrong.append(f"{yaml}: {what} of {told[0]!r} is in {path.name} too: say it in one place")
    if not columns["nfe"]:
        silent = [name for name in points if name not in about.points or about.points[name].nfe is None]
        if silent:
            wrong.append(
                f"{path} has no column 'nfe', and {yaml.name} does not say it of {', '.join(map(repr, silent))}: the "
                "rows that the denoiser evaluated, two a step with guidance"
            )
    return wrong


def _point(name: str, entries: Mapping[tuple[str, int, int], _Entry], card: Card, prompts: int, about: About) -> Point:
    table = [[entries[name, seed, prompt] for prompt in range(prompts)] for seed in card.seeds]
    told = about.points.get(name, PointAbout())
    size = len(card.seeds) * prompts
    if told.nfe is not None:
        nfe = np.full((len(card.seeds), prompts), told.nfe / size)
    else:
        nfe = np.array([[0.0 if entry.nfe is None else entry.nfe for entry in row] for row in table])
    seconds = [entry.seconds for row in table for entry in row if entry.seconds is not None]
    if any(entry.root for row in table for entry in row):
        roots = min(len({entry.root for entry in row}) for row in table)
    else:
        roots = 1 if about.noise == "one" else prompts
    return Point(
        name,
        [[entry.file for entry in row] for row in table],
        nfe,
        told.seconds if told.seconds is not None else (fsum(seconds) or None) if len(seconds) == size else None,
        roots,
    )


def _costs(path: Path, point: Point, card: Card) -> list[str]:
    """Return what is not plausible of a point's cost."""
    total, baseline = fsum(point.nfe.ravel()), card.rows * point.nfe.size
    what = f"{path}: nfe{_of(point.name)}"
    if total <= 0:
        return [f"{what} is 0 of all pictures: a picture takes a row of the denoiser at least"]
    if total > MOST_TIMES * baseline:
        return [f"{what} is {total:,.0f}, more than {MOST_TIMES} times the baseline's {baseline:,}"]
    return []


def _look(submission: Submission, baseline: Sequence[Sequence[str]] | None, found: Checked) -> None:
    """Open every picture, and hold what they are against the card and their cost."""
    found.beside_baseline = baseline is not None
    card, size = submission.card, (submission.card.width, submission.card.height)
    for point in submission.points:
        wrong, pixels, blank = list[str](), list[list[str]](), 0
        for files in point.files:
            pixels.append([])
            for file in files:
                try:
                    picture = read_picture(file)
                except UserError as error:
                    wrong.append(error.message)
                    continue
                if picture.size != size:
                    wrong.append(
                        f"{file} has {picture.width} x {picture.height} pixels, the card {size[0]} x {size[1]}"
                    )
                pixels[-1].append(pixels_hash(picture))
                blank += is_blank(picture)
        found.add(wrong)
        if wrong:
            continue
        if blank:
            found.notes.append(f"{blank} pictures{_of(point.name)} are of one colour")
        found.notes += _repeats(point, pixels)
        found.add(_too_cheap(submission, point, pixels, card, baseline))


def _repeats(point: Point, pixels: Sequence[Sequence[str]]) -> list[str]:
    """Return a note on pictures that several prompts or seeds have in common."""
    owners: dict[str, list[Path]] = {}
    for files, hashes in zip(point.files, pixels, strict=True):
        for file, one in zip(files, hashes, strict=True):
            owners.setdefault(one, []).append(file)
    several = [files for files in owners.values() if len(files) > 1]
    if not several:
        return []
    count = sum(len(files) - 1 for files in several)
    return [
        f"{count} picture{'s' if count > 1 else ''}{_of(point.name)} repeat that of another prompt or seed, the first "
        f"{several[0][1].name}, which is {several[0][0].name}"
    ]


def _too_cheap(
    submission: Submission,
    point: Point,
    pixels: Sequence[Sequence[str]],
    card: Card,
    baseline: Sequence[Sequence[str]] | None,
) -> list[str]:
    """Return what pictures cannot have cost so little.

    A picture that is, pixel for pixel, the baseline's took all of the baseline's steps: whoever skips one, or shares
    one with another prompt, has other pixels. So a point cannot cost less than those pictures alone; each counts once,
    for a prompt that stands in a set twice may have one picture. It is the sum that is held against this, since the
    cost of a single picture of a shared run is a matter of attribution. Other pictures take a row each, if they differ.
    """
    rows, total = card.rows, fsum(point.nfe.ravel())
    own = {
        one
        for ours, theirs in zip(pixels, baseline or pixels, strict=True)
        for one, other in zip(ours, theirs, strict=True)
        if baseline and one == other
    }
    different = len({one for row in pixels for one in row} - own)
    least = len(own) * rows + different
    if total >= least - 0.5:
        return []
    what = f"{submission.folder}: nfe{_of(point.name)} is {total:,.0f}"
    if not own:
        return [f"{what}, less than its {different:,} different pictures: each takes a row of the denoiser at least"]
    return [
        f"{what}, and {len(own):,} of its pictures are the baseline's own, pixel for pixel, which took {rows} rows "
        f"each: with {different:,} others it cannot be less than {least:,}"
    ]
