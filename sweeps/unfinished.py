"""What is known of a group of jobs while its pictures are made, so that a killed one goes on as the same group.

``states/group-<hash>.jsonl``: in its first line the folders that the group makes pictures for; then a line a picture
that was written, with its hash. It is there from before the first denoiser call until the group's last manifest is.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from common.files import atomic_write, canonical_json, sha256_file, sha256_text
from sweeps.pictures import picture_name

if TYPE_CHECKING:
    from sweeps.writer import Place

STATES = "states"  # of a run folder; checkpoints of the denoising lie there too


class Unfinished:
    """One group's file; made by `begun`, or found by `unfinished`.

    Args:
        path: of the file.
        folders: that the group makes pictures for, relative to the run folder, in the group's order.
        run: the run folder.
    """

    def __init__(self, path: Path, folders: Sequence[str], run: Path) -> None:
        self.path, self.folders, self.run = path, list(folders), run
        self._numbers = {run / folder: number for number, folder in enumerate(self.folders)}
        self._file: TextIO | None = None
        self._lock = threading.Lock()

    def whole(self) -> set["Place"]:
        """Return the pictures that were written and are what was written: every one is hashed."""
        places: dict[Place, str] = {}
        for line in _lines(self.path)[1:]:
            try:
                number, prompt, content = json.loads(line)
                places[self.run / self.folders[number], int(prompt)] = content
            except (ValueError, TypeError, IndexError):  # the last line of a killed process may be torn
                continue
        return {place for place, content in places.items() if _hash(place) == content}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep the file open for `written` while the block lasts."""
        torn = not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a", encoding="utf-8") as self._file:
            if torn:
                self._file.write("\n")
            yield

    def written(self, place: "Place", content: str) -> None:
        """Note that a picture lies in its folder, with the hash of its file; from any thread, while it is `writing`."""
        folder, prompt = place
        line = json.dumps([self._numbers[folder], prompt, content]) + "\n"
        with self._lock:
            assert self._file
            self._file.write(line)
            self._file.flush()

    def end(self) -> None:
        """Forget the group: all its manifests are there."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.parent.rmdir()  # where nothing else is in it


def begun(run: Path, identity: str, folders: Iterable[Path]) -> Unfinished:
    """Return the group of this identity, which is taken up again if it was begun; others are forgotten.

    Args:
        run: the run folder.
        identity: of what is denoised together.
        folders: that it makes pictures for.
    """
    relative = [folder.relative_to(run).as_posix() for folder in folders]
    path = run / STATES / f"group-{sha256_text(identity)[:16]}.jsonl"
    if not any(group.path == path and group.folders == relative for group in unfinished(run)):
        atomic_write(path, canonical_json(relative) + "\n")
    for other in path.parent.glob("group-*.jsonl"):
        if other != path:
            other.unlink(missing_ok=True)
    return Unfinished(path, relative, run)


def unfinished(run: Path) -> list[Unfinished]:
    """Return the groups of a run folder that were begun and are not finished; a damaged file is none."""
    groups = []
    for path in sorted((run / STATES).glob("group-*.jsonl")):
        try:
            folders = json.loads(_lines(path)[0])
        except (ValueError, IndexError):
            continue
        if isinstance(folders, list) and all(isinstance(folder, str) for folder in folders):
            groups.append(Unfinished(path, folders, run))
    return groups


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _hash(place: "Place") -> str | None:
    folder, prompt = place
    try:
        return sha256_file(folder / "images" / picture_name(prompt))
    except OSError:
        return None
