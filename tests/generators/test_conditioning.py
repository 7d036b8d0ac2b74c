from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import default_collate

from common.errors import UserError
from generators import conditioning as room
from generators.conditioning import Conditioning
from generators.row_tables import Stored
from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.savings import tau_for_savings
from generators.sharing.schedule import get_schedule
from generators.strategies.base import get_strategy

TENSORS = {"image_embeds": torch.randn(3, 5), "states": torch.randn(3, 2, 4)}


def plan() -> SharingPlan:
    """All three prompts for one step, then {0, 2} and {1}."""
    return SharingPlan(
        n_prompts=3,
        steps=2,
        first=[0, 1, 1],
        stop=[1, 2, 2],
        source=[-1, 0, 0],
        order=[0, 2, 1],
        lo=[0, 0, 2],
        hi=[3, 2, 3],
        output=[1, 2, 1],
        combiner="mean",
    )


def test_rows_are_means_over_members_of_every_tensor():
    rows = default_collate(Conditioning(TENSORS).rows(plan(), [0, 1, 2]))
    for name, tensor in TENSORS.items():
        assert torch.allclose(rows[name][0], tensor.mean(0))
        assert torch.allclose(rows[name][1], (tensor[0] + tensor[2]) / 2)
        assert torch.equal(rows[name][2], tensor[1])


def test_masked_positions_combine_only_the_prompts_that_have_them():
    states, mask = torch.randn(3, 4, 2), torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]])
    rows = default_collate(Conditioning({"states": states, "states.mask": mask}).rows(plan(), [0, 1, 2]))
    everybody = rows["states"][0]
    assert torch.allclose(everybody[1], states[:, 1].mean(0))
    assert torch.allclose(everybody[2], states[1:, 2].mean(0))
    assert torch.allclose(everybody[3], states[1, 3])
    assert torch.equal(rows["states.mask"], torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]]))
    assert torch.equal(rows["states"][2], states[1])  # alone, bit for bit, what the mask hides included
    pair = rows["states"][1]
    assert torch.allclose(pair[2], states[2, 2])
    assert torch.allclose(pair[0], (states[0, 0] + states[2, 0]) / 2)


def test_standard_rows_are_the_prompts_own():
    rows = default_collate(Conditioning(TENSORS).rows(baseline_plan(3, 4), [2, 0]))
    assert torch.equal(rows["image_embeds"], TENSORS["image_embeds"][[2, 0]])


@pytest.mark.parametrize("combiner", ["mean", "restored-mean", "medoid"])
def test_a_nodes_row_holds_no_others_in_memory(combiner):
    rows = Conditioning(TENSORS).rows(replace(plan(), combiner=combiner), [0, 1, 2])
    for row in rows:
        assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in row.values())
    assert len({tensor.data_ptr() for row in rows for tensor in row.values()}) == len(rows) * len(TENSORS)


def test_saved_and_loaded_bit_for_bit(tmp_path: Path):
    Conditioning(TENSORS).save(tmp_path / "conditioning.safetensors")
    loaded = Conditioning.load(tmp_path / "conditioning.safetensors")
    assert loaded.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in TENSORS.items())


def test_a_stream_is_kept_apart_from_the_prompts_rows(tmp_path: Path):
    state = torch.Generator().manual_seed(5).get_state()
    Conditioning(TENSORS, state).save(tmp_path / "conditioning.safetensors")
    loaded = Conditioning.load(tmp_path / "conditioning.safetensors")
    assert loaded.tensors.keys() == TENSORS.keys()
    assert torch.equal(loaded.stream, state)
    Conditioning(TENSORS).save(tmp_path / "conditioning.safetensors")
    assert Conditioning.load(tmp_path / "conditioning.safetensors").stream is None


def test_damaged_file_is_named(tmp_path: Path):
    path = tmp_path / "conditioning.safetensors"
    Conditioning(TENSORS).save(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"conditioning\.safetensors"):
        Conditioning.load(path)


@pytest.mark.parametrize("second", [torch.randn(2, 5), torch.randn(3, 5, dtype=torch.complex64)])
def test_rows_and_dtype_are_checked(second: torch.Tensor):
    with pytest.raises(ValueError, match="conditioning"):
        Conditioning({"a": torch.randn(3, 5), "b": second})


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.bool]


def prompts(n: int, length: int, dtype: torch.dtype, seed: int = 0) -> Conditioning:
    """Sequences of up to `length` tokens under a mask, as one batch of a pipeline returns them, and a vector."""
    dice = torch.Generator().manual_seed(seed)
    states = (8 * torch.randn(n, length, 3, generator=dice)).round() / 8
    mask = torch.arange(length) < torch.randint(1, length + 1, (n, 1), generator=dice)
    pooled = torch.randn(n, 4, generator=dice)
    return Conditioning({"text": states.to(dtype), "text.mask": mask, "pooled": pooled.to(dtype)})


@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=4),
    dtype=st.sampled_from(DTYPES),
    data=st.data(),
)
def test_rows_taken_of_shards_are_those_of_the_whole(parts, dtype, data):
    """However they are cut into files, whatever their dtype and their lengths; taken twice, joined again."""
    made = [prompts(n, length, dtype, seed) for seed, (n, length) in enumerate(parts)]
    whole = Conditioning.joined(made).tensors
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.safetensors" for number in range(len(made))]
        for part, path in zip(made, paths, strict=True):
            part.save(path)
        stored = Conditioning.joined([Conditioning.load(path) for path in paths])
        assert stored.shapes == {name: tuple(tensor.shape[1:]) for name, tensor in whole.items()}
        first = data.draw(st.lists(st.integers(0, len(stored) - 1), min_size=1, max_size=9))
        second = data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1, max_size=9))
        taken = stored.taken(first).taken(second)
        both = Conditioning.joined([taken, stored])
        places = [first[place] for place in second]
        assert len(taken) == len(second)
        for name, tensor in whole.items():
            assert tensor.dtype == torch.float32
            assert torch.equal(taken.tensors[name], tensor[places])
            assert torch.equal(both.tensors[name], torch.cat([tensor[places], tensor]))
            assert torch.equal(taken.read([0])[name], tensor[[places[0]]])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_files_hold_each_number_once_in_the_dtype_that_it_was_made_in(tmp_path, dtype):
    made = Conditioning({"text": torch.randn(50, 100, dtype=dtype)})
    made.save(tmp_path / "x")
    size = 50 * 100 * dtype.itemsize
    assert made.row_bytes == size // 50
    assert size < (tmp_path / "x").stat().st_size < size + 1000


def test_rows_that_are_not_there_are_no_rows():
    with pytest.raises(ValueError, match="rows -1 to 3 of a conditioning of 3"):
        Conditioning(TENSORS).taken([-1, 3])


def test_parts_of_other_kinds_are_not_joined():
    with pytest.raises(ValueError, match="rows of"):
        Conditioning.joined([Conditioning(TENSORS), Conditioning({**TENSORS, "states": torch.randn(3, 3, 4)})])


@pytest.mark.parametrize("combiner", ["mean", "restored-mean", "medoid"])
def test_no_more_prompts_are_in_memory_than_a_chunk_holds(tmp_path, monkeypatch, combiner):
    """A trunk of all prompts, on which each level of the tree reads each prompt once, or thrice for the medoid."""
    made = prompts(60, 4, torch.bfloat16)
    for number in range(4):
        made.taken(np.arange(15 * number, 15 * number + 15)).save(tmp_path / f"{number}")
    stored = Conditioning.joined([Conditioning.load(tmp_path / f"{number}") for number in range(4)])
    tree = get_strategy("ward-cosine").tree(made.tensors["pooled"].double().numpy(), seed=0)
    schedule = get_schedule("eq7")
    plan = build_plan(tree, schedule, tau_for_savings(tree, schedule, 10, 0.7).tau, 10, combiner)
    expected = [default_collate(made.rows(plan, plan.active(k))) for k in range(plan.steps)]

    read: list[int] = []
    stock = Stored.read

    def counted(self, names, rows):
        read.append(len(rows) * len(names))
        return stock(self, names, rows)

    monkeypatch.setattr(Stored, "read", counted)
    monkeypatch.setattr(room, "CHUNK", 8 * stored.wide_bytes)
    for k in range(plan.steps):
        nodes = plan.active(k)
        before, members = len(read), sum(len(plan.members(node)) for node in nodes)
        rows = default_collate(stored.rows(plan, nodes))
        assert max(read) <= 8
        passes = {"medoid": 2}.get(combiner, 1)
        large = sum(len(plan.members(node)) > 8 for node in nodes)  # of a medoid, the chosen row is read once more
        assert sum(read[before:]) <= len(stored.shapes) * (passes * members + 9 * large)
        for name, tensor in expected[k].items():
            assert torch.allclose(rows[name], tensor, rtol=3e-7, atol=1e-7)
            if combiner != "restored-mean":
                assert torch.equal(rows[name], tensor)
