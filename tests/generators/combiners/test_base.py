"""What holds of every combiner, masks included."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from generators.combiners import base
from generators.combiners.base import Combiner, Members, combiners, get_combiner

EVERY = sorted(combiners())
RANDOM = torch.Generator().manual_seed(0)
ROWS = torch.randn(7, 3, 5, generator=RANDOM)
LENGTHS = torch.tensor([2, 4, 3, 1, 4, 2, 3])
STATES = torch.randn(7, 4, 5, generator=RANDOM)
MASK = (torch.arange(4) < LENGTHS[:, None]).float()
MEMBERS = {"states": STATES, "states.mask": MASK, "pooled": torch.randn(7, 6, generator=RANDOM)}


def picked(who: list[int]) -> dict[str, torch.Tensor]:
    return {name: rows[who] for name, rows in MEMBERS.items()}


@pytest.mark.parametrize("name", EVERY)
def test_a_single_prompt_comes_back_bit_for_bit(name: str) -> None:
    assert torch.equal(get_combiner(name).combine(ROWS[:1]), ROWS[0])
    alone = get_combiner(name).node(picked([3]))
    assert all(torch.equal(alone[key], MEMBERS[key][3]) for key in MEMBERS)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("copies", [2, 3, 7])
def test_equal_prompts_come_back_bit_for_bit(name: str, copies: int) -> None:
    node = get_combiner(name).node(picked([1] * copies))
    assert all(torch.equal(node[key], MEMBERS[key][1]) for key in MEMBERS)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=20)
@given(order=st.permutations(range(7)))
def test_order_of_prompts_does_not_matter(name: str, order: list[int]) -> None:
    here, there = (get_combiner(name).node(picked(who)) for who in (range(7), order))
    for key in MEMBERS:
        assert torch.equal(here[key], there[key])


@pytest.mark.parametrize("name", EVERY)
def test_shape_and_dtype_stay(name: str) -> None:
    for rows in (ROWS, ROWS[:, 0], ROWS[:, 0, 0]):
        node = get_combiner(name).combine(rows)
        assert node.shape == rows.shape[1:]
        assert node.dtype == torch.float32


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=20)
@given(who=st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_what_masks_hide_changes_nothing_that_they_show(name: str, who: list[int]) -> None:
    hidden = {**MEMBERS, "states": torch.where(MASK[..., None] > 0, STATES, 100.0)}
    here = get_combiner(name).node(picked(who))
    there = get_combiner(name).node({key: rows[who] for key, rows in hidden.items()})
    shown = here["states.mask"] > 0
    assert torch.equal(here["states.mask"], there["states.mask"])
    assert torch.equal(here["states"][shown], there["states"][shown])


@pytest.mark.parametrize("name", ["mean", "restored-mean"])
def test_a_node_has_words_where_any_prompt_has(name: str) -> None:
    assert get_combiner(name).node(picked([0, 2]))["states.mask"].tolist() == [1, 1, 1, 0]


def in_chunks(rows: dict[str, torch.Tensor], most: int) -> Members:
    """The rows as they are read where a chunk holds so many of them; more at once is refused."""

    def read(places: np.ndarray) -> dict[str, torch.Tensor]:
        assert len(places) <= most
        return {name: tensor[torch.from_numpy(places)] for name, tensor in rows.items()}

    return Members(len(rows["pooled"]), most, read)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=30)
@given(
    who=st.lists(st.integers(0, 6), min_size=2, max_size=12),
    most=st.integers(1, 12),
    hidden=st.sets(st.integers(0, 3)),
)
def test_a_cluster_read_chunk_by_chunk_is_that_read_at_once(name: str, who: list[int], most: int, hidden: set[int]):
    """Of sums that are exact bit for bit; positions that no prompt holds included."""
    rows = {key: (8 * tensor[who]).round() / 8 for key, tensor in MEMBERS.items()}
    rows["states.mask"][:, sorted(hidden)] = 0
    whole, streamed = get_combiner(name).node(rows), get_combiner(name).combined(in_chunks(rows, most))
    assert list(streamed) == list(whole)
    for key in rows:
        assert streamed[key].dtype == torch.float32
        if name == "restored-mean":
            assert torch.allclose(streamed[key], whole[key], rtol=2e-7, atol=1e-7)
        else:
            assert torch.equal(streamed[key], whole[key])


class Largest(Combiner):
    """Somebody's own, who wrote `combine` and nothing else."""

    name = "largest"

    def combine(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.amax(dim=0)


def test_a_combiner_that_needs_all_prompts_at_once_gets_them_or_says_what_they_take(monkeypatch):
    def read(places: np.ndarray) -> dict[str, torch.Tensor]:
        return {name: tensor[torch.from_numpy(places)] for name, tensor in MEMBERS.items()}

    members, whole = Members(7, 2, read), Largest().node(MEMBERS)
    found = Largest().combined(members)
    assert all(torch.equal(found[name], whole[name]) for name in MEMBERS)
    row = sum(tensor[0].nbytes for tensor in MEMBERS.values())
    monkeypatch.setattr(base, "free_memory", lambda: 3 * 7 * row - 1)
    with pytest.raises(
        UserError, match=r"'largest': a cluster of 7 prompts takes .* GiB are free \(use --combiner mean"
    ):
        Largest().combined(members)
