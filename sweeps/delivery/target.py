"""Where a set of pictures goes: a folder, or an address with a folder here that holds what is needed to go on."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.addresses import shown
from common.errors import UserError
from common.files import (
    SEAL,
    atomic_write,
    cache_dir,
    canonical_json,
    local_folder,
    parse_json,
    read_sealed,
    sha256_text,
    write_sealed,
)
from common.remote import RemoteFolder, is_url
from sweeps.delivery.files import IMAGES, LOG
from sweeps.pictures import MANIFEST

DELIVERY = "delivery.json"  # what the pictures' files are like, beside them and in the folder here
FILE = "file://"
WORDS = {
    "format": "--format",
    "quality": "--quality",
    "name_by": "--name-by",
    "names": "the names that --name-by reads",
    "to": "--out",
    "run": "what was asked for",
}


@dataclass(frozen=True)
class Target:
    """A destination.

    Attributes:
        folder: the run folder: of what goes to an address, its plan, conditioning and checkpoints.
        remote: the address; None: all of it stays in the folder.
    """

    folder: Path
    remote: RemoteFolder | None = None

    @property
    def shown(self) -> str:
        """Return where the pictures go, to be shown."""
        return self.remote.shown if self.remote else str(self.folder)

    def put(self, name: str, content: bytes) -> None:
        """Write a file beside the pictures, whole or not at all."""
        if self.remote:
            self.remote.write(name, content)
        else:
            atomic_write(self.folder / name, content)

    def get(self, path: Path) -> Path | bytes:
        """Return a picture's file, by its path in the destination: where it lies, or what is in it."""
        if self.remote is None:
            return self.folder / path
        content = self.remote.read(path.as_posix())
        if content is None:
            raise UserError(f"{self.shown}/{path.as_posix()} is missing", "run the same command again")
        return content

    def claim(self, files: Mapping[str, Any], run: str) -> bool:
        """Note in the destination which files it gets, unless it says the same already.

        Args:
            files: what the pictures' files are like, as plain values.
            run: the id of the cell.

        Returns:
            False where pictures of an earlier version lie, which say nothing of how they were made.

        Raises:
            UserError: it holds files of another kind, other pictures, or what is none of ours; or cannot be written.
        """
        asked = {**files, "to": self.remote and self.remote.shown, "run": run}
        made = any((self.folder / name).exists() for name in (MANIFEST, LOG)) or any((self.folder / IMAGES).glob("*"))
        held = self._held()
        if made and held is None and self.remote is None:
            self._compare({"format": "png", "quality": None, "name_by": None, "names": None}, asked, self.shown)
            return False
        if made and held is not None:
            self._compare({**asked, **held}, asked, str(self.folder))
        if self.remote:
            self._claim_remote(self.remote, asked)
        if held != asked:
            write_sealed(self.folder / DELIVERY, asked)
        return True

    def _held(self) -> dict[str, Any] | None:
        try:
            return read_sealed(self.folder / DELIVERY)[0]
        except (OSError, ValueError):
            return None

    def _claim_remote(self, remote: RemoteFolder, asked: Mapping[str, Any]) -> None:
        there = remote.list()
        content = remote.read(DELIVERY) if DELIVERY in there else None
        held: dict[str, Any] = {}
        if content is not None:
            with suppress(ValueError, TypeError):  # damaged: then it says nothing
                held = dict(parse_json(content))
            held.pop(SEAL, None)
        if held == asked:
            return
        if held and any(name.startswith(f"{IMAGES}/") for name in there):
            self._compare(held, asked, remote.shown)
        if there and not held:
            raise UserError(f"{remote.shown} is not empty", "choose another --name or --out")
        sealed = {**asked, SEAL: sha256_text(canonical_json(asked))}
        remote.write(DELIVERY, (json.dumps(sealed, indent=1, ensure_ascii=False) + "\n").encode())

    @staticmethod
    def _compare(held: Mapping[str, Any], asked: Mapping[str, Any], where: str) -> None:
        differs = [name for name in WORDS if name in held and held[name] != asked.get(name)]
        if differs:
            first = held[differs[0]]
            there = "not given" if first is None else first
            said = f" (there, {WORDS[differs[0]]} is {there})" if differs[0] not in ("names", "run") else ""
            raise UserError(
                f"{where} holds pictures whose files are other ones: they differ in "
                f"{', '.join(WORDS[name] for name in differs)}{said}",
                "choose another --name or --out, or ask for what is there; pictures of two kinds are never mixed",
            )


def target_of(out: str, work: Path | None) -> tuple[Path, str | None]:
    """Return the folder of run folders for what goes to `out`, and the address if it is one.

    Args:
        out: a folder, or an address that fsspec reads.
        work: the folder for what is needed to go on; None: one in the cache, named by a hash of the address.

    Raises:
        UserError: a folder for what is needed to go on is given, and the pictures go to a folder.

    Examples:
        >>> target_of("generated", None)
        (PosixPath('generated'), None)
        >>> target_of("s3://bucket/night/", Path("state"))
        (PosixPath('state'), 's3://bucket/night')
    """
    if out.startswith(FILE):
        out = out.removeprefix(FILE)
    if is_url(out):
        url = out.rstrip("/")
        return work or cache_dir() / "generate" / sha256_text(shown(url))[:16], url
    if work is not None:
        raise UserError(
            "--work is for pictures that go to an address: in a folder all of it lies in one place", "leave it out"
        )
    return local_folder(Path(out)), None
