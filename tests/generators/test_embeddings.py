import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors import torch as of_torch
from safetensors.numpy import save_file

from common.errors import UserError
from generators.embeddings import load_embeddings

ROWS = np.array([[1.0, 2.0], [3.0, 4.5], [0.0, -1.0]])


def as_parquet(path: Path, **columns: object) -> None:
    parquet.write_table(pa.table(columns), path, row_group_size=2)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_files_of_every_kind_are_read_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, large: bool
) -> None:
    monkeypatch.setattr("generators.embeddings.LARGE", 1 if large else 1 << 20)
    np.save(tmp_path / "a.npy", ROWS.astype(dtype))
    save_file({"anything": ROWS.astype(dtype)}, tmp_path / "a.safetensors")
    as_parquet(tmp_path / "a.parquet", prompt=["a", "b", "c"], anything=list(ROWS.astype(dtype)))
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.astype(dtype).ravel()), 2)
    as_parquet(tmp_path / "b.parquet", image_embeds=fixed, text=list(ROWS))
    for name in ("a.npy", "a.safetensors", "a.parquet", "b.parquet"):
        loaded = load_embeddings(tmp_path / name, n_prompts=3)
        assert loaded.dtype == dtype
        assert (loaded == ROWS).all()
        assert isinstance(loaded, np.memmap) == (large and not name.endswith("safetensors"))


def test_a_parquet_file_without_one_embedding_a_prompt_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for columns, message in [
        ({"a": list(ROWS), "b": list(ROWS)}, r"has a, b columns of lists \(name that of the embeddings 'image_embeds'"),
        ({"a": [1.0, 2.0]}, "has no columns of lists"),
        ({"a": [[1.0, 2.0], [3.0]]}, "lists of different lengths"),
        ({"a": [[1.0], [2.0], [3.0, 4.0]]}, "lists of different lengths"),
        ({"a": [[1.0, 2.0], None]}, "nulls"),
    ]:
        as_parquet(path, **columns)
        with pytest.raises(UserError, match=message):
            load_embeddings(path)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="cannot read"):
        load_embeddings(path)


def test_image_embeds_are_meant_among_several(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a_negative": -ROWS, "image_embeds": ROWS, "text": ROWS[:1]}, path)
    assert (load_embeddings(path) == ROWS).all()
    save_file({"a": ROWS, "b": ROWS}, path)
    with pytest.raises(UserError, match=r"holds a, b \(name the embeddings 'image_embeds'"):
        load_embeddings(path)
    save_file({}, path)
    with pytest.raises(UserError, match="holds nothing"):
        load_embeddings(path)


def test_bfloat16_is_read(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_tensors

    save_tensors({"image_embeds": torch.tensor(ROWS, dtype=torch.bfloat16)}, tmp_path / "a.safetensors")
    assert (load_embeddings(tmp_path / "a.safetensors") == ROWS).all()


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_small_floats_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    rows = torch.tensor([[1.0, 0.5], [-2.0, 0.25]])
    of_torch.save_file({"embeddings": rows.to(dtype)}, tmp_path / "rows.safetensors")
    assert (load_embeddings(tmp_path / "rows.safetensors") == rows.numpy()).all()


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".safetensors"])
def test_a_pipe_and_a_device_are_told_at_once(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    for kind in ("pipe", "device"):
        with pytest.raises(UserError, match=f"it is a {kind}, not a file"):
            load_embeddings(tmp_path / f"{kind}{suffix}")


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1.0, 2.0], [np.nan, 1.0]]), "row 2 of 2 holds NaN"),
        (np.array([[np.inf, 2.0]]), "row 1 of 1 holds infinity"),
        (np.array([[1.0], [0.0]]), "row 2 of 2 is zero"),
        (np.array([1.0, 2.0]), "not .prompts, dimensions. of floats"),
        (np.array([[[1.0]]]), "not .prompts, dimensions. of floats"),
        (np.array([[1, 2]]), "int64"),
        (np.zeros((0, 4)), r"\[0, 4\]"),
    ],
)
def test_what_cannot_be_clustered_is_refused(tmp_path: Path, suffix: str, array: np.ndarray, message: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    else:
        save_file({"x": array}, path)
    with pytest.raises(UserError, match=rf"a\{suffix}: .*{message}"):
        load_embeddings(path)


def test_another_number_than_the_prompts_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    with pytest.raises(UserError, match=r"a\.npy holds 3 embeddings for 4 prompts"):
        load_embeddings(tmp_path / "a.npy", n_prompts=4)


def test_files_that_are_no_embeddings_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "a.pt").write_bytes(b"")
    for name, message in [
        ("pickled.npy", "no plain .npy array"),
        ("cut.safetensors", "cannot read"),
        ("folder.safetensors", "cannot read"),
        ("gone.safetensors", "no such file"),
        ("gone.npy", "No such file"),
        ("a.pt", r"no embeddings file \(embeddings are read from \.npy, \.parquet, \.safetensors\)"),
    ]:
        with pytest.raises(UserError, match=message):
            load_embeddings(tmp_path / name)
