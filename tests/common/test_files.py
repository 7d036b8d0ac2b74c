import math
import shutil
from pathlib import Path

import pytest

from common.files import atomic_path, atomic_write, canonical_json, sha256_tree


def test_a_file_is_whole_or_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "record.json"
    atomic_write(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]


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
