"""A few of many."""

from hypothesis import given
from hypothesis import strategies as st

from common.selection import evenly


@given(st.integers(0, 50), st.integers(1, 10))
def test_an_even_choice_has_both_ends_and_no_repeat(n: int, most: int) -> None:
    chosen = evenly(n, most)
    assert len(set(chosen)) == len(chosen) == min(n, most)
    assert chosen == sorted(chosen)
    if n:
        assert chosen[-1] == n - 1
    if min(n, most) > 1:
        assert chosen[0] == 0
