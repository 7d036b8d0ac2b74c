"""Which jobs are denoised as one group, so that what is made again of it is made in the same batches.

``states/group-<hash>.jsonl`` is there from before the first denoiser call until the group's last manifest is, so that a
killed group goes on as the same group: in its first line who belongs to it, then a line a picture that was written,
with its hash, and a line a wave that is done. ``groups.json`` keeps who belonged together, and how wide their waves
were, for a folder whose pictures are lost later.
"""

import json
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pydantic import Field, ValidationError

from common.files import atomic_write, canonical_json, sha256_text
from sweeps.delivery.files import PLAIN
from sweeps.record import ExecutionStats, Part

if TYPE_CHECKING:
    from sweeps.writer import Files, Place

STATES = "states"  # of a run folder; checkpoints of the denoising lie there too
GROUPS = "groups.json"
ROWS = "rows"


class Wave(Part):
    """A wave of a group that is done: its pictures are written, or what begins from it lies on disk.

    Attributes:
        of: the number, in the group, of the folder whose plan was cut; 0 where the whole group's was.
        wave: its place in the order.
        rows: of the cut that it belongs to.
        execution: what it took.
        seconds: of it, by stage.
    """

    of: int = 0
    wave: int
    rows: int
    execution: ExecutionStats
    seconds: dict[str, float] = Field(default_factory=dict)

    @property
    def key(self) -> tuple[int, int, int]:
        """Return what tells it from other waves of the group."""
        return self.of, self.rows, self.wave


class Unfinished:
    """One group's file; made by `begun`, or found by `unfinished`.

    Args:
        path: of the file.
        run: the run folder.
        folders: of the group, in its order, relative to the run folder.
        made: those of them that it makes pictures for: the others' were there.
    """

    def __init__(self, path: Path, run: Path, folders: Sequence[str], made: Collection[str]) -> None:
        self.path, self.run, self.folders, self.made = path, run, list(folders), sorted(made)
        self._numbers = {run / folder: number for number, folder in enumerate(self.folders)}
        self._file: TextIO | None = None
        self._lock = threading.Lock()

    def whole(self, files: "Files | None" = None) -> set["Place"]:
        """Return the pictures that were written and are what was written: every one is hashed.

        `files` say, by folder, what its pictures' files are like; plain PNG files unless given.
        """
        places: dict[Place, str] = {}
        for line in _lines(self.path)[1:]:
            try:
                number, prompt, content = _listed(line)
                places[self.run / self.folders[number], int(prompt)] = content
            except (ValueError, TypeError, IndexError):  # the last line of a killed process may be torn
                continue
        found: set[Place] = set()
        for folder in {folder for folder, _ in places}:
            kind = (files or {}).get(folder, PLAIN)
            mine = {prompt: content for (owner, prompt), content in places.items() if owner == folder}
            whole = kind.whole(folder, {kind.name(prompt): content for prompt, content in mine.items()})
            found |= {(folder, prompt) for prompt in mine if kind.name(prompt) in whole}
        return found

    @property
    def rows(self) -> int | None:
        """Rows a wave at most, as the group was begun or, its pictures having been lost, as it was made before."""
        rows = None
        for line in _lines(self.path)[1:]:
            with suppress(ValueError, TypeError, KeyError):
                rows = int(json.loads(line)[ROWS])
        return rows or next(filter(None, map(_waved(self.run).get, self.folders)), None)

    def waves(self) -> list[Wave]:
        """Return what is known of the waves that were done, however the group was cut; each once, as it was last."""
        found: dict[tuple[int, int, int], Wave] = {}
        for line in _lines(self.path)[1:]:
            with suppress(ValidationError):
                wave = Wave.model_validate_json(line)
                found[wave.key] = wave
        return list(found.values())

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
        self._note(json.dumps([self._numbers[folder], prompt, content]))

    def cut(self, rows: int) -> None:
        """Note how many rows a wave has from now on, while it is `writing`."""
        self._note(json.dumps({ROWS: rows}))

    def done(self, wave: Wave) -> None:
        """Note that a wave is done, while it is `writing`."""
        self._note(wave.model_dump_json())

    def _note(self, line: str) -> None:
        with self._lock:
            assert self._file
            self._file.write(line + "\n")
            self._file.flush()

    def end(self, *, together: bool = True) -> None:
        """Note who belonged together, and forget the rest: all manifests are there.

        `together` is False where each was denoised by itself.
        """
        groups = {name: group for name, group in belonged(self.run).items() if name not in self.made}
        if together and len(self.folders) > 1:
            groups |= dict.fromkeys(self.made, self.folders)
        kept = sorted({tuple(group) for group in groups.values()})
        waved = {name: rows for name, rows in _waved(self.run).items() if name not in self.made}
        if (rows := self.rows) and any(wave.wave and wave.rows == rows for wave in self.waves()):
            waved |= dict.fromkeys(self.made, rows)
        content = {
            "groups": kept,
            "of": {name: kept.index(tuple(group)) for name, group in groups.items()},
            **({ROWS: waved} if waved else {}),
        }
        if groups or waved or (self.run / GROUPS).exists():
            atomic_write(self.run / GROUPS, canonical_json(content) + "\n")
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.parent.rmdir()  # where nothing else is in it


def begun(run: Path, identity: str, folders: Sequence[str], made: Collection[str]) -> Unfinished:
    """Return the group of this identity, which is taken up again if it was begun; others are forgotten.

    Args:
        run: the run folder.
        identity: of what is denoised together, and what of it.
        folders: as in `Unfinished`.
        made: likewise.
    """
    new = Unfinished(run / STATES / f"group-{sha256_text(identity)[:16]}.jsonl", run, folders, made)
    if not any((old.path, old.folders, old.made) == (new.path, new.folders, new.made) for old in unfinished(run)):
        atomic_write(new.path, canonical_json({"folders": new.folders, "made": new.made}) + "\n")
    for other in new.path.parent.glob("group-*.jsonl"):
        if other != new.path:
            other.unlink(missing_ok=True)
    return new


def unfinished(run: Path) -> list[Unfinished]:
    """Return the groups of a run folder that were begun and are not finished; a damaged file is none."""
    groups = []
    for path in sorted((run / STATES).glob("group-*.jsonl")):
        try:
            first = json.loads(_lines(path)[0])
            folders, made = _names(first["folders"]), _names(first["made"])
        except (ValueError, IndexError, KeyError, TypeError):
            continue
        groups.append(Unfinished(path, run, folders, made))
    return groups


def belonged(run: Path) -> dict[str, list[str]]:
    """Return, by folder, the group in which its pictures were made, relative to the run; not of one made by itself."""
    try:
        content = json.loads((run / GROUPS).read_text(encoding="utf-8"))
        groups = [_names(group) for group in content["groups"]]
        return {name: groups[number] for name, number in content["of"].items() if name in groups[number]}
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return {}  # then what is lost is made by itself


def _waved(run: Path) -> dict[str, int]:
    """Return, by folder, how many rows the waves had in which its pictures were made, where those were several."""
    try:
        content = json.loads((run / GROUPS).read_text(encoding="utf-8"))
        return {str(name): int(rows) for name, rows in content[ROWS].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _listed(line: str) -> list[Any]:
    if not isinstance(found := json.loads(line), list):
        raise TypeError("this is no picture's line")
    return found


def _names(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError("these are no names")
    return value


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
