import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from platformdirs.macos import MacOS

from common.errors import UserError
from common.files import (
    GoneError,
    atomic_path,
    atomic_write,
    cache_dir,
    canonical_json,
    exchange_folder,
    input_file,
    local_folder,
    make_folder,
    parse_json,
    read_sealed,
    remove_leftovers,
    sha256_tree,
    split_scheme,
    watched,
    write_sealed,
)


def test_a_file_is_whole_or_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "record.json"
    atomic_write(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]


def test_whoever_reads_while_a_file_is_written_reads_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("old")
    with atomic_path(path) as beside:
        beside.write_text("new and longer")
        assert beside.parent == path.parent, "renaming is whole only within one disk"
        assert path.read_text() == "old"
    assert path.read_text() == "new and longer"
    with path.open() as opened_before:
        atomic_write(path, "newest")
        assert opened_before.read() == "new and longer"


def test_a_process_that_dies_while_it_writes_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("old")
    code = "import os, sys; from pathlib import Path; from common.files import atomic_path\n"
    code += "with atomic_path(Path(sys.argv[1])) as beside:\n    beside.write_text('half'); os._exit(9)"
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=Path(__file__).parents[2])
    assert done.returncode == 9
    assert path.read_text() == "old"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the place on Linux")
def test_the_cache_is_where_it_always_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REUSEBENCH_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_dir() == Path("/home/me/.cache/reusebench")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert cache_dir() == Path("/fast/reusebench")
    monkeypatch.setenv("REUSEBENCH_CACHE", "mine")
    assert cache_dir() == Path("mine")


def test_the_cache_is_where_the_mac_has_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/Users/me")
    assert MacOS("reusebench", appauthor=False).user_cache_path == Path("/Users/me/Library/Caches/reusebench")


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("kandinsky:me/prior+me/decoder", "kandinsky"),
        (r"kandinsky:C:\prior+D:\decoder", "kandinsky"),
        ("hf:me/model", "hf"),
        (r"C:\models\flux", ""),
        ("d:/models/flux", ""),
        ("models/flux", ""),
    ],
)
def test_the_letter_of_a_drive_is_no_scheme(text: str, scheme: str) -> None:
    assert split_scheme(text) == (scheme, text.removeprefix(f"{scheme}:"))


@pytest.mark.parametrize("address", ["s3://bucket/runs", "gs://b", "file:///runs", "https://host/runs"])
def test_an_address_is_no_folder(address: str) -> None:
    with pytest.raises(UserError, match=f"^{address.partition(':')[0]}:// is no folder"):
        local_folder(Path(address))


@pytest.mark.parametrize("folder", ["runs", "../runs", "/runs", "C:/runs", r"C:\runs", "a:b", "runs/at:12/30"])
def test_a_folder_is_one(folder: str) -> None:
    assert local_folder(Path(folder)) == Path(folder)


def test_canonical_json_does_not_depend_on_order_and_refuses_nan() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None]}) == canonical_json({"a": [1.5, None], "b": 1})
    with pytest.raises(ValueError):
        canonical_json(math.nan)


def test_a_folders_hash_follows_contents_and_names_but_not_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    atomic_write(folder / "unet" / "weights.safetensors", b"1234")
    atomic_write(folder / "config.json", "{}")
    first = sha256_tree(folder)
    (folder / "config.json").touch()
    (folder / ".hidden").write_text("x")
    assert sha256_tree(folder) == first
    atomic_write(folder / "config.json", "[]")
    changed = sha256_tree(folder)
    assert changed != first
    (folder / "config.json").rename(folder / "other.json")
    assert sha256_tree(folder) not in (first, changed)


def test_a_folders_hash_follows_what_is_linked_to_and_ends_where_a_link_leads_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "cache"))
    folder, elsewhere = tmp_path / "model", tmp_path / "unet"
    atomic_write(folder / "config.json", "{}")
    atomic_write(elsewhere / "weights.safetensors", b"1234")
    (folder / "unet").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    first = sha256_tree(folder)
    atomic_write(elsewhere / "weights.safetensors", b"12345")
    assert sha256_tree(folder) != first


def test_a_remembered_hash_is_not_another_files_of_that_size_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "cache"))
    weights, other = tmp_path / "model" / "weights", tmp_path / "other"
    atomic_write(weights, b"1234")
    first = sha256_tree(weights.parent)
    other.write_bytes(b"4321")
    shutil.copystat(weights, other)
    other.replace(weights)
    assert sha256_tree(weights.parent) != first


def test_a_sealed_file_with_any_other_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    digest = write_sealed(path, {"tau": "0.5", "rate": 0.1, "prompt": "ein Fuchs, größer"})
    assert read_sealed(path) == ({"tau": "0.5", "rate": 0.1, "prompt": "ein Fuchs, größer"}, digest)
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(300):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            found, told = read_sealed(path)
        except ValueError:
            continue
        assert told in (None, digest)
        assert found == read_whole(whole) or found.keys() - {"tau", "rate", "prompt"}, "a field that nobody knows"


def read_whole(content: bytes) -> dict[str, Any]:
    return {name: value for name, value in json.loads(content).items() if name != "sha256"}


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "null", "{", '{"a": NaN, "sha256": "x"}'])
def test_what_is_no_sealed_file_is_a_value_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError):
        read_sealed(tmp_path / "x.json")


def test_a_folder_takes_anothers_place_whole(tmp_path: Path) -> None:
    for name in ("report", "beside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    exchange_folder(tmp_path / "beside", tmp_path / "report")
    assert [path.name for path in tmp_path.rglob("*")] == ["report", "beside"]
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UserError, match="is no folder"):
        exchange_folder(tmp_path / "report", tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"


def test_of_what_was_left_half_written_only_dead_processes_own_is_removed(tmp_path: Path) -> None:
    code = "import os, sys; from pathlib import Path; from common.files import atomic_path\n"
    code += "with atomic_path(Path(sys.argv[1])) as beside:\n    beside.write_text('half'); os._exit(9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "dead.json")], cwd=Path(__file__).parents[2])
    (dead,) = tmp_path.iterdir()
    machine, pid, start = dead.name.split(".")[2].split("-")
    (tmp_path / dead.name.replace(".json", "")).mkdir()  # a report's folder
    kept = {
        ".notes.tmp.txt",
        ".old.4711.tmp.json",
        f".other-machine.00000000-{pid}-{start}.tmp.json",
        f".reused-number.{machine}-{os.getpid()}-{start}0.tmp.json",
    }
    for name in kept:
        (tmp_path / name).write_text("mine")
    with atomic_path(tmp_path / "living.json") as living:
        living.write_text("{}")
        remove_leftovers(tmp_path)
        left = {path.name for path in tmp_path.iterdir()}
    gone = {f".reused-number.{machine}-{os.getpid()}-{start}0.tmp.json"}
    assert left == (kept - gone) | {living.name}


def gone(folder: Path, how: str) -> None:
    shutil.rmtree(folder) if how == "removed" else folder.rename(folder.with_name("moved"))


@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_watched_folder_that_is_gone_is_said_and_not_made_again(tmp_path: Path, how: str) -> None:
    run = tmp_path / "run"
    with pytest.raises(GoneError, match=r"run was moved or removed while it was being written"), watched(run):
        make_folder(run)
        with watched(run):
            atomic_write(run / "cells" / "a" / "record.json", "1")
            gone(run, how)
            with pytest.raises(GoneError):
                atomic_write(run / "cells" / "a" / "record.json", "2")
            with pytest.raises(GoneError):
                make_folder(run / "cells")
            raise FileNotFoundError("whatever fails meanwhile fails for that")
    assert not run.exists()
    make_folder(run / "cells")  # nobody watches any more


def test_a_watched_folder_that_goes_between_a_look_and_a_write_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, mkdir = tmp_path / "run", Path.mkdir
    run.mkdir()

    def late(self: Path, *arguments: object, **more: object) -> None:
        shutil.rmtree(run, ignore_errors=True)
        mkdir(self, *arguments, **more)  # type: ignore[arg-type]

    with pytest.raises(GoneError), watched(run):
        monkeypatch.setattr(Path, "mkdir", late)
        make_folder(run / "cells" / "a")
    assert not run.exists()


@pytest.mark.parametrize("damage", ["hash", "number", "list", "text", "deep", "bytes", "former", "pipe"])
def test_a_damaged_cache_of_hashes_is_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "cache"))
    atomic_write(tmp_path / "model" / "weights", b"1234")
    right = sha256_tree(tmp_path / "model")
    (memory,) = (tmp_path / "cache" / "hashes").iterdir()
    held = parse_json(memory.read_text())
    entry = held["files"]["weights"]
    damaged = {
        "hash": memory.read_text().replace(entry[-1], f"{(int(entry[-1], 16) ^ 1):064x}"),
        "number": '{"files": {"weights": 7}}',
        "list": "[1]",
        "text": '"x"',
        "deep": "[" * 100_000,
        "bytes": "\x00",
        "former": str(entry).replace("'", '"').join(('{"weights": ', "}")),
        "pipe": None,
    }[damage]
    memory.unlink()
    os.mkfifo(memory) if damaged is None else memory.write_text(damaged)
    assert sha256_tree(tmp_path / "model") == right
    assert parse_json(memory.read_text()) == held


def test_json_that_is_nested_beyond_reading_is_no_json() -> None:
    for text in ("[" * 100_000, '{"a":' * 100_000, b"[" * 100_000):
        with pytest.raises(ValueError, match="nested too deep"):
            parse_json(text)


def test_what_reading_would_not_end_of_is_no_input(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"12345")
    for name, message in (
        ("pipe", "it is a pipe"),
        ("/dev/zero", "it is a device"),
        ("large", "has 5 bytes"),
    ):
        with pytest.raises(UserError, match=message):
            input_file(tmp_path / name, most=4)
    for name in ("large", "missing", "."):
        assert input_file(tmp_path / name) == tmp_path / name


def test_an_object_that_has_the_seal_s_field_is_not_sealed(tmp_path):
    with pytest.raises(ValueError, match="sha256"):
        write_sealed(tmp_path / "record.json", {"file": "a.png", "sha256": "ab"})
    assert not (tmp_path / "record.json").exists()
