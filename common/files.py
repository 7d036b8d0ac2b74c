"""Files that are whole or absent, hashes of what they hold, where the cache is, and what a path may be."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common.errors import UserError

CHUNK = 1 << 20
DRIVE = re.compile(r"[A-Za-z]:(?=[\\/])")  # C:\models and C:/models
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # as `Path` has it, which makes one slash of two


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` when the block ends well, else remove it.

    Until then whoever opens `path` reads what it held before, and a crash leaves that. Missing folders are made.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder) / "table.csv") as beside:
        ...         _ = beside.write_text("tau,savings")
        ...         before = (Path(folder) / "table.csv").exists()
        ...     before, (Path(folder) / "table.csv").read_text()
        (False, 'tau,savings')
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield beside
        with beside.open("r+b") as written:  # Windows flushes only what is open for writing
            os.fsync(written.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8, so that `path` holds all of it or what it held before."""
    with atomic_path(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


def canonical_json(value: Any) -> str:
    """Return JSON that is the same text for the same value: sorted keys, no spaces, ASCII.

    Raises:
        ValueError: a number is NaN or infinite.

    Examples:
        >>> canonical_json({"tau": "0.5", "seed": [42, None]})
        '{"seed":[42,null],"tau":"0.5"}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def sha256_text(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hex; it need not fit into memory."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def split_scheme(text: str) -> tuple[str, str]:
    """Split ``SCHEME:REST``; the scheme is empty where there is none, or the colon is that of a Windows drive.

    Examples:
        >>> split_scheme("kandinsky:me/prior+me/decoder")
        ('kandinsky', 'me/prior+me/decoder')
        >>> split_scheme("D:/models/flux")
        ('', 'D:/models/flux')
    """
    scheme, colon, rest = text.partition(":")
    return (scheme, rest) if colon and not DRIVE.match(text) else ("", text)


def split_revision(source: str) -> tuple[str, str | None]:
    """Split ``OWNER/NAME@REVISION``; the revision is None where there is none.

    Examples:
        >>> split_revision("me/model@refs/pr/1"), split_revision("me/model")
        (('me/model', 'refs/pr/1'), ('me/model', None))
    """
    hub_id, at, revision = source.partition("@")
    return hub_id, revision if at else None


def cut_to_bytes(text: str, most: int) -> str:
    """Return the beginning of a text that takes so many bytes as UTF-8, which is what a file's name is counted in.

    Examples:
        >>> cut_to_bytes("水彩画", 7), cut_to_bytes("abc", 7)
        ('水彩', 'abc')
    """
    return text.encode()[:most].decode(errors="ignore")


def local_folder(path: Path) -> Path:
    """Return the path of a folder to write to, as it is.

    Raises:
        UserError: it is an address, such as ``s3://bucket/runs``.

    Examples:
        >>> local_folder(Path("runs/first")).name
        'first'
    """
    if URL.match(path.as_posix()):
        scheme = path.as_posix().partition(":")[0]
        raise UserError(
            f"{scheme}:// is no folder on a disk, and what is made here needs one",
            "write to a folder and copy it there; Ray's workers take --store for what they share",
        )
    return path


def cache_dir() -> Path:
    """Return ``$REUSEBENCH_CACHE``, or this platform's usual place; it need not exist.

    That is ``$XDG_CACHE_HOME/reusebench`` or ``~/.cache/reusebench`` on Linux, ``~/Library/Caches/reusebench`` on
    macOS, and ``%LOCALAPPDATA%\\reusebench\\Cache`` on Windows.
    """
    if chosen := os.environ.get("REUSEBENCH_CACHE"):
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("reusebench", appauthor=False)


def sha256_tree(folder: Path) -> str:
    """Return one hash of a folder, in hex: of the relative names and contents of its files, hidden ones left out.

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
    """Yield the files under `folder` that are not hidden; a link back to a folder `above` is not entered again."""
    real = folder.resolve()
    for path in () if real in above else folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _files(path, (*above, real))
        elif path.is_file():
            yield path
