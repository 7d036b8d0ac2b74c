"""Which pictures repeat another prompt's, and when that is more than the baseline has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from metrics import duplicates
from metrics.duplicates import compare_duplicates, exact_duplicates, near_duplicates, near_threshold


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_a_set_lost_all_but_its_different_pictures(pictures):
    prompts = [f"prompt {number}" for number in range(len(pictures))]
    lost = len(pictures) - len(set(pictures))
    assert exact_duplicates(pictures, prompts).sum() == lost
    assert near_duplicates(np.eye(6)[pictures], 0.99).sum() == lost


def test_one_prompt_that_stands_twice_may_have_one_picture():
    assert not exact_duplicates(["a", "a"], ["a fox", "a fox"]).any()
    assert exact_duplicates(["a", "a", "a"], ["a fox", "a fox", "a wolf"]).tolist() == [False, False, True]
    with pytest.raises(UserError, match="2 pictures have 1 prompts"):
        exact_duplicates(["a", "b"], ["a fox"])


@given(st.permutations(range(6)))
def test_a_chain_of_likes_is_one_group_in_any_order(order):
    angles = np.array([0, 0.1, 0.2, 1.5, 1.6, 3.0])[order]
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert near_duplicates(rows, np.cos(0.11)).sum() == 3


def test_pairs_are_found_across_blocks(monkeypatch):
    monkeypatch.setattr(duplicates, "BLOCK", 3)
    rows = np.eye(8)
    rows[7], rows[5] = rows[1], rows[4]
    assert np.flatnonzero(near_duplicates(rows, 0.99)).tolist() == [5, 7]


def test_the_threshold_is_what_all_but_5_in_100_copies_reach():
    copies = np.linspace(0.9, 1, 100)
    assert (copies >= near_threshold(copies)).mean() == pytest.approx(0.95, abs=0.011)


def test_more_than_the_baseline_is_told_from_as_many():
    repeats = np.arange(120) < 12
    more = compare_duplicates("x", np.zeros(120), repeats)["x_difference"]
    assert more.low > 0
    others = compare_duplicates("x", repeats, repeats[::-1])["x_difference"]
    assert others.value == 0
    assert others.low < 0 < others.high
    with pytest.raises(UserError, match="2 pictures are compared with 1"):
        compare_duplicates("x", [False], [False, True])
