"""Files that are whole or absent, hashes of what they hold, where the cache is, and what a path may be."""

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from common.errors import UserError

CHUNK = 1 << 20
SEAL = "sha256"  # the field of a JSON file that holds the hash of the others
EXCHANGES = 100  # how often a folder is put in its place before that is an error
CLOCK = 5  # seconds by which two processes may see the start of a third differently
LEFTOVER = re.compile(r"^\..*\.(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)\.tmp")
FULL = (errno.ENOSPC, errno.EDQUOT)
MOST = 2 << 30  # bytes of a file that is read whole
DRIVE = re.compile(r"[A-Za-z]:(?=[\\/])")  # C:\models and C:/models
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # as `Path` has it, which makes one slash of two


class GoneError(UserError):
    """A folder that is being written was moved or removed meanwhile: nothing more is written for it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} was moved or removed while it was being written",
            "move it back and run the same command again; without it, that begins anew",
        )


_watched: dict[Path, bool] = {}  # whether it was there


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Have what is written below a folder fail, while the block lasts, where the folder is gone.

    Otherwise the folder would be made anew, with a part of what belongs there. It need not be there yet: then it is
    known from where it is watched again, within the block.

    Raises:
        GoneError: it was moved or removed; whatever fails then is raised as this.
    """
    place = folder.absolute()
    outermost = place not in _watched
    _watched[place] = _watched.get(place) or place.exists()
    try:
        still_there(place)
        yield
        still_there(place)
    except Exception:
        still_there(place)
        raise
    finally:
        if outermost:
            del _watched[place]


def still_there(path: Path) -> None:
    """Raise a GoneError if `path` is, or is below, a folder that is `watched` and was moved or removed."""
    for folder, known in list(_watched.items()) if _watched else ():
        if known and path.absolute().is_relative_to(folder) and not folder.exists():
            raise GoneError(folder)


def make_folder(folder: Path) -> None:
    """Make a folder and those around it, where they are missing; but none that is `watched` and was there before."""
    still_there(folder)
    place = folder.absolute()
    for around in (one for one, known in list(_watched.items()) if known and place.is_relative_to(one)):
        # level by level: in between that one may go, and `parents` would make it again
        try:
            for level in [*reversed(place.relative_to(around).parents), place.relative_to(around)][1:]:
                (around / level).mkdir(exist_ok=True)
        except FileNotFoundError:
            still_there(folder)
            raise
        return
    folder.mkdir(parents=True, exist_ok=True)


def disk_full(error: BaseException) -> bool:
    """Return True where an error means that no space is left, whichever library raised it.

    Examples:
        >>> disk_full(OSError(errno.ENOSPC, "cannot write")), disk_full(ValueError("no such value"))
        (True, False)
    """
    return (isinstance(error, OSError) and error.errno in FULL) or os.strerror(errno.ENOSPC) in str(error)


def unwritable(error: BaseException) -> bool:
    """Return True where an error means that nothing more can be written, so that others would only fail likewise."""
    return disk_full(error) or isinstance(error, GoneError)


@contextmanager
def full_disk_told(folder: Path, hint: str) -> Iterator[None]:
    """Raise a UserError in place of whichever error says that the disk is full."""
    try:
        yield
    except Exception as error:
        if disk_full(error):
            raise UserError(f"the disk that holds {folder} is full", hint) from error
        raise


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
    make_folder(path.parent)
    beside = path_beside(path)
    try:
        yield beside
        with beside.open("r+b") as written:  # Windows flushes only what is open for writing
            os.fsync(written.fileno())
        try:
            beside.replace(path)
        except OSError as error:  # whose first name is one that nobody knows
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def path_beside(path: Path) -> Path:
    """Return the hidden path beside `path` that this process writes before it renames; its name carries the process."""
    machine, start = _process(os.getpid())
    return path.with_name(f".{path.stem}.{machine}-{os.getpid()}-{start}.tmp{path.suffix}")


def remove_leftovers(folder: Path) -> None:
    """Remove under `folder` what processes of this machine had begun to write when they died; all else stays.

    Other machines' processes cannot be seen from here, so that what they left stays too, hidden.
    """
    for path in [*folder.rglob(".*.tmp*")]:
        known = LEFTOVER.match(path.name)
        if not known or known["machine"] != _process(os.getpid())[0] or _runs(int(known["pid"]), int(known["start"])):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)


@cache
def _process(pid: int) -> tuple[str, int]:
    """Return a hash of the machine whose process numbers these are, and when this process began, in seconds."""
    import psutil

    try:  # containers of one host may share its name, and have numbers of their own
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        namespace = ""
    return sha256_text(f"{platform.node()} {namespace}")[:8], int(psutil.Process(pid).create_time())


def _runs(pid: int, start: int) -> bool:
    """Return True where the process that began then still runs; its number may be another's by now."""
    import psutil

    try:
        return bool(abs(psutil.Process(pid).create_time() - start) < CLOCK)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def atomic_write(path: Path, content: str | bytes) -> str:
    """Write bytes, or text as UTF-8, so that `path` holds all of it or what it held before; return their SHA-256."""
    content = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as beside:
        beside.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def exchange_folder(new: Path, path: Path) -> None:
    """Put the folder `new`, which lies beside it, in the place of `path`; what was there is removed.

    Raises:
        UserError: what stands at `path` is no folder.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is no folder", "move it away and run the same command again")
    old = path_beside(path.with_name(f"{path.name}-before"))
    for _ in range(EXCHANGES):
        with suppress(FileNotFoundError):
            path.rename(old)
        try:
            new.rename(path)
            break
        except OSError as error:  # another process has put its own there
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(old, ignore_errors=True)
    if old.is_symlink():
        old.unlink()
    shutil.rmtree(old, ignore_errors=True)


def write_sealed(path: Path, content: Mapping[str, Any]) -> str:
    """Write a JSON object with one field more, ``sha256``: the hash of the others, which `read_sealed` verifies.

    Returns:
        That hash.

    Raises:
        ValueError: the object has such a field already, which would be lost.
    """
    if SEAL in content:
        raise ValueError(f"an object with a field {SEAL} cannot be sealed")
    digest = sha256_text(canonical_json(content))
    atomic_write(path, json.dumps({**content, SEAL: digest}, indent=1, ensure_ascii=False) + "\n")
    return digest


def read_sealed(path: Path) -> tuple[dict[str, Any], str | None]:
    """Return the JSON object that `write_sealed` wrote, without its hash, and the hash.

    The hash is None where the file has none, as those of earlier versions: then nothing was verified, and whoever
    reads it refuses fields that it does not know, lest ``sha256`` with a changed letter pass for one of these.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON object, or not what was written.
    """
    content = parse_json(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    digest = content.pop(SEAL, None)
    if digest is not None and digest != sha256_text(canonical_json(content)):
        raise ValueError("its content is not what was written")
    return content, digest


def canonical_json(value: Any) -> str:
    """Return JSON that is the same text for the same value: sorted keys, no spaces, ASCII.

    Raises:
        ValueError: a number is NaN or infinite.

    Examples:
        >>> canonical_json({"tau": "0.5", "seed": [42, None]})
        '{"seed":[42,null],"tau":"0.5"}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text holds.

    Raises:
        ValueError: it is no JSON, or nested too deep to read.

    Examples:
        >>> parse_json("[" * 100_000)
        Traceback (most recent call last):
        ValueError: it is nested too deep
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def input_file(path: Path, most: int = MOST) -> Path:
    """Return the path of a file that a user gave, if reading it ends; whoever opens it tells where there is none.

    Args:
        path: of the file.
        most: bytes that it may have; what is mapped into memory needs no bound.

    Raises:
        UserError: it is a pipe or a device, or larger.
    """
    path = Path(path)
    try:
        about = path.stat()
    except OSError:
        return path
    if stat.S_ISDIR(about.st_mode):
        return path
    kinds = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    if not stat.S_ISREG(about.st_mode):
        kind = next((name for is_one, name in kinds.items() if is_one(about.st_mode)), "a device")
        raise UserError(f"cannot read {path}: it is {kind}, not a file", "give a file that holds what it would give")
    if about.st_size > most:
        raise UserError(f"cannot read {path}: it has {about.st_size:,} bytes, and {most:,} are the most", "divide it")
    return path


def sha256_text(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8, in hex."""
    return sha256_bytes(text.encode())


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


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
    memory = _remembered(memory_file)
    fresh: dict[str, list[Any]] = {}
    for path in _files(folder):
        name, about = path.relative_to(folder).as_posix(), path.stat()
        stamp = [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
        known = memory.get(name)
        fresh[name] = known if known and known[:-1] == stamp else [*stamp, sha256_file(path)]
    if fresh != memory:
        with suppress(OSError):  # an unwritable cache costs time, not correctness
            write_sealed(memory_file, {"files": fresh})
    return sha256_text(canonical_json({name: entry[-1] for name, entry in fresh.items()}))


def _remembered(memory_file: Path) -> dict[str, list[Any]]:
    """Return the hashes of files that the cache has, by name; none where it is damaged, by one bit even."""
    try:
        held, digest = read_sealed(input_file(memory_file))
        files: dict[str, list[Any]] = held["files"]
        return files if digest else {}
    except (OSError, UserError, ValueError, KeyError):
        return {}


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
