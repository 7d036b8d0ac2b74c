"""What parts of a plan leave to each other on disk: it is taken for no other plan's or cut's, and not if damaged."""

from pathlib import Path

import pytest
import torch

from generators.node_states import NodeState, NodeStates


@pytest.fixture
def left(tmp_path: Path) -> NodeStates:
    """The states of the first part of a plan that is cut in waves of two rows, at step 3."""
    states = NodeStates(tmp_path, "plan 2")
    states.save(0, NodeState(3, torch.tensor([1, 4]), torch.ones(2, 4), (torch.zeros(2, 1),)))
    return states


def test_what_was_saved_is_there(left: NodeStates) -> None:
    assert left.whole(0, [3])
    assert not left.whole(0, [3, 5]), "one of them was not exported"
    state = left.load(0, 3)
    assert (state.k, state.nodes.tolist(), state.latents.tolist()) == (3, [1, 4], [[1.0] * 4] * 2)


@pytest.mark.parametrize("identity", ["plan 3", "another plan 2"])
def test_what_another_cut_or_plan_left_is_not_there(left: NodeStates, identity: str) -> None:
    other = NodeStates(left.folder, identity)
    assert not other.whole(0, [3])
    with pytest.raises(ValueError, match="of another run"):
        other.load(0, 3)


def test_what_is_damaged_is_not_there(left: NodeStates) -> None:
    (path,) = left.folder.iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert not left.whole(0, [3])
