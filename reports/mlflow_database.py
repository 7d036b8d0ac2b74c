"""The SQLite file in which MLflow keeps its runs: made whole, moved with its artifacts, and set aside if it is broken.

MLflow makes its tables in some fifty steps that commit one by one, and a file in which they stopped half way is of no
use to it ever after. So the file is made beside, by one process at a time, and renamed when it is whole.
"""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock, Timeout

from common.errors import UserError
from common.files import atomic_path

ARTIFACTS = "mlartifacts"
MEMORY = (":memory:", "file::memory:")
ADDRESS = re.compile(r"sqlite(?:\+\w+)?://(?P<path>[^?]*)(?:\?.*)?", re.DOTALL)
SUFFIXES = ("", "-journal", "-wal", "-shm")  # SQLite's own files beside a database: one without the other is damage
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
SETTLED = 5.0  # seconds without a write after which an unfinished file is nobody's work
PATIENCE = 120.0  # seconds that another process may take to make it
Say = Callable[[str], None]
State = Literal["absent", "unfinished", "damaged", "whole"]


def database_of(uri: str) -> Path | None:
    """Return the file of an SQLite address; None for an address of another kind.

    Raises:
        UserError: it names no file: a database in memory, a folder or a device.

    Examples:
        >>> database_of("sqlite:////runs/mlflow.db").as_posix(), database_of("http://localhost:5000")
        ('/runs/mlflow.db', None)
    """
    found = ADDRESS.fullmatch(uri)
    if found is None:
        return None
    path = found["path"].removeprefix("/")
    hint = "name a file: sqlite:///runs/mlflow.db"
    if not path or path.startswith(MEMORY):
        raise UserError(f"{uri} is a database in memory, and all in it is gone when the command ends", hint)
    if Path(path).exists() and not Path(path).is_file():
        raise UserError(f"{path} is a folder or a device, no SQLite file", hint)
    return Path(path).resolve()


def prepare(database: Path, say: Say) -> None:
    """Make MLflow's SQLite file if it is not there, set a broken one aside first, and mend where artifacts are.

    Args:
        database: its absolute path; missing folders are made.
        say: is given one line on what was mended.

    Raises:
        UserError: another process takes too long to make it.
        Exception: whatever SQLite, MLflow or the disk raises.
    """
    if _state(database) != "whole":
        database.parent.mkdir(parents=True, exist_ok=True)
        with _held(database):
            if (state := _settled(database)) != "whole":
                _remove_leftovers(database)
                if state == "absent":  # a journal that was left of an empty file would be played into the new one
                    for file in _files(database):
                        file.unlink()
                else:
                    what = "is no whole SQLite file" if state == "damaged" else "was never finished by MLflow"
                    say(f"{database} {what}: set aside as {_set_aside(database).name}, and made anew")
                _make(database)
    _mend_places(database, say)


def artifacts_of(database: Path) -> str:
    """Return the address of the folder of a database's artifacts, beside it."""
    return (database.parent / ARTIFACTS).as_uri()


def _state(database: Path) -> State:
    """Return how a file stands. One that MLflow has finished holds at least its default experiment."""
    if not database.exists() or (not database.stat().st_size and not _with_suffix(database, "-wal").exists()):
        return "absent"
    try:
        with _opened(database) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return "absent"
            if "experiments" in tables and connection.execute("SELECT count(*) FROM experiments").fetchone()[0]:
                return "whole"
            return "unfinished"
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED:  # extended codes hold the plain one in a byte
            return "damaged"
        raise


def _settled(database: Path) -> State:
    """Return the state of the file when it is whole or nobody writes it: `mlflow ui` may be making it in place."""
    while (state := _state(database)) == "unfinished":
        quiet = time.time() - max(path.stat().st_mtime for path in _files(database))
        if not 0 <= quiet < SETTLED:
            break
        time.sleep(0.2)
    return state


@contextmanager
def _held(database: Path) -> Iterator[None]:
    lock = FileLock(database.with_name(f".{database.name}.lock"), thread_local=False)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise UserError(f"another process has been making {database} for too long", "see what it does") from None
    try:
        yield
    finally:
        lock.release()


def _make(database: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with atomic_path(database) as beside:
        try:
            store = SqlAlchemyStore(f"sqlite:///{beside}", artifacts_of(database))
            store._dispose_engine()
        finally:
            for suffix in SUFFIXES[1:]:
                _with_suffix(beside, suffix).unlink(missing_ok=True)


def _remove_leftovers(database: Path) -> None:
    """Remove what a process that was killed while it held the lock was making."""
    for leftover in database.parent.glob(f".{database.stem}.*.tmp{database.suffix}*"):
        leftover.unlink(missing_ok=True)


def _set_aside(database: Path) -> Path:
    """Rename a file, and what SQLite has beside it, to the first free name."""
    number = 1
    while (aside := database.with_name(f"{database.stem}.broken-{number}{database.suffix}")).exists():
        number += 1
    for suffix in SUFFIXES:
        if (file := _with_suffix(database, suffix)).exists():
            file.rename(_with_suffix(aside, suffix))
    return aside


def _mend_places(database: Path, say: Say) -> None:
    """Let experiments and runs whose artifacts lay beside the database have them beside it where it is now.

    MLflow knows absolute places alone, so a folder that was moved or copied would go on writing to where it was.
    """
    here = database.parent / ARTIFACTS
    with _opened(database) as connection:
        found = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        roots = {root for (place,) in found if (root := _root(place)) and not _same(root, here)}
        for root in sorted(roots):
            if root.is_dir() and not here.is_dir():  # the database alone was moved
                continue
            old, new = root.as_uri(), here.as_uri()
            for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
                below = f"{column} = ? OR substr({column}, 1, ?) = ?"
                moved = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {below}"
                done = connection.execute(moved, (new, len(old) + 1, old, len(old) + 1, f"{old}/"))
            connection.commit()
            if done.rowcount:  # runs have artifacts, experiments may have none
                say(f"{database} was moved: the artifacts of its runs are looked for in {here}, no longer in {root}")


def _root(place: str | None) -> Path | None:
    """Return the folder of artifacts that a place in it names, if it is one that was made beside a database."""
    parts = urlsplit(place or "")
    if parts.scheme != "file" or parts.netloc:
        return None
    path = Path(url2pathname(parts.path))
    return next((folder for folder in (path, *path.parents) if folder.name == ARTIFACTS), None)


def _same(one: Path, other: Path) -> bool:
    return one == other or (one.exists() and other.exists() and one.samefile(other))


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    """Open a file that is there; SQLite rolls back what a killed process has left half written."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=30)) as connection:
        yield connection


def _files(database: Path) -> list[Path]:
    return [file for suffix in SUFFIXES if (file := _with_suffix(database, suffix)).exists()]


def _with_suffix(database: Path, suffix: str) -> Path:
    return database.with_name(f"{database.name}{suffix}")
