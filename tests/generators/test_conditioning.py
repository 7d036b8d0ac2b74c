from pathlib import Path

import pytest
import torch

from common.errors import UserError
from generators.conditioning import Conditioning
from generators.sharing.plan import SharingPlan, baseline_plan

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
    rows = Conditioning(TENSORS).rows(plan(), [0, 1, 2])
    for name, tensor in TENSORS.items():
        assert torch.allclose(rows[name][0], tensor.mean(0))
        assert torch.allclose(rows[name][1], (tensor[0] + tensor[2]) / 2)
        assert torch.equal(rows[name][2], tensor[1])


def test_masked_positions_combine_only_the_prompts_that_have_them():
    states, mask = torch.randn(3, 4, 2), torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]])
    rows = Conditioning({"states": states, "states.mask": mask}).rows(plan(), [0, 1, 2])
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
    rows = Conditioning(TENSORS).rows(baseline_plan(3, 4), [2, 0])
    assert torch.equal(rows["image_embeds"], TENSORS["image_embeds"][[2, 0]])


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
