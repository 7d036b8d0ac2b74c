"""A run folder has one writer and holds one sweep; nothing in it is ever half."""

import errno
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.errors import UserError
from common.files import atomic_path, disk_full
from sweeps.record import load_records
from sweeps.spec import make_spec
from sweeps.store import open_store, refuse_another, saved_spec


def hold(folder, ready) -> None:
    with open_store(folder, make_spec([])):
        ready.set()
        time.sleep(60)


def begin(folder, spec) -> None:
    """Leave a run folder in which something was made: before that it is no sweep's."""
    with open_store(folder, spec):
        (folder / "shared/0").mkdir(parents=True)
        (folder / "shared/0/conditioning.npz").write_text("")


def refused(folder, why, **settings) -> None:
    with pytest.raises(UserError, match=why), open_store(folder, make_spec([settings])):
        pass


def test_a_live_process_holds_the_folder_and_a_killed_one_does_not(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path / "run", ready))
    process.start()
    assert ready.wait(30)
    with (
        pytest.raises(UserError, match=f"in use by process {process.pid} on "),
        open_store(tmp_path / "run", make_spec([])),
    ):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with open_store(tmp_path / "run", make_spec([])) as store:
        assert store.folder == tmp_path / "run"


def test_one_process_holds_a_folder_once_and_says_so_no_longer_than_it_does(tmp_path):
    with open_store(tmp_path / "run", make_spec([])):
        refused(tmp_path / "run", f"in use by process {os.getpid()} on .* since .* UTC.*wait until it ends")
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")] == []


def test_a_lock_that_was_left_in_an_empty_folder_makes_it_no_other_folder(tmp_path):
    with pytest.raises(UserError, match="not a run folder"), open_store(tmp_path, make_spec([])):
        (tmp_path / "sweep.yaml").unlink()
        (tmp_path / "thesis.txt").write_text("mine")
        refuse_another(tmp_path, make_spec([]))
    (tmp_path / "thesis.txt").unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    with open_store(tmp_path, make_spec([])) as store:
        assert store.folder == tmp_path


def test_the_spec_is_kept(tmp_path):
    spec = make_spec([{"tau": "0,1", "seed": 3}])
    with open_store(tmp_path / "run", spec):
        pass
    assert saved_spec(tmp_path / "run") == spec


def test_no_bit_of_a_spec_can_change_and_nothing_be_cut_off(tmp_path):
    spec, rng = make_spec([{"tau": "0,1", "seed": 3, "title": "mine"}]), random.Random(0)
    with open_store(tmp_path / "run", spec):
        pass
    path, refused = tmp_path / "run/sweep.yaml", 0
    whole = path.read_bytes()
    flipped = []
    for _ in range(60):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        flipped.append(bytes(content))
    for content in [*flipped, *(whole[:length] for length in range(0, len(whole), 37))]:
        path.write_bytes(content)
        try:
            assert saved_spec(tmp_path / "run") == spec
        except UserError:
            refused += 1
    assert refused > 60


@pytest.mark.parametrize("change", [{"seed": 1}, {"tau": "0"}, {"limit": 2}, {"prompts": "x.txt"}])
def test_another_sweep_is_refused_and_told_where_it_differs(tmp_path, change):
    begin(tmp_path / "run", make_spec([]))
    before = (tmp_path / "run/sweep.yaml").read_bytes()
    with (
        pytest.raises(UserError, match=f"differs in .*{next(iter(change))}"),
        open_store(tmp_path / "run", make_spec([change])),
    ):
        pass
    assert (tmp_path / "run/sweep.yaml").read_bytes() == before


def test_how_it_is_run_and_scored_is_no_other_sweep(tmp_path):
    with open_store(tmp_path / "run", make_spec([])):
        pass
    with open_store(tmp_path / "run", make_spec([{"device": "cuda", "batch_size": 2, "metric": "vqa"}])):
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    refused(tmp_path, "not a run folder")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("version", ["schema_version: 2", "schema_version: 0", "{}"])
def test_another_versions_folder_is_refused(tmp_path, version):
    (tmp_path / "sweep.yaml").write_text(f"{version}\n")
    refused(tmp_path, "another version")


def test_leftovers_of_a_kill_are_swept_away(tmp_path):
    with open_store(tmp_path / "run", make_spec([])):
        pass
    folder = tmp_path / "run/cells/x"
    folder.mkdir(parents=True)
    code = "import os, sys; from pathlib import Path; from common.files import atomic_path\n"
    code += "with atomic_path(Path(sys.argv[1])) as beside:\n    beside.write_text('{'); os._exit(9)"
    subprocess.run([sys.executable, "-c", code, str(folder / "record.json")], cwd=Path(__file__).parents[2])
    (leftover,) = folder.iterdir()
    mine = folder / ".notes.tmp.txt"
    others = folder / re.sub(r"[0-9a-f]{8}-", "00000000-", leftover.name)
    for path in (mine, others):
        path.write_text("not ours")
    with atomic_path(folder / "figure.png") as living, open_store(tmp_path / "run", make_spec([])):
        assert not leftover.exists()
        living.write_text("a report is being written beside the sweep")
    assert sorted(path.name for path in folder.iterdir()) == sorted([mine.name, others.name, "figure.png"])


def test_a_lock_that_locks_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.store.fcntl.flock", lambda *_: None)
    refused(tmp_path / "run", "locks of the disk that holds .* do not hold")


def test_a_disk_without_locks_is_named(tmp_path, monkeypatch):
    def acquire(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("sweeps.store.FileLock.acquire", acquire)
    refused(tmp_path / "run", "the disk that holds .* has no locks")


@pytest.mark.parametrize(
    ("mount", "local"),
    [
        ("srv:/x {} nfs4 rw,vers=4.2,local_lock=none 0 0", False),
        ("srv:/x {} nfs rw,vers=3,nolock,local_lock=all 0 0", True),
        ("srv:/x {} nfs rw,local_lock=flock 0 0", True),
        ("mds@tcp:/l {} lustre rw,flock 0 0", False),
        ("mds@tcp:/l {} lustre rw,localflock 0 0", True),
        ("/dev/sda1 {} ext4 rw 0 0", False),
    ],
)
def test_where_locks_hold_on_one_machine_alone_another_machines_sweep_is_refused(tmp_path, monkeypatch, mount, local):
    run = tmp_path / "run"
    (tmp_path / "mounts").write_text(f"rootfs / ext4 rw 0 0\n{mount.format(tmp_path)}\n")
    monkeypatch.setattr("sweeps.store.MOUNTS", tmp_path / "mounts")
    run.mkdir()
    (run / ".holder.json").write_text('{"pid": 7, "host": "elsewhere", "since": "2026-01-01T00:00:00"}')
    if local:
        refused(run, "in use by process 7 on elsewhere.*hold on one machine alone")
        (run / ".holder.json").unlink()
    with open_store(run, make_spec([])):
        pass


def test_what_is_no_run_folder_is_said(tmp_path):
    for read in (load_records, saved_spec):
        with pytest.raises(UserError, match="is not a run folder"):
            read(tmp_path)


def test_a_full_disk_is_known_by_whoever_says_it():
    assert disk_full(OSError(errno.ENOSPC, "x"))
    assert disk_full(OSError(errno.EDQUOT, "x"))
    assert disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not disk_full(OSError(errno.EACCES, "x"))


def test_a_run_holds_its_file_of_prompts_and_is_the_same_sweep_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("a\nb\n")
    begin(tmp_path / "run", make_spec([{"prompts": "mine.txt"}]))
    assert (tmp_path / "run/prompts/mine.txt").read_text() == "a\nb\n"
    assert "prompts: prompts/mine.txt\n" in (tmp_path / "run/sweep.yaml").read_text()
    Path("mine.txt").rename("moved.txt")
    assert saved_spec(tmp_path / "run").prompts == tmp_path / "run/prompts/mine.txt"
    with open_store(tmp_path / "run", saved_spec(tmp_path / "run")):
        pass
    Path("mine.txt").write_text("a\nc\n")
    with (
        pytest.raises(UserError, match="differs in prompts"),
        open_store(tmp_path / "run", make_spec([{"prompts": "mine.txt"}])),
    ):
        pass


@pytest.mark.parametrize("absolute", [True, False])
def test_an_older_run_that_names_a_file_elsewhere_continues(tmp_path, monkeypatch, absolute):
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("a\nb\n")
    path = str(tmp_path / "mine.txt") if absolute else "mine.txt"
    (tmp_path / "run").mkdir()
    (tmp_path / "run/sweep.yaml").write_text(
        f"schema_version: 1\nprompts: {path}\nattention: null\nanother_seed: true\n"
    )
    for asked in ("mine.txt", str(tmp_path / "mine.txt")):
        with open_store(tmp_path / "run", make_spec([{"prompts": asked}])):
            pass
    Path("mine.txt").unlink()
    assert saved_spec(tmp_path / "run").prompts == Path(path), "it is read all the same"


def test_a_model_folder_is_the_same_from_wherever_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path)
    with open_store(tmp_path / "run", make_spec([{"model": "./mine"}])):
        pass
    monkeypatch.chdir(tmp_path / "else")
    assert saved_spec(tmp_path / "run").model == (str(tmp_path / "mine"),)
    with open_store(tmp_path / "run", make_spec([{"model": "../mine"}])):
        pass
