"""Files that are whole or absent, hashes of what they hold, and where the cache is."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; renamed to `path` when the block ends well, removed when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield beside
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write `content` so that `path` holds all of it or what it held before."""
    with atomic_path(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


def canonical_json(value: Any) -> str:
    """JSON that is the same text for the same value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def cache_dir() -> Path:
    """``$REUSEBENCH_CACHE``, or this platform's usual place."""
    if chosen := os.environ.get("REUSEBENCH_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "reusebench"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reusebench"


def sha256_tree(folder: Path) -> str:
    """One hash of a folder: the relative names and contents of its files, hidden ones left out.

    Symbolic links are followed, as loading follows them. File hashes are remembered in the cache by path,
    size, times and inode, so that a 10 GB checkpoint is read once.
    """
    folder = Path(folder).resolve()
    memory_file = cache_dir() / "hashes" / f"{sha256_text(str(folder))}.json"
    try:
        memory = json.loads(memory_file.read_text())
        memory = memory if isinstance(memory, dict) else {}
    except (OSError, ValueError):
        memory = {}
    fresh: dict[str, list[Any]] = {}
    for path in _files(folder):
        name, stat = path.relative_to(folder).as_posix(), path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        known = memory.get(name)
        fresh[name] = known if known and known[:-1] == stamp else [*stamp, sha256_file(path)]
    if fresh != memory:
        with suppress(OSError):  # an unwritable cache costs time, not correctness
            atomic_write(memory_file, json.dumps(fresh))
    return sha256_text(canonical_json({name: entry[-1] for name, entry in fresh.items()}))


def _files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """The files under `folder` that are not hidden; a link back to a folder `above` is not entered again."""
    real = folder.resolve()
    for path in () if real in above else folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _files(path, (*above, real))
        elif path.is_file():
            yield path
