"""Prompts' conditioning on disk, in shards: written as prompts are encoded, kept, put where workers read it."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from common.errors import UserError
from common.files import atomic_write, canonical_json, read_sealed, sha256_file, sha256_text, write_sealed
from generators.batching import Batches
from generators.conditioning import Conditioning

CONDITIONING, ENCODING, UNFINISHED = "conditioning.safetensors", "encoding.json", "encoding.unfinished.json"
SHARD = 2**28  # bytes of conditioning in memory, at which they are written, but for the batch that goes beyond
HINT = "give --store a folder all workers see, or a URL that fsspec reads (s3:// needs s3fs, gs:// gcsfs)"


class Shard(BaseModel):
    """The conditioning of some prompts, one behind the other, in a file of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str
    prompts: int


class Encoding(BaseModel):
    """The manifest of a folder's conditioning, which is complete when this is there, and whole when its hashes agree.

    Attributes:
        sha256: of `CONDITIONING`, where that is all; of several shards, of their hashes.
        notes: for records.
        shards: in the order of the prompts; none where `CONDITIONING` is all.
        seal: the hash of the others, which files of earlier versions lack.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    notes: list[str] = Field(default_factory=list)
    shards: list[Shard] = Field(default_factory=list)
    seal: str | None = None

    @classmethod
    def of(cls, files: Mapping[str, str], notes: Sequence[str], prompts: Sequence[int]) -> "Encoding":
        """Return the manifest of these files, a hash each, that hold so many prompts each."""
        hashes = list(files.values())
        if list(files) == [CONDITIONING]:
            return cls(sha256=hashes[0], notes=list(notes)).sealed()
        shards = [Shard(file=file, sha256=files[file], prompts=n) for file, n in zip(files, prompts, strict=True)]
        return cls(sha256=sha256_text(canonical_json(hashes)), notes=list(notes), shards=shards).sealed()

    def sealed(self) -> "Encoding":
        """Return it with its own hash."""
        shards = [[shard.model_dump() for shard in self.shards]] if self.shards else []
        return self.model_copy(update={"seal": sha256_text(canonical_json([self.sha256, self.notes, *shards]))})

    @property
    def files(self) -> dict[str, str]:
        """The hash of each file."""
        return {shard.file: shard.sha256 for shard in self.shards} or {CONDITIONING: self.sha256}


@dataclass(frozen=True, eq=False)
class Encoded:
    """Prompts' conditioning, where it lies on disk if it does, and what a record should say of it.

    Attributes:
        files: by its path, the hash of each file that the conditioning reads.
        place: the folder of these, where it is to go with them.
    """

    conditioning: Conditioning
    files: Mapping[Path, str]
    notes: tuple[str, ...] = ()
    place: TemporaryDirectory[str] | None = None

    def published(self, store: str | None) -> Conditioning:
        """Return the conditioning as all workers read it; `store` and errors are those of `publish`."""
        urls = {str(path): publish(path, f"{sha256}.safetensors", store) for path, sha256 in self.files.items()}
        return self.conditioning.at(urls)


def load_encoding(folder: Path | None, on_damage: Callable[[str], None]) -> Encoded | None:
    """Return the conditioning in `folder`, every file of which is verified by its hash and none held in memory.

    None if it is not there, or not whole. `on_damage` hears of a file that is damaged or missing.
    """
    if not folder or not (folder / ENCODING).exists():
        return None
    path = folder / CONDITIONING
    try:
        encoding = Encoding.model_validate_json((folder / ENCODING).read_text(encoding="utf-8"))
        if encoding.seal not in (None, encoding.sealed().seal):
            raise ValueError("its hash is not what was written")
        files = {}
        for name, sha256 in encoding.files.items():
            path = folder / name
            if sha256_file(path) != sha256:
                raise ValueError("its hash is not what was written")
            files[path] = sha256
        return Encoded(Conditioning.joined([Conditioning.load(path) for path in files]), files, tuple(encoding.notes))
    except (OSError, ValueError, UserError):
        on_damage(f"{path} is damaged or missing")
        return None


class EncodingWriter:
    """Takes prompts' conditioning as it is made, and writes it shard by shard: memory holds no more than a shard.

    What was written when a process died is there, and need not be made again. Where nothing is kept, what is more than
    a shard lies in a temporary folder meanwhile.

    Args:
        folder: where it is kept; None: nowhere.
        batch_size: the prompts of a batch, as asked for.
        resumes: whether the prompts of a shard that is there need not be encoded again for those behind them.
        on_damage: hears of a shard that is damaged: all are made again.

    Attributes:
        batches: what to encode in: they begin behind the prompts that are done.
    """

    def __init__(
        self, folder: Path | None, batch_size: int, *, resumes: bool, on_damage: Callable[[str], None]
    ) -> None:
        self._asked, self._folder, self._keeps = batch_size, folder, folder is not None
        self._place: TemporaryDirectory[str] | None = None
        self._parts: list[Conditioning] = []
        self._files: dict[str, str] = {}
        self._prompts: list[int] = []
        self.batches = Batches(batch_size)
        if folder and not (resumes and self._resumed(folder, on_damage)):
            for path in [folder / ENCODING, folder / UNFINISHED, *folder.glob("conditioning*.safetensors")]:
                path.unlink(missing_ok=True)

    def add(self, part: Conditioning) -> None:
        """Take the next prompts'."""
        self._parts.append(part)
        if sum(len(own) * own.row_bytes for own in self._parts) >= SHARD:
            folder = self._write(f"conditioning-{len(self._files):05d}.safetensors")
            if self._keeps:
                self._remember(folder)

    def finish(self, notes: Sequence[str]) -> Encoded:
        """Write what is left, then the manifest, and return the whole.

        Small sets are one file; where nothing is kept, they stay in memory.
        """
        if self._parts and (self._keeps or self._files):
            number = len(self._files)
            self._write(f"conditioning-{number:05d}.safetensors" if number else CONDITIONING)
        if not self._folder:
            return Encoded(Conditioning.joined(self._parts), {}, tuple(notes))
        files = {self._folder / name: sha256 for name, sha256 in self._files.items()}
        if self._keeps:
            encoding = Encoding.of(self._files, notes, self._prompts)
            content = encoding.model_dump_json(indent=1, exclude=None if encoding.shards else {"shards"})
            atomic_write(self._folder / ENCODING, content + "\n")
            (self._folder / UNFINISHED).unlink(missing_ok=True)
        whole = Conditioning.joined([Conditioning.load(path) for path in files])
        return Encoded(whole, files, tuple(notes), self._place)

    def _write(self, name: str) -> Path:
        """Write what was taken as a shard of that name, and return its folder."""
        if self._folder is None:
            self._place = TemporaryDirectory(prefix="reusebench-")
            self._folder = Path(self._place.name)
        part = Conditioning.joined(self._parts)
        part.save(self._folder / name)
        self._files[name] = sha256_file(self._folder / name)
        self._prompts.append(len(part))
        self._parts = []
        return self._folder

    def _remember(self, folder: Path) -> None:
        batches = self.batches
        about = {"size": batches.size, "notes": batches.notes, "memo": batches.memo}
        shards = Encoding.of(self._files, (), self._prompts).model_dump()["shards"]
        write_sealed(folder / UNFINISHED, {"asked": self._asked, "shards": shards, **about})

    def _resumed(self, folder: Path, on_damage: Callable[[str], None]) -> bool:
        """Return whether there is something to begin behind; shards are verified by their hashes."""
        path = folder / UNFINISHED
        if not path.exists():
            return False
        try:
            about: dict[str, Any] = read_sealed(path)[0]
            for shard in [Shard.model_validate(one) for one in about["shards"]]:
                path = folder / shard.file
                if sha256_file(path) != shard.sha256:
                    raise ValueError("its hash is not what was written")
                self._files[shard.file] = shard.sha256
                self._prompts.append(shard.prompts)
            size = about["size"] if about["asked"] == self._asked else self._asked
            self.batches = Batches(size, start=sum(self._prompts))
            self.batches.notes, self.batches.memo = list(about["notes"]), dict(about["memo"])
        except (OSError, ValueError, KeyError, TypeError):
            on_damage(f"{path} is damaged or missing")
            self._files, self._prompts = {}, []
            return False
        return True


def publish(path: Path, name: str, store: str | None) -> str:
    """Return a URL of the file that all workers can read, copying it into the store if there is one.

    Args:
        name: its name in the store, which stands for its content: what is there is not written again.
        store: a URL of a folder; None: they read `path` itself.

    Raises:
        UserError: the store cannot be written.
    """
    if store is None:
        return str(path.resolve())
    from fsspec.core import url_to_fs

    url = f"{store.rstrip('/')}/{name}"
    try:
        system, target = url_to_fs(url)
        if not system.exists(target):
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            beside = f"{target}.{uuid.uuid4().hex}"
            system.put_file(str(path), beside)
            system.mv(beside, target)
    except (OSError, ImportError, ValueError) as error:
        raise UserError(f"cannot write to the store {store}: {error}", HINT) from error
    return url
