import pickle
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from generators.sharing.arrays import read_npz, read_only, write_npz


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", "test 1", {"x": np.arange(3), "n": 7, "name": "mean"})
    arrays = read_npz(tmp_path / "a.npz", "test 1")
    assert sorted(arrays) == ["n", "name", "x"]
    assert arrays["x"].tolist() == [0, 1, 2]
    assert arrays["name"].item() == "mean"


def test_another_kind_is_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", "tree 1", {"x": np.arange(3)})
    with pytest.raises(UserError, match="'tree 1' file, not 'plan 1'"):
        read_npz(tmp_path / "a.npz", "plan 1")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", pickle.dumps([1]), b"hello" * 100])
def test_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read_npz(path, "test 1")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, kind=np.array("test 1"), x=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="damaged or no test 1 file"):
        read_npz(path, "test 1")


def test_a_plain_npy_and_an_npz_of_others_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    np.savez(tmp_path / "b.npz", x=np.arange(3))
    for name in ("a.npy", "b.npz"):
        with pytest.raises(UserError, match="no test 1 file"):
            read_npz(tmp_path / name, "test 1")


def test_damage_anywhere_is_found_or_harmless(tmp_path: Path) -> None:
    path, x = tmp_path / "a.npz", np.arange(40)
    write_npz(path, "test 1", {"x": x})
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            arrays = read_npz(path, "test 1")
        except UserError:
            continue
        assert "x" not in arrays or (arrays["x"] == x).all()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            read_npz(path, "test 1")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone\.npz: No such file"):
        read_npz(tmp_path / "gone.npz", "test 1")


def test_read_only_copies_and_refuses_fractions() -> None:
    mine = np.arange(3)
    copy = read_only(mine, np.int64, "x")
    mine[0] = 9
    assert copy.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="read-only"):
        copy[0] = 1
    with pytest.raises(UserError, match="x must be 1-D int64, not 1-D float64"):
        read_only([0.5], np.int64, "x")
    with pytest.raises(UserError, match="2-D"):
        read_only([[1]], np.int64, "x")
