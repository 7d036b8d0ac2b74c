"""The files of a job's pictures: what they are called and hold, where they lie, and whether they are whole."""

import json
import os
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from common.files import canonical_json, make_folder, path_beside, sha256_bytes, sha256_file, sha256_text
from common.pictures import read_picture
from common.remote import RemoteFolder, md5
from sweeps.delivery.formats import PNG, Encoded, PictureFormat, described

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sweeps.delivery.about import About

IMAGES = "images"
LOG = "pictures.jsonl"  # in the job's folder: a line a picture that was written, where files say how they were made
SEAL = 16  # letters of a line's hash that stand in it


@dataclass(frozen=True)
class Receipt:
    """What is known of a picture that was written, without reading it again; `Encoded` says what its fields are.

    Attributes:
        name: of the file.
        bytes, md5: by which a store's own listing is compared.
    """

    name: str
    sha256: str
    pixels: str
    width: int
    height: int
    blank: bool
    bytes: int
    md5: str

    @classmethod
    def of(cls, name: str, file: Encoded) -> "Receipt":
        """Return the receipt of a file."""
        about = {key: getattr(file, key) for key in ("sha256", "pixels", "width", "height", "blank")}
        return cls(name, **about, bytes=len(file.content), md5=md5(file.content))


class Receipts:
    """A job's receipts, in ``pictures.jsonl``: appended as pictures are written, from any thread."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        self._known: dict[str, Receipt] | None = None

    def add(self, receipt: Receipt) -> None:
        """Note that a picture lies in its place."""
        content = asdict(receipt)
        with self._lock:
            known = self._read()
            torn = self.path.exists() and not _ends_whole(self.path)
            make_folder(self.path.parent)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(("\n" if torn else "") + json.dumps({**content, "seal": _seal(content)}) + "\n")
            known[receipt.name] = receipt

    def by_name(self) -> Mapping[str, Receipt]:
        """Return the latest receipt of each picture; damaged lines are none."""
        with self._lock:
            return dict(self._read())

    def _read(self) -> dict[str, Receipt]:
        if self._known is None:
            self._known = {}
            for line in _lines(self.path):
                try:
                    content = json.loads(line)
                    if content.pop("seal") == _seal(content):
                        self._known[content["name"]] = Receipt(**content)
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    continue  # its picture is made again
        return self._known


class ImageFolder(ABC):
    """Where a job's pictures lie."""

    @abstractmethod
    def place(self, name: str) -> str:
        """Return where a picture lies, to be shown."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a picture's file, whole or not at all."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return a picture's file."""

    @abstractmethod
    def faults(self, hashes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Yield the pictures that are not what was written, and whether they are missing or damaged.

        Args:
            hashes: by name, the SHA-256 of what was written.
        """

    @abstractmethod
    def keep(self, names: Collection[str]) -> None:
        """Remove the other pictures."""


class LocalImages(ImageFolder):
    """A folder on a disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, name: str) -> str:
        return str(self.folder / name)

    def write(self, name: str, content: bytes) -> None:
        make_folder(self.folder)
        beside = path_beside(self.folder / name)
        try:
            beside.write_bytes(content)
            beside.replace(self.folder / name)
        finally:
            beside.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def faults(self, hashes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        for name, expected in hashes.items():
            try:
                whole = sha256_file(self.folder / name) == expected
            except OSError:
                whole = False
            if not whole:
                yield name, "damaged" if os.path.lexists(self.folder / name) else "missing"

    def keep(self, names: Collection[str]) -> None:
        if not names:
            shutil.rmtree(self.folder, ignore_errors=True)
        make_folder(self.folder)
        for picture in self.folder.iterdir():
            if picture.name not in names:
                picture.unlink()


class RemoteImages(ImageFolder):
    """A folder behind an address.

    Objects are compared by what one listing says of them: size, and MD5 where the store tells it. One whose MD5 is not
    told, or differs (that of an encrypted object is of other bytes), is read back and hashed.
    """

    def __init__(self, folder: RemoteFolder, receipts: Receipts) -> None:
        self.folder, self._receipts = folder, receipts

    def place(self, name: str) -> str:
        return f"{self.folder.shown}/{IMAGES}/{name}"

    def write(self, name: str, content: bytes) -> None:
        self.folder.write(f"{IMAGES}/{name}", content)

    def read(self, name: str) -> bytes:
        content = self.folder.read(f"{IMAGES}/{name}")
        if content is None:
            raise FileNotFoundError(2, os.strerror(2), self.place(name))
        return content

    def faults(self, hashes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        there, receipts = self.folder.list() if hashes else {}, self._receipts.by_name()
        for name, expected in hashes.items():
            listed, receipt = there.get(f"{IMAGES}/{name}"), receipts.get(name)
            if listed is None:
                yield name, "missing"
                continue
            size, digest = listed
            if receipt and receipt.sha256 == expected:
                if size != receipt.bytes:
                    yield name, "damaged"
                    continue
                if digest == receipt.md5:
                    continue
            content = self.folder.read(f"{IMAGES}/{name}")
            if content is None or sha256_bytes(content) != expected:
                yield name, "missing" if content is None else "damaged"

    def keep(self, names: Collection[str]) -> None:
        for path in self.folder.list():
            name = path.removeprefix(f"{IMAGES}/")
            if path != name and name not in names:
                self.folder.remove(path)


@dataclass(frozen=True, eq=False)
class PictureFiles:
    """The files of a job's pictures.

    Attributes:
        format: of the files.
        stems: their names without the suffix, by prompt; (): the prompts' numbers.
        about: what a prompt's file says of how it was made; None: nothing, and no receipts are kept.
        remote: where they lie, in ``images/``; None: in the job's folder.

    Examples:
        >>> PictureFiles().name(7), PictureFiles(PictureFormat("jpeg"), ("fox", "cat")).name(1)
        ('00007.png', 'cat.jpg')
    """

    format: PictureFormat = PNG
    stems: Sequence[str] = ()
    about: "Callable[[int], About] | None" = None
    remote: RemoteFolder | None = None
    _receipts: dict[Path, Receipts] = field(default_factory=dict, init=False, repr=False)

    def name(self, prompt: int) -> str:
        """Return the name of a prompt's file; numbers sort as prompts do."""
        return f"{self.stems[prompt] if self.stems else f'{prompt:05d}'}{self.format.suffix}"

    def encode(self, prompt: int, pixels: "NDArray[np.uint8]") -> Encoded:
        """Return a prompt's picture [H, W, 3] as its file."""
        return self.format.encode(pixels, self.about(prompt) if self.about else None)

    def images(self, folder: Path) -> ImageFolder:
        """Return where the pictures of the job whose folder this is lie."""
        return RemoteImages(self.remote, self.receipts(folder)) if self.remote else LocalImages(folder / IMAGES)

    def receipts(self, folder: Path) -> Receipts:
        """Return the receipts of the job whose folder this is."""
        return self._receipts.setdefault(folder, Receipts(folder / LOG))

    def forget(self, folder: Path) -> None:
        """Remove the receipts of the job whose folder this is, before its pictures."""
        self._receipts.pop(folder, None)
        (folder / LOG).unlink(missing_ok=True)

    def write(self, folder: Path, prompt: int, file: Encoded) -> None:
        """Put a prompt's file into its place, then note it.

        Raises:
            OSError: the disk cannot be written.
            UserError: the address cannot.
        """
        name = self.name(prompt)
        self.images(folder).write(name, file.content)
        if self.about:
            self.receipts(folder).add(Receipt.of(name, file))

    def known(self, folder: Path, names: Sequence[str]) -> list[Receipt]:
        """Return what is known of the pictures of these names: by their receipts, else by reading them.

        What a lossy file was encoded from is known by its receipt alone: where one of those is lost, all are read, so
        that equal pictures still have equal hashes.
        """
        receipts = dict(self.receipts(folder).by_name()) if self.about else {}
        lost = [name for name in names if name not in receipts]
        images = self.images(folder)
        for name in lost if self.format.lossless or not lost else names:
            receipts[name] = _read(images.read(name), name)
        return [receipts[name] for name in names]

    def hashes(self, folder: Path, names: Sequence[str]) -> dict[str, str]:
        """Return the SHA-256 of the pictures of these names: by their receipts, or of plain files by reading them."""
        if self.about:
            return {receipt.name: receipt.sha256 for receipt in self.known(folder, names)}
        return {name: sha256_file(folder / IMAGES / name) for name in names}

    def received(self, folder: Path, n_prompts: int) -> set[int]:
        """Return the prompts whose pictures have a receipt and are whole; plain files have none."""
        receipts = self.receipts(folder).by_name() if self.about else {}
        prompts = {self.name(prompt): prompt for prompt in range(n_prompts)} if receipts else {}
        hashes = {name: receipts[name].sha256 for name in prompts if name in receipts}
        return {prompts[name] for name in self.whole(folder, hashes)}

    def whole(self, folder: Path, hashes: Mapping[str, str]) -> set[str]:
        """Return the names of the pictures that are what was written.

        Args:
            folder: of the job.
            hashes: by name, the SHA-256 of what was written.
        """
        return set(hashes) - {name for name, _ in self.images(folder).faults(hashes)}


PLAIN = PictureFiles()


def _read(content: bytes, name: str) -> Receipt:
    from io import BytesIO

    import numpy as np

    return Receipt.of(name, described(np.asarray(read_picture(BytesIO(content))), content))


def _seal(content: Mapping[str, object]) -> str:
    return sha256_text(canonical_json(content))[:SEAL]


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
