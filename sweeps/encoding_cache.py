"""Encodings of known prompt sets in the cache, so that the next command need not make them again."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.files import cache_dir, canonical_json, make_folder, path_beside, remove_leftovers, sha256_text
from sweeps.encodings import ENCODING, UNFINISHED, Encoded, load_encoding
from sweeps.pictures import link

FOLDER = "encodings"
MOST = 4 * 2**30  # bytes of all that is kept


@dataclass(frozen=True)
class EncodingCache:
    """A folder of encodings, each in a folder named by the hash of all that its bytes follow from.

    What lies there is one file with what the run folders hold, where the disk has links. It is verified by its hashes
    whenever it is taken out, and what is damaged is removed. A cache that cannot be written costs time alone.

    Attributes:
        folder: ``encodings`` in the cache unless given.
        most: bytes of all that is kept; what was used longest ago goes first, and an encoding of more is not kept.
    """

    folder: Path = field(default_factory=lambda: cache_dir() / FOLDER)
    most: int = MOST

    @staticmethod
    def key(about: Mapping[str, Any]) -> str:
        """Return the name of an encoding: a hash of what decides its bytes, which are plain values."""
        return sha256_text(canonical_json(about))[:32]

    def take(self, key: str, folder: Path, prompts: int, on_damage: Callable[[str], None]) -> Encoded | None:
        """Put an encoding into a run's folder and return it, verified; None where there is none that is whole.

        Args:
            key: of the encoding.
            folder: of the run's conditioning; what an interrupted encoding left there goes.
            prompts: as many as it is to be of.
            on_damage: hears of one that is damaged, and removed.
        """
        place = self.folder / key
        if not (place / ENCODING).is_file():
            return None
        taken, damage = None, list[str]()
        with suppress(OSError):
            make_folder(folder)
            # the manifest last: without it the others are nothing yet
            for path in sorted(place.iterdir(), key=lambda path: path.name == ENCODING):
                link(path, folder / path.name)
            taken = load_encoding(folder, damage.append)
        if taken is None or len(taken.conditioning) != prompts:
            (folder / ENCODING).unlink(missing_ok=True)
            if taken or damage:
                on_damage(f"{place} is damaged")
                shutil.rmtree(place, ignore_errors=True)
            return None
        (folder / UNFINISHED).unlink(missing_ok=True)
        with suppress(OSError):
            place.touch()  # it was used
        return taken

    def keep(self, key: str, encoded: Encoded) -> bool:
        """Keep an encoding that lies in a run's folder; return whether there was room for it."""
        files = list(encoded.files)
        if not files:
            return True
        files.append(files[0].parent / ENCODING)
        place = self.folder / key
        with suppress(OSError):
            if sum(path.stat().st_size for path in files) > self.most:
                return False
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)
            beside = path_beside(place)
            try:
                beside.mkdir()
                for path in files:
                    link(path, beside / path.name)
                beside.rename(place)  # another process may have put its own there: they are equal
            finally:
                shutil.rmtree(beside, ignore_errors=True)
            self._bound()
        return True

    def sizes(self) -> dict[Path, int]:
        """Return the bytes of every encoding that is kept, by its folder, the one that was used last first."""
        places = [place for place in self.folder.glob("*") if place.is_dir() and not place.name.startswith(".")]
        used: dict[Path, tuple[float, int]] = {}
        for place in places:
            with suppress(OSError):  # another process removes it
                used[place] = place.stat().st_mtime, sum(path.stat().st_size for path in place.iterdir())
        return {place: used[place][1] for place in sorted(used, key=lambda place: used[place][0], reverse=True)}

    def _bound(self) -> None:
        total = 0
        for place, size in self.sizes().items():
            total += size
            if total > self.most:
                shutil.rmtree(place, ignore_errors=True)
