"""The cache of encodings is bounded: what was used longest ago goes first."""

import os
from pathlib import Path

import pytest
import torch

from generators.conditioning import Conditioning
from sweeps.encoding_cache import EncodingCache
from sweeps.encodings import Encoded, EncodingWriter


def written(folder: Path, rows: int) -> Encoded:
    """An encoding of so many prompts, of about 4 kB each."""
    writer = EncodingWriter(folder, rows, resumes=True, on_damage=pytest.fail)
    writer.add(Conditioning({"pooled": torch.full((rows, 1024), float(rows))}))
    return writer.finish(["a note"])


@pytest.fixture
def cache(tmp_path: Path) -> EncodingCache:
    return EncodingCache(tmp_path / "cache", most=20_000)


def test_what_is_taken_is_what_was_kept(cache: EncodingCache, tmp_path: Path) -> None:
    encoded = written(tmp_path / "a", 2)
    assert cache.keep("k", encoded)
    taken = cache.take("k", tmp_path / "b", 2, pytest.fail)
    assert taken
    assert taken.notes == ("a note",)
    assert torch.equal(taken.conditioning.tensors["pooled"], encoded.conditioning.tensors["pooled"])
    assert {path.parent for path in taken.files} == {tmp_path / "b"}
    assert cache.take("other", tmp_path / "c", 2, pytest.fail) is None


def test_one_of_another_number_of_prompts_is_none(cache: EncodingCache, tmp_path: Path) -> None:
    cache.keep("k", written(tmp_path / "a", 2))
    told: list[str] = []
    assert cache.take("k", tmp_path / "b", 3, told.append) is None
    assert told == [f"{cache.folder / 'k'} is damaged"]
    assert not cache.sizes()


def test_it_is_bounded_and_what_was_used_last_stays(cache: EncodingCache, tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        cache.keep(name, written(tmp_path / name, 1))
        os.utime(cache.folder / name, (number, number))
    cache.take("a", tmp_path / "again", 1, pytest.fail)
    cache.keep("d", written(tmp_path / "d", 2))
    assert set(cache.sizes()) == {cache.folder / name for name in "acd"}
    assert sum(cache.sizes().values()) <= cache.most


def test_one_that_is_larger_than_the_bound_is_not_kept(cache: EncodingCache, tmp_path: Path) -> None:
    cache.keep("a", written(tmp_path / "a", 1))
    assert not cache.keep("b", written(tmp_path / "b", 6))
    assert set(cache.sizes()) == {cache.folder / "a"}


def test_what_another_process_kept_meanwhile_stays(cache: EncodingCache, tmp_path: Path) -> None:
    cache.keep("k", written(tmp_path / "a", 2))
    assert cache.keep("k", written(tmp_path / "b", 2))
    assert [path.name for path in cache.folder.iterdir()] == ["k"]
