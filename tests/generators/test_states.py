"""States on disk are whole, of this execution, and the latest that is."""

from pathlib import Path

import pytest
import torch

from generators.states import State, States


def state(k: int, dtype: torch.dtype = torch.float32) -> State:
    generator = torch.Generator().manual_seed(k)
    latents = torch.randn(3, 4, 2, 2, generator=generator).to(dtype)
    return State(k, torch.tensor([2, 5, 7]), latents, (latents + 1, torch.arange(3)), calls=k, rows=3 * k, batch_size=8)


def same(one: State, other: State) -> bool:
    return (
        torch.equal(one.latents, other.latents)
        and one.latents.dtype == other.latents.dtype
        and torch.equal(one.nodes, other.nodes)
        and all(torch.equal(a, b) for a, b in zip(one.memory, other.memory, strict=True))
        and (one.k, one.calls, one.rows, one.batch_size) == (other.k, other.calls, other.rows, other.batch_size)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_latest_comes_back_and_the_one_before_is_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    states = States(tmp_path / "states", "this", every=0)
    assert states.load() is None
    for k in (1, 2, 10):
        states.save(state(k, dtype))
    found = states.load()
    assert found is not None
    assert same(found, state(10, dtype))
    assert sorted(path.stem[-5:] for path in states.folder.iterdir()) == ["00002", "00010"]
    states.clear()
    assert not states.folder.exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_state_is_noticed_and_the_one_before_used(tmp_path: Path, damage: str) -> None:
    heard: list[str] = []
    states = States(tmp_path, "this", every=0, on_damage=heard.append)
    states.save(state(1))
    states.save(state(2))
    (path,) = tmp_path.glob("state-*-00002.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"cut": content[: len(content) // 2], "flipped": content, "empty": b""}[damage])
    found = states.load()
    assert found is not None
    assert same(found, state(1))
    assert len(heard) == 1
    assert path.name in heard[0]


def test_a_state_of_another_execution_is_none_and_does_not_stay(tmp_path: Path) -> None:
    that, this = States(tmp_path, "that", every=0), States(tmp_path, "this", every=0)
    that.save(state(30))
    assert this.load() is None
    this.save(state(1))
    found = this.load()
    assert found is not None
    assert same(found, state(1))
    assert that.load() is None


def test_a_state_of_another_execution_under_this_ones_name_is_none(tmp_path: Path) -> None:
    heard: list[str] = []
    that, this = (States(tmp_path / name, name, every=0, on_damage=heard.append) for name in ("that", "this"))
    that.save(state(2))
    this.save(state(1))
    (theirs,), (ours,) = (list(states.folder.iterdir()) for states in (that, this))
    ours.write_bytes(theirs.read_bytes())
    assert this.load() is None
    assert "another execution" in heard[0]


def test_a_state_is_due_when_its_time_has_come(tmp_path: Path) -> None:
    assert States(tmp_path, "this", every=0).due()
    rare = States(tmp_path, "this", every=1e9)
    assert not rare.due()
    assert not rare.due(last=True), "what has left no state so far is quick enough to be made again"
    rare.save(state(1))
    assert rare.due(last=True)
