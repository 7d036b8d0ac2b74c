"""Which of a folder's pictures is whose: by a column, by a layout's names or, where nothing says it, by order."""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from common.errors import UserError
from common.pictures import SUFFIXES
from generators.prompts import short
from sweeps.delivery.table import TABLE

# What people call the column of files; capitals, spaces, underscores and hyphens make no difference.
COLUMNS = {
    "file", "files", "filename", "filepath", "image", "imagefile", "imagefilename", "imagename", "imagepath",
    "img", "imgfile", "imgname", "imgpath", "path", "picture", "picturefile", "picturename", "picturepath",
}  # fmt: skip
SAMPLES = ("samples", "images")  # folders in which generators leave their pictures
GENEVAL = "GenEval's folders"
METADATA = "metadata.jsonl"  # GenEval's, beside `samples`
MOST_METADATA = 1 << 16  # bytes that are read of it
SHOWN = 3  # pairs
ORDER = "the natural order of their names"
NAMED = "name each prompt's picture in a column 'file' of a table, such as a .csv file"


@dataclass(frozen=True)
class Pairing:
    """Every prompt's picture, and how they were paired.

    Attributes:
        images: the files, in prompt order.
        names: of the files, within their folder.
        by: what pairs them, in words.
        notes: what a user should know of it.
    """

    images: list[Path]
    names: tuple[str, ...]
    by: str
    notes: tuple[str, ...] = ()

    def said(self, folder: Path, prompts: Sequence[str]) -> list[str]:
        """Return in words what pairs the pictures of a folder, with the first of them, and the notes."""
        first = [f"{name} {short(text)!r}" for name, text in zip(self.names[:SHOWN], prompts, strict=False)]
        more = ", ..." if len(self.names) > SHOWN else ""
        what = f"{folder}: pictures are paired with prompts by {self.by}: {', '.join(first)}{more}"
        return [what, *(f"{folder}: {note}" for note in self.notes)]

    def described(self) -> dict[str, object]:
        """Return it as plain values, without the files: these stand beside their prompts in ``scores.csv``."""
        return {"by": self.by, "notes": list(self.notes), "first": list(self.names[:SHOWN])}


@dataclass(frozen=True)
class _Unit:
    """The pictures under one name: a file, or a folder of samples.

    Attributes:
        prompt: what the layout says that they show.
    """

    name: str
    images: tuple[Path, ...]
    prompt: str | None = None


def by_column(folder: Path, files: Sequence[str], column: str, table: Path, prompts: Sequence[str]) -> Pairing:
    """Return the pictures that a table's column names: relative to the folder, or by a path that leads into it.

    Raises:
        UserError: one is missing, or lies elsewhere.
    """
    images = []
    for number, name in enumerate(files, 1):
        placed = _placed(name, folder, table.parent)
        if placed is None and Path(name).is_absolute():
            raise UserError(
                f"{table}: prompt {number} names no picture in {folder}, but {name}",
                "give a file name relative to the folder",
            )
        if placed is None:
            raise UserError(f"{folder / name}, which {table} names, is missing", "names are relative to the folder")
        images.append(placed)
    owners: dict[Path, set[str]] = {}
    for image, prompt in zip(images, prompts, strict=True):
        owners.setdefault(image, set()).add(prompt)
    several = [image for image, texts in owners.items() if len(texts) > 1]
    notes = [f"{_name(several[0], folder)} is named for {len(owners[several[0]])} prompts"] if several else []
    names = tuple(_name(image, folder) for image in images)
    return Pairing(images, names, f"the column {column!r} of {table}", tuple(notes))


def by_table(folder: Path, named: Mapping[str, Sequence[str]], prompts: Sequence[str], table: Path | str) -> Pairing:
    """Return the pictures that a folder's own table names for these prompts, whatever their order.

    Args:
        folder: of the pictures.
        named: the table's columns ``prompt`` and ``file``; of equal prompts the first picture is the first one's.
        prompts: that are asked for.
        table: where they are from, for errors.

    Raises:
        UserError: the table has no picture of one, or a picture is missing.
    """
    by_prompt: dict[str, list[str]] = {}
    for text, file in zip(named["prompt"], named["file"], strict=True):
        by_prompt.setdefault(text, []).append(file)
    left = {text: iter(files) for text, files in by_prompt.items()}
    names = []
    for number, text in enumerate(prompts, 1):
        if (name := next(left.get(text, iter(())), None)) is None:
            has = len(by_prompt.get(text, ()))
            raise UserError(
                f"{folder / TABLE} has {has or 'no'} picture{'s' if has > 1 else ''} of prompt {number} of {table} "
                f"({short(text)!r})",
                "give the prompts that the pictures were made of",
            )
        names.append(name)
    paired = by_column(folder, names, "file", folder / TABLE, prompts)
    others = len(named["file"]) - len(names)
    notes = [f"{others:,} pictures of other prompts are left out"] if others else []
    return replace(paired, by=TABLE, notes=(*paired.notes, *notes))


def by_names(folder: Path, prompts: Sequence[str], table: Path | str) -> Pairing:
    """Return a folder's pictures where no column names them.

    Known are files and folders named after prompts, with or without a number (T2I-CompBench's
    ``<prompt>_000000.png``), and numbered folders of samples (GenEval's ``00000/samples/0000.png``) whose metadata may
    say the prompt. Where names say nothing, the natural order of names (2 before 10) pairs.

    Raises:
        UserError: a prompt has no picture, or there are not as many pictures as prompts.
    """
    units, layout = _units(folder)
    owners = _owners(units, prompts)
    told = next((unit for unit in units if unit.prompt is not None), None)
    if owners:
        return _by_prompts(folder, prompts, table, units, owners, layout)
    if told:
        raise UserError(
            f"{_name(told.images[0], folder)} shows {short(told.prompt or '')!r} by its {METADATA}, and {table} has no "
            "such prompt",
            "give the prompts that the pictures were made of",
        )
    images = [unit.images[0] for unit in units]
    names = tuple(_name(image, folder) for image in images)
    if layout == GENEVAL and [int(unit.name) for unit in units] == list(range(len(prompts))):
        return Pairing(images, names, "the numbers of GenEval's folders", tuple(_samples(units)))
    if layout == GENEVAL or len(units) != len(prompts):
        first = ", ".join(unit.name for unit in units[:SHOWN]) or "none"
        raise UserError(
            f"{folder} has {len(units)} pictures (first: {first}), {table} has {len(prompts)} prompts",
            f"make them agree, or {NAMED}",
        )
    notes = ["nothing but that order says which prompt a picture shows", *_gap(units), *_samples(units)]
    return Pairing(images, names, ORDER, tuple(notes))


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers by value and the rest by letter.

    Examples:
        >>> sorted(["p10.png", "p2.png"], key=natural)
        ['p2.png', 'p10.png']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _placed(name: str, folder: Path, beside: Path) -> Path | None:
    """Return the file in the folder that is meant; None if there is none."""
    for spelled in dict.fromkeys((name, name.strip(), name.strip().replace("\\", "/"))):
        if not Path(spelled).is_absolute() and (folder / spelled).is_file():
            return folder / spelled
        for base in (Path(), beside):  # a path as it is seen from here, or from the table
            path, inside = _lexical(base / spelled), _lexical(folder)
            if path.is_relative_to(inside) and path.is_file():
                return folder / path.relative_to(inside)
    return None


def _lexical(path: Path) -> Path:
    """Return a path without ``..``; links stay, since what they lead to has other names."""
    return Path(os.path.normpath(path.absolute()))


def _units(folder: Path) -> tuple[list[_Unit], str]:
    """Return a folder's pictures, in natural order, and what the layout is called."""
    folders = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    sampled = [_sampled(path) for path in folders if path.name.isdecimal()]
    if numbered := [unit for unit in sampled if unit]:
        return _sorted(numbered), GENEVAL
    if pictures := _pictures(folder):
        return [_Unit(path.name, (path,)) for path in pictures], "their names"
    kept = {name: pictures for name in SAMPLES if (folder / name).is_dir() and (pictures := _pictures(folder / name))}
    if len(kept) == 1:
        ((name, pictures),) = kept.items()
        return [_Unit(path.name, (path,)) for path in pictures], f"their names in {name}/"
    inside = [(path, _pictures(path)) for path in folders]
    units = [_Unit(path.name, tuple(pictures), _metadata(path)) for path, pictures in inside if pictures]
    return _sorted(units), "their folders' names"


def _sorted(units: list[_Unit]) -> list[_Unit]:
    return sorted(units, key=lambda unit: (natural(unit.name), unit.name))


def _sampled(folder: Path) -> _Unit | None:
    """Return GenEval's pictures of one prompt, if these are."""
    samples = folder / SAMPLES[0]
    pictures = _pictures(samples) if samples.is_dir() else []
    return _Unit(folder.name, tuple(pictures), _metadata(folder)) if pictures else None


def _metadata(folder: Path) -> str | None:
    """Return the prompt that GenEval's metadata say; None where there are none that can be read."""
    try:
        with (folder / METADATA).open("rb") as file:
            prompt = json.loads(file.readline(MOST_METADATA))["prompt"]
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        return None
    return prompt if isinstance(prompt, str) else None


def _pictures(folder: Path) -> list[Path]:
    found = [
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()
    ]
    return sorted(found, key=lambda path: (natural(path.name), path.name))


def _owners(units: Sequence[_Unit], prompts: Sequence[str]) -> dict[str, list[_Unit]]:
    """Return the pictures of each prompt that is named by one; nothing where none is."""
    texts = set(prompts)
    spelled: dict[str, set[str]] = {}
    for text in texts:
        spelled.setdefault(_bare(text), set()).add(text)
    owners: dict[str, list[_Unit]] = {}
    for unit in units:
        for said in [unit.prompt] if unit.prompt is not None else _readings(unit.name):
            meant = {said} & texts or spelled.get(_bare(said), set())
            if len(meant) == 1:
                owners.setdefault(next(iter(meant)), []).append(unit)
                break
    return owners


def _readings(name: str) -> list[str]:
    """Return the prompts that a file's or folder's name may say: with and without numbers before and behind."""
    stem = name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in SUFFIXES else name
    without = re.sub(r"[ _-]+\d+$", "", stem)
    return [stem, without, *(re.sub(r"^\d+[ _.-]+", "", text) for text in (stem, without))]


def _bare(text: str) -> str:
    """Return a text as it is left in a file's name: its letters and numbers; itself where it has none."""
    return re.sub(r"[\W_]+", " ", text).strip().casefold() or text


def _by_prompts(
    folder: Path,
    prompts: Sequence[str],
    table: Path | str,
    units: Sequence[_Unit],
    owners: dict[str, list[_Unit]],
    layout: str,
) -> Pairing:
    """Return the pictures of prompts that are named; every prompt has to be."""
    wanted, images = Counter(prompts), []
    files = {text: [image for unit in owned for image in unit.images] for text, owned in owners.items()}
    taken: Counter[str] = Counter()
    for number, text in enumerate(prompts, 1):
        there = files.get(text, [])
        if len(there) < wanted[text]:
            has = f"{len(there)} pictures" if len(there) > 1 else f"{len(there) or 'no'} picture"
            whose = f"prompt {number} of {table} ({short(text)!r})"
            raise UserError(
                f"{folder} has {has} of {whose}, though {layout} say what others show",
                f"add it, or {NAMED}",
            )
        images.append(there[taken[text]])
        taken[text] += 1
    spare = sum(len(there) - wanted[text] for text, there in files.items())
    others = sum(len(unit.images) for unit in units) - sum(map(len, files.values()))
    notes = []
    if spare:
        notes.append(f"some prompts have several pictures: the first is scored, {spare} are left out")
    if others:
        notes.append(f"{others} pictures of other prompts are left out")
    return Pairing(images, tuple(_name(image, folder) for image in images), layout, tuple(notes))


def _gap(units: Sequence[_Unit]) -> list[str]:
    """Return a note where names are alike but for numbers that skip some: another prompt's picture may be missing."""
    parts = [re.split(r"(\d+)(?=\D*$)", unit.name) for unit in units]
    if len({(part[0], part[2]) if len(part) == 3 else None for part in parts}) != 1 or len(parts[0]) != 3:
        return []
    numbers = [int(part[1]) for part in parts]
    after = next((a for a, b in pairwise(numbers) if b != a + 1), None)
    return [] if after is None else [f"the numbers in their names skip some after {after}"]


def _samples(units: Sequence[_Unit]) -> list[str]:
    spare = sum(len(unit.images) - 1 for unit in units)
    return [f"folders have several pictures: the first is scored, {spare} are left out"] if spare else []


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
