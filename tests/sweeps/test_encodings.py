"""What workers read of the shared store: the rows they ask for, from any kind of place."""

import fsspec
import numpy as np
import pytest
import torch

from common.errors import UserError
from generators.conditioning import Conditioning
from sweeps.encodings import publish, read_rows


@pytest.fixture
def stored(tmp_path):
    generator = torch.Generator().manual_seed(0)
    conditioning = Conditioning(
        {
            "states": torch.randn(9, 4, 3, generator=generator),
            "states.mask": torch.ones(9, 4),
            "pooled": torch.randn(9, 5, generator=generator),
        },
        torch.arange(16, dtype=torch.uint8),
    )
    conditioning.save(tmp_path / "c.safetensors")
    return conditioning, tmp_path / "c.safetensors"


@pytest.mark.parametrize("rows", [[4], [0, 1, 2, 5, 7, 8], list(range(9))])
@pytest.mark.parametrize("store", [None, "memory://bucket/run", "file://{tmp}/store", "{tmp}/plain"])
def test_rows_are_those_that_were_stored(stored, tmp_path, store, rows):
    conditioning, path = stored
    url = publish(path, "name.safetensors", store and store.format(tmp=tmp_path))
    found = read_rows(url, np.array(rows))
    assert set(found.tensors) == set(conditioning.tensors)
    for name, tensor in conditioning.tensors.items():
        assert torch.equal(found.tensors[name], tensor[rows])


def test_what_is_there_is_not_written_again_and_nothing_half_written_is(stored, tmp_path, monkeypatch):
    _, path = stored
    publish(path, "x", "memory://once")
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.put_file", None)
    assert publish(path, "x", "memory://once") == "memory://once/x"
    assert [file.rpartition("/")[2] for file in fsspec.filesystem("memory").ls("/once", detail=False)] == ["x"]


def test_only_the_rows_cross_the_network(stored, monkeypatch):
    _, path = stored
    url, read = publish(path, "few", "memory://network"), []
    system = type(fsspec.filesystem("memory"))
    stock = system.cat_file

    def counted(self, path, start=None, end=None, **more):
        content = stock(self, path, start, end, **more)
        read.append(len(content))
        return content

    monkeypatch.setattr(system, "cat_file", counted)
    read_rows(url, np.array([3, 4]))
    assert sum(read[2:]) == 2 * 4 * (4 * 3 + 4 + 5), "after the header: two rows of floats"


@pytest.mark.parametrize("store", ["nosuch://place", "file:///proc/nowhere"])
def test_a_store_that_is_none_is_told(stored, store):
    with pytest.raises(UserError, match="cannot write to the store"):
        publish(stored[1], "x", store)
    with pytest.raises(UserError, match="cannot read"):
        read_rows(f"{store}/x", np.array([0]))
