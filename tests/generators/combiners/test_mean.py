import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.combiners.base import combiners, get_combiner

ROWS = torch.randn(7, 3, 5, generator=torch.Generator().manual_seed(0))


def test_mean_is_found_by_name():
    assert "mean" in combiners()


def test_mean_of_rows():
    assert torch.allclose(get_combiner("mean").combine(ROWS), ROWS.mean(0))


def test_a_single_row_comes_back_bit_for_bit():
    assert torch.equal(get_combiner("mean").combine(ROWS[:1]), ROWS[0])


@settings(max_examples=20)
@given(st.permutations(range(7)))
def test_order_of_prompts_does_not_matter(order: list[int]):
    assert torch.equal(get_combiner("mean").combine(ROWS[order]), get_combiner("mean").combine(ROWS))
