"""Conditioning on disk: what is encoded is written shard by shard, and workers read the rows that they ask for."""

import json
from dataclasses import dataclass, field

import fsspec
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from common.errors import UserError
from common.files import canonical_json, sha256_file, sha256_text
from generators.batching import Batches
from generators.conditioning import Conditioning
from sweeps import encodings
from sweeps.encodings import CONDITIONING, ENCODING, UNFINISHED, EncodingWriter, load_encoding, publish


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


def elsewhere(path, name, store) -> Conditioning:
    """As workers read it."""
    return Conditioning.load(path).at({str(path): publish(path, name, store)})


@pytest.mark.parametrize("rows", [[4], [0, 1, 2, 5, 7, 8], list(range(9)), [8, 0, 8]])
@pytest.mark.parametrize("store", [None, "memory://bucket/run", "file://{tmp}/store", "{tmp}/plain"])
def test_rows_are_those_that_were_stored(stored, tmp_path, store, rows):
    conditioning, path = stored
    found = elsewhere(path, "name.safetensors", store and store.format(tmp=tmp_path)).taken(rows).tensors
    assert set(found) == set(conditioning.shapes)
    for name, tensor in conditioning.tensors.items():
        assert torch.equal(found[name], tensor[rows])


def test_what_is_there_is_not_written_again_and_nothing_half_written_is(stored, tmp_path, monkeypatch):
    _, path = stored
    publish(path, "x", "memory://once")
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.put_file", None)
    assert publish(path, "x", "memory://once") == "memory://once/x"
    assert [file.rpartition("/")[2] for file in fsspec.filesystem("memory").ls("/once", detail=False)] == ["x"]


def test_only_the_rows_cross_the_network(stored, monkeypatch):
    _, path = stored
    there, read = elsewhere(path, "few", "memory://network"), []
    system = type(fsspec.filesystem("memory"))
    stock = system.cat_file

    def counted(self, path, start=None, end=None, **more):
        content = stock(self, path, start, end, **more)
        read.append(len(content))
        return content

    monkeypatch.setattr(system, "cat_file", counted)
    taken = there.taken(np.array([3, 4]))
    assert not read, "nothing is read before a node needs it"
    assert len(taken.tensors["pooled"]) == 2
    assert sum(read) == 2 * 4 * (4 * 3 + 4 + 5), "two rows of floats"


@pytest.mark.parametrize("store", ["nosuch://place", "file:///proc/nowhere"])
def test_a_store_that_is_none_is_told(stored, store):
    _, path = stored
    with pytest.raises(UserError, match="cannot write to the store"):
        publish(path, "x", store)
    with pytest.raises(UserError, match="cannot read"):
        Conditioning.load(path).at({str(path): f"{store}/x"}).taken([0]).read([0])["pooled"]


@dataclass
class Encoder:
    """Encodes prompts as a family does, batch by batch, in bf16; it counts them in its batches' memo.

    Attributes:
        dies: the prompt at which it is killed.
        encoded: the prompts that it encoded.
    """

    dies: int | None = None
    encoded: list[int] = field(default_factory=list)

    def encode(self, n: int, batches: Batches):
        def work(rows: slice) -> Conditioning:
            if self.dies is not None and rows.start >= self.dies:
                raise KeyboardInterrupt
            numbers = torch.arange(rows.start, rows.stop)
            self.encoded += numbers.tolist()
            batches.memo["seen"] = batches.memo.get("seen", 0) + len(numbers)
            length = 1 + rows.start % 3
            text = numbers[:, None, None].expand(-1, length, 2).to(torch.bfloat16)
            return Conditioning({"text": text, "text.mask": torch.ones(len(numbers), length, dtype=torch.bool)})

        yield from batches.map(n, work)
        batches.notes.append(f"{batches.memo['seen']} were seen")


def run(folder, encoder: Encoder, n: int = 23, heard: list[str] | None = None):
    """Encode n prompts into a folder, in batches of 2."""
    writer = EncodingWriter(folder, 2, resumes=True, on_damage=(heard if heard is not None else []).append)
    for part in encoder.encode(n, writer.batches):
        writer.add(part)
    return writer.finish(writer.batches.notes)


def contents(folder) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in folder.iterdir()}


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(encodings, "SHARD", 30)


def test_a_killed_encoding_goes_on_behind_its_last_whole_shard(tmp_path, small_shards):
    whole, folder = run(tmp_path / "whole", Encoder()), tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        run(folder, Encoder(dies=14))
    done = sum(shard["prompts"] for shard in json.loads((folder / UNFINISHED).read_text())["shards"])
    assert 4 <= done <= 14
    assert load_encoding(folder, pytest.fail) is None
    again = Encoder()
    resumed = run(folder, again)
    assert again.encoded == list(range(done, 23)), "the missing prompts and no others"
    assert contents(folder) == contents(tmp_path / "whole")
    assert resumed.notes == whole.notes == ("23 were seen",)
    assert len(resumed.files) > 2
    text = load_encoding(folder, pytest.fail).conditioning.tensors["text"]
    assert torch.equal(text[:, 0, 0], torch.arange(23.0))
    assert text.shape == (23, 3, 2)


@pytest.mark.parametrize("name", ["conditioning-00000.safetensors", "conditioning-00001.safetensors", UNFINISHED])
def test_after_damage_all_is_encoded_again(tmp_path, small_shards, name):
    run(tmp_path / "whole", Encoder())
    folder, heard, again = tmp_path / "killed", [], Encoder()
    with pytest.raises(KeyboardInterrupt):
        run(folder, Encoder(dies=20))
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)
    run(folder, again, heard=heard)
    assert heard == [f"{folder / name} is damaged or missing"]
    assert len(again.encoded) == 23
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_kept_shard_that_changed_is_noticed_without_loading_the_others(tmp_path, small_shards, monkeypatch):
    run(tmp_path, Encoder())
    path, heard = tmp_path / "conditioning-00001.safetensors", []
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(Conditioning, "read", None)
    assert load_encoding(tmp_path, heard.append) is None
    assert heard == [f"{path} is damaged or missing"]


def test_small_sets_are_one_file_as_before(tmp_path):
    run(tmp_path, Encoder())
    assert sorted(contents(tmp_path)) == [CONDITIONING, ENCODING]
    manifest = json.loads((tmp_path / ENCODING).read_text())
    assert list(manifest) == ["sha256", "notes", "seal"]
    assert manifest["seal"] == sha256_text(canonical_json([manifest["sha256"], manifest["notes"]]))
    assert load_encoding(tmp_path, pytest.fail).notes == ("23 were seen",)


def test_a_folder_of_an_earlier_version_is_read(tmp_path):
    """One float32 file; its manifest knows no shards."""
    rows = torch.randn(5, 3)
    save_file({"image_embeds": rows}, tmp_path / CONDITIONING)
    digest = sha256_file(tmp_path / CONDITIONING)
    for seal in ({}, {"seal": sha256_text(canonical_json([digest, ["a note"]]))}):
        (tmp_path / ENCODING).write_text(json.dumps({"sha256": digest, "notes": ["a note"], **seal}))
        found = load_encoding(tmp_path, pytest.fail)
        assert torch.equal(found.conditioning.tensors["image_embeds"], rows)
        assert found.notes == ("a note",)


@pytest.mark.parametrize("shard", [30, 2**28])
def test_what_is_kept_nowhere_is_the_same(tmp_path, monkeypatch, shard):
    monkeypatch.setattr(encodings, "SHARD", shard)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = run(None, Encoder())
    assert torch.equal(found.conditioning.tensors["text"][:, 0, 0], torch.arange(23.0))
    assert bool(list(tmp_path.iterdir())) == (shard == 30), "more than a shard is not held in memory"
    del found
    assert not list(tmp_path.iterdir())
