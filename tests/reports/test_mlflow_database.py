import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common.errors import UserError
from reports import mlflow_database
from reports.mlflow_database import database_of, prepare

# Forks processes that all begin as a sweep does; the first argument is the folder.
PROCESSES = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from reports.mlflow_database import _state, prepare
from reports.session import _experiment

def begin(folder, killed_at=None):
    if pid := os.fork():
        return pid
    def count(*_):
        count.left -= 1
        if not count.left:
            os.kill(os.getpid(), signal.SIGKILL)
    if killed_at:
        count.left = killed_at
        event.listen(Engine, "before_cursor_execute", count)
    status = 1
    try:
        database = folder / "mlflow.db"
        prepare(database, lambda line: print("SAID", line))
        uri = f"sqlite:///{database}"
        client = MlflowClient(uri, uri)
        client.create_run(_experiment(client, "reusebench", uri))
        status = 0
    finally:
        sys.stdout.flush()
        os._exit(status)

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

folder = Path(sys.argv[1])
"""
KILLED = """
for statement in (150, 400):
    print(ended(begin(folder, statement)), _state(folder / "mlflow.db"))
print(ended(begin(folder)), _state(folder / "mlflow.db"))
"""
AT_ONCE = "print(*[ended(pid) for pid in [begin(folder) for _ in range(3)]])"


def run(script: str, folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROCESSES + script, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def runs_of(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that is whole, made once: it takes MLflow seconds."""
    database = tmp_path_factory.mktemp("whole") / "mlflow.db"
    prepare(database, pytest.fail)
    return database


@pytest.fixture
def made(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a database is copying that one."""
    monkeypatch.setattr(mlflow_database, "_make", lambda database: shutil.copy(whole, database))


def unfinished(database: Path, age: float = 60) -> None:
    """A database whose making was cut short after a table or two."""
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE experiments (experiment_id INTEGER, artifact_location TEXT)")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    os.utime(database, (time.time() - age, time.time() - age))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_process_killed_while_it_makes_the_database_leaves_none(tmp_path: Path) -> None:
    """Its statements number some 700, most of them before the file is whole."""
    assert run(KILLED, tmp_path) == ["-9 absent", "-9 absent", "0 whole"]
    assert runs_of(tmp_path / "mlflow.db") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_three_processes_that_begin_at_once_share_one_database(tmp_path: Path) -> None:
    assert run(AT_ONCE, tmp_path) == ["0 0 0"]
    assert runs_of(tmp_path / "mlflow.db") == 3


def test_an_error_while_it_is_made_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def full(self: object, uri: str, artifacts: str) -> None:
        path = Path(uri.removeprefix("sqlite:///"))
        path.write_bytes(b"half")
        path.with_name(f"{path.name}-journal").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SqlAlchemyStore, "__init__", full)
    with pytest.raises(OSError, match="No space"):
        prepare(tmp_path / "mlflow.db", pytest.fail)
    assert [path.name for path in tmp_path.iterdir()] == [".mlflow.db.lock"]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_broken_database_is_set_aside_by_name_with_its_journal_and_made_anew(
    tmp_path: Path, made: None, damaged: bool
) -> None:
    database = tmp_path / "mlflow.db"
    for number in (1, 2):
        if damaged:
            database.write_bytes(b"no database at all" * 100)
        else:
            database.unlink(missing_ok=True)
            unfinished(database)
        (tmp_path / "mlflow.db-wal").write_bytes(b"") if damaged else None
        broken, lines = database.read_bytes(), []
        prepare(database, lines.append)
        (line,) = lines
        assert line.startswith(f"{database} {'is no whole SQLite file' if damaged else 'was never finished'}")
        assert f"set aside as mlflow.broken-{number}.db, and made anew" in line
        assert (tmp_path / f"mlflow.broken-{number}.db").read_bytes() == broken
        assert (tmp_path / f"mlflow.broken-{number}.db-wal").exists() == damaged
        assert runs_of(database) == 0
    prepare(database, pytest.fail)


@pytest.mark.parametrize("content", [b"", None])
def test_an_empty_file_is_filled_and_its_journal_goes(tmp_path: Path, made: None, content: bytes | None) -> None:
    database, journal = tmp_path / "mlflow.db", tmp_path / "mlflow.db-journal"
    if content is not None:
        database.write_bytes(content)
    journal.write_bytes(b"of what was there before")
    prepare(database, pytest.fail)
    assert runs_of(database) == 0
    assert not journal.exists()


def test_a_database_that_somebody_is_making_in_place_is_waited_for(tmp_path: Path, made: None, whole: Path) -> None:
    database = tmp_path / "mlflow.db"
    unfinished(database, age=0)
    finishing = threading.Timer(0.5, lambda: shutil.copy(whole, database))
    finishing.start()
    prepare(database, pytest.fail)
    finishing.join()
    assert [path.name for path in tmp_path.glob("*.db")] == ["mlflow.db"]


@pytest.mark.parametrize(
    "uri",
    ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file::memory:?cache=shared", "sqlite+pysqlite://"],
)
def test_a_database_in_memory_is_refused_by_name(uri: str) -> None:
    with pytest.raises(UserError, match="is a database in memory"):
        database_of(uri)


@pytest.mark.parametrize("path", ["{}", "/dev/null"])
def test_a_folder_and_a_device_are_no_database(path: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder or a device"):
        database_of(f"sqlite:///{path.format(tmp_path)}")


def test_an_address_may_name_a_driver_and_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert database_of("sqlite+pysqlite:///runs/mlflow.db?timeout=9") == tmp_path / "runs" / "mlflow.db"


def places(database: Path) -> list[str]:
    with sqlite3.connect(database) as connection:
        found = connection.execute("SELECT artifact_location FROM experiments UNION SELECT artifact_uri FROM runs")
        return sorted(place for (place,) in found)


def test_places_follow_a_moved_or_copied_folder_but_not_the_file_alone(tmp_path: Path, whole: Path) -> None:
    first = tmp_path / "a first"
    (first / "mlartifacts" / "9").mkdir(parents=True)
    shutil.copy(whole, first / "mlflow.db")
    with sqlite3.connect(first / "mlflow.db") as connection:
        place = (first / "mlartifacts").as_uri()
        connection.execute("UPDATE experiments SET artifact_location = ?", (f"{place}/0",))
        connection.execute(
            "INSERT INTO runs (run_uuid, experiment_id, artifact_uri) VALUES ('9', 0, ?), ('8', 0, 's3://mlartifacts/8')",
            (f"{place}/9/artifacts",),
        )
    prepare(first / "mlflow.db", pytest.fail)

    second, third, lines = tmp_path / "second", tmp_path / "third", []
    first.rename(second)
    prepare(second / "mlflow.db", lines.append)
    (line,) = lines
    assert f"looked for in {second / 'mlartifacts'}, no longer in {first / 'mlartifacts'}" in line
    moved = (second / "mlartifacts").as_uri()
    assert places(second / "mlflow.db") == [f"{moved}/0", f"{moved}/9/artifacts", "s3://mlartifacts/8"]
    prepare(second / "mlflow.db", pytest.fail)

    shutil.copytree(second, third)
    prepare(third / "mlflow.db", lines.append)
    assert (third / "mlartifacts").as_uri() in places(third / "mlflow.db")[0]
    assert places(second / "mlflow.db")[0] == f"{moved}/0"

    (tmp_path / "alone").mkdir()
    shutil.copy(second / "mlflow.db", tmp_path / "alone" / "mlflow.db")
    prepare(tmp_path / "alone" / "mlflow.db", pytest.fail)
    assert places(tmp_path / "alone" / "mlflow.db")[0] == f"{moved}/0"
