"""Thumbnails as sprites: small WebP sheets that the browser decodes when a picture on them scrolls into view."""

import base64
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError
from common.pictures import read_picture
from common.selection import evenly

if TYPE_CHECKING:
    from PIL.Image import Image

ACROSS = 4  # a sprite has so many thumbnails a side: a list in any order decodes little that it does not show
SIDES = (192, 160, 128, 112, 96, 88, 80, 72, 64, 56, 48)  # pixels, the largest that fits is taken
MOST = 24_000_000  # bytes of all sprites together
SAMPLES = 48
QUALITY = 78
BASE64 = 4 / 3


@dataclass
class Album:
    """Every picture that the page shows, in sets of one picture a prompt.

    A set is identified by its pictures' bytes: a cell whose pictures are all the baseline's adds none.

    Attributes:
        most: the number of bytes that all sprites may have, as the page holds them.
        side: of a thumbnail, in pixels.
        notes: omissions.
        damaged: sentences on pictures that are not what was made.
    """

    most: int = MOST
    side: int = 0
    notes: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    _sets: list[tuple[Path, ...]] = field(default_factory=list)
    _numbers: dict[tuple[bytes, ...], int] = field(default_factory=dict)
    _kept: list[list[int] | None] = field(default_factory=list)
    _wrong: set[Path] = field(default_factory=set)

    def add(
        self, pictures: Sequence[Path], first: Sequence[int], expected: Mapping[str, str] = MappingProxyType({})
    ) -> int | None:
        """Return the number of this set of pictures, one for each prompt; None where there are none.

        Args:
            pictures: of the prompts [N].
            first: the prompts [N], those first whose pictures the page should rather keep if there is no room for all.
            expected: by file name, the SHA-256 of those whose hash is known: others in their place are not shown.
        """
        if not pictures:
            return None
        with _threads() as threads:
            digests = tuple(threads.map(_digest, pictures))
        for path, digest in zip(pictures, digests, strict=True):
            if expected.get(path.name, digest.hex()) != digest.hex():
                self._wrong.add(path)
        digests = tuple(
            str(path).encode() if path in self._wrong else digest
            for path, digest in zip(pictures, digests, strict=True)
        )
        if digests not in self._numbers:
            self._numbers[digests] = len(self._sets)
            self._sets.append(tuple(pictures))
            self._kept.append(list(first))
        return self._numbers[digests]

    def sprites(self) -> list[dict[str, Any]]:
        """Return every set: its sprites as base64, and each prompt's place on them, -1 for none."""
        count = sum(map(len, self._sets))
        if not count:
            return []
        self.side, share = self._fitting(count)
        return [self._sheets(i, share) for i in range(len(self._sets))]

    def _fitting(self, count: int) -> tuple[int, float]:
        """Return the largest side at which all pictures fit, and the share of them that fits at the smallest."""
        paths = [path for pictures in self._sets for path in pictures]
        samples = [picture for i in evenly(len(paths), SAMPLES) if (picture := _read(paths[i]))]
        broadest = max((max(picture.size) for picture in samples), default=SIDES[0])
        sides = [side for side in SIDES if side < broadest] or [SIDES[-1]]
        sides = [broadest, *sides] if broadest <= SIDES[0] else sides
        size = 0.0
        fits = next((side for side in sides if (size := count * BASE64 * _bytes(samples, side)) <= self.most), None)
        if fits is None:
            share = self.most / size
            self.notes.append(
                f"{share:.0%} of {count:,} pictures are shown, at {sides[-1]} pixels: those of the prompts that lose "
                "most; the run folder has all of them"
            )
            return sides[-1], share
        if fits < broadest:
            self.notes.append(
                f"pictures are shown at {fits} pixels; the run folder has them at {broadest}"
                + ("" if fits == sides[0] else f": {count:,} larger ones would make this file too heavy")
            )
        return fits, 1.0

    def _sheets(self, number: int, share: float) -> dict[str, Any]:
        pictures, first = self._sets[number], self._kept[number] or []
        chosen_prompts = sorted(first[: ceil(share * len(pictures))]) if share < 1 else range(len(pictures))
        chosen = [pictures[i] for i in chosen_prompts]
        with _threads() as threads:
            thumbnails = list(
                threads.map(lambda path: None if path in self._wrong else _thumbnail(path, self.side), chosen)
            )
        damaged = [path for path, thumbnail in zip(chosen, thumbnails, strict=True) if thumbnail is None]
        if damaged:
            self.damaged.append(f"{len(damaged)} pictures are missing or damaged, the first of them {damaged[0]}")
        places = np.full(len(pictures), -1)
        whole = [
            (i, thumbnail) for i, thumbnail in zip(chosen_prompts, thumbnails, strict=True) if thumbnail is not None
        ]
        places[[i for i, _ in whole]] = np.arange(len(whole))
        per = ACROSS * ACROSS
        groups = [[thumbnail for _, thumbnail in whole[start : start + per]] for start in range(0, len(whole), per)]
        with _threads() as threads:
            sheets = list(threads.map(partial(_sheet, side=self.side), groups))
        complete = len(whole) == len(pictures)
        return {"places": None if complete else places.tolist(), "sheets": sheets}


def _threads() -> ThreadPoolExecutor:
    """Return a pool of threads: Pillow decodes, resizes and encodes without the interpreter's lock."""
    return ThreadPoolExecutor(os.cpu_count() or 1)


def _digest(path: Path) -> bytes:
    try:
        return sha256(path.read_bytes()).digest()
    except OSError:
        return str(path).encode()


def _read(path: Path) -> "Image | None":
    try:
        return read_picture(path)
    except UserError:
        return None


def _fit(picture: "Image", side: int) -> "Image":
    from PIL import Image, ImageOps

    return picture if picture.size == (side, side) else ImageOps.pad(picture, (side, side), Image.Resampling.LANCZOS)


def _thumbnail(path: Path, side: int) -> "Image | None":
    picture = _read(path)
    return _fit(picture, side) if picture else None


def _webp(picture: "Image") -> bytes:
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=QUALITY, method=2)
    return content.getvalue()


def _bytes(samples: Iterable["Image"], side: int) -> float:
    """Return the mean bytes of a thumbnail on sprites of such samples."""
    fitted = [_fit(picture, side) for picture in samples]
    per = ACROSS * ACROSS
    groups = [fitted[start : start + per] for start in range(0, len(fitted), per)]
    return sum(len(_webp(_joined(group, side))) for group in groups) / max(1, len(fitted))


def _joined(thumbnails: Sequence["Image"], side: int) -> "Image":
    from PIL import Image

    rows = ceil(len(thumbnails) / ACROSS)
    sprite = Image.new("RGB", (ACROSS * side, rows * side))
    for i, thumbnail in enumerate(thumbnails):
        sprite.paste(thumbnail, (i % ACROSS * side, i // ACROSS * side))
    return sprite


def _sheet(thumbnails: Sequence["Image"], side: int) -> str:
    return base64.b64encode(_webp(_joined(thumbnails, side))).decode()
