"""Checkpoints on disk are whole, of this run, and the latest one is taken."""

from pathlib import Path

import pytest
import torch

from generators.denoising_checkpoints import Checkpoint, DenoisingCheckpoints


def checkpoint(k: int, dtype: torch.dtype = torch.float32) -> Checkpoint:
    generator = torch.Generator().manual_seed(k)
    latents = torch.randn(3, 4, 2, 2, generator=generator).to(dtype)
    return Checkpoint(
        k,
        torch.tensor([2, 5, 7]),
        latents,
        (latents + 1, torch.arange(3)),
        torch.tensor([-1, k - 1, -1]),
        calls=k,
        rows=3 * k,
        batch_size=8,
    )


def same(one: Checkpoint, other: Checkpoint) -> bool:
    return (
        torch.equal(one.latents, other.latents)
        and one.latents.dtype == other.latents.dtype
        and torch.equal(one.nodes, other.nodes)
        and all(torch.equal(a, b) for a, b in zip(one.memory, other.memory, strict=True))
        and (one.k, one.calls, one.rows, one.batch_size) == (other.k, other.calls, other.rows, other.batch_size)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_latest_comes_back_and_the_one_before_is_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    checkpoints = DenoisingCheckpoints(tmp_path / "states", "this", every=0)
    assert checkpoints.load() is None
    for k in (1, 2, 10):
        checkpoints.save(checkpoint(k, dtype))
    found = checkpoints.load()
    assert found is not None
    assert same(found, checkpoint(10, dtype))
    assert sorted(path.stem[-5:] for path in checkpoints.folder.iterdir()) == ["00002", "00010"]
    checkpoints.clear()
    assert not checkpoints.folder.exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_used(tmp_path: Path, damage: str) -> None:
    heard: list[str] = []
    checkpoints = DenoisingCheckpoints(tmp_path, "this", every=0, on_damage=heard.append)
    checkpoints.save(checkpoint(1))
    checkpoints.save(checkpoint(2))
    (path,) = tmp_path.glob("state-*-00002.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"cut": content[: len(content) // 2], "flipped": content, "empty": b""}[damage])
    found = checkpoints.load()
    assert found is not None
    assert same(found, checkpoint(1))
    assert len(heard) == 1
    assert path.name in heard[0]


def test_a_checkpoint_of_another_run_is_none_and_does_not_stay(tmp_path: Path) -> None:
    that, this = DenoisingCheckpoints(tmp_path, "that", every=0), DenoisingCheckpoints(tmp_path, "this", every=0)
    that.save(checkpoint(30))
    assert this.load() is None
    this.save(checkpoint(1))
    found = this.load()
    assert found is not None
    assert same(found, checkpoint(1))
    assert that.load() is None


def test_a_checkpoint_of_another_run_under_this_ones_name_is_none(tmp_path: Path) -> None:
    heard: list[str] = []
    that, this = (
        DenoisingCheckpoints(tmp_path / name, name, every=0, on_damage=heard.append) for name in ("that", "this")
    )
    that.save(checkpoint(2))
    this.save(checkpoint(1))
    (theirs,), (ours,) = (list(checkpoints.folder.iterdir()) for checkpoints in (that, this))
    ours.write_bytes(theirs.read_bytes())
    assert this.load() is None
    assert "another run" in heard[0]


def test_a_checkpoint_is_due_when_its_time_has_come(tmp_path: Path) -> None:
    assert DenoisingCheckpoints(tmp_path, "this", every=0).due()
    rare = DenoisingCheckpoints(tmp_path, "this", every=1e9)
    assert not rare.due()
    assert rare.due(last=True), "decoding and the manifests are still to come"
