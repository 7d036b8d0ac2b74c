import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.combiners.base import combiners, get_combiner

ROWS = torch.randn(7, 3, 5, generator=torch.Generator().manual_seed(0))


def test_mean_is_found_by_name():
    assert "mean" in combiners()


def test_mean_of_rows():
    assert torch.allclose(get_combiner("mean").combine(ROWS, None), ROWS.mean(0))


def test_weighted_mean():
    weights = torch.tensor([1.0, 0, 0, 3.0, 0, 0, 0])
    assert torch.allclose(get_combiner("mean").combine(ROWS, weights), (ROWS[0] + 3 * ROWS[3]) / 4)


@given(st.floats(1e-3, 1e3))
def test_a_single_row_comes_back_bit_for_bit(weight: float):
    mean = get_combiner("mean")
    assert torch.equal(mean.combine(ROWS[:1], None), ROWS[0])
    assert torch.equal(mean.combine(ROWS[:1], torch.tensor([weight])), ROWS[0])


@settings(max_examples=20)
@given(st.permutations(range(7)))
def test_order_of_prompts_does_not_matter(order: list[int]):
    assert torch.equal(get_combiner("mean").combine(ROWS[order], None), get_combiner("mean").combine(ROWS, None))
