"""What holds of every combiner, masks included."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.combiners.base import combiners, get_combiner

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
