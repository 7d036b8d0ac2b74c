"""Which prompts a sample takes: at random, of every part of the set, and the same ones in any order of the file."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from generators.prompts import PromptSet
from sweeps.sample import drawn

TEXTS = st.lists(st.sampled_from([f"a {thing} in {place}" for thing in "abcdefgh" for place in "uvwxyz"]), min_size=3)


@given(TEXTS, st.integers(2, 30), st.integers(0, 5), st.randoms())
def test_a_sample_is_of_its_size_and_knows_no_order(texts, n, seed, random):
    prompts = PromptSet("mine", tuple(texts), "here")
    sample = drawn(prompts, n, seed)
    if n >= len(texts):
        assert sample is None
        return
    assert len(sample) == n == len(set(sample.rows))
    assert sum(sample.sizes) == sample.of == len(texts)
    assert max(sample.sizes) - min(sample.sizes) <= 1
    taken = [len(rows) for _, rows in sample.strata]
    assert max(taken) - min(taken) <= 1
    assert all(2 <= one <= size for one, size in zip(taken, sample.sizes, strict=True))
    shuffled = list(texts)
    random.shuffle(shuffled)
    again = drawn(PromptSet("mine", tuple(shuffled), "there"), n, seed)
    assert sorted(texts[row] for row in sample.rows) == sorted(shuffled[row] for row in again.rows)


def test_every_prompt_is_drawn_as_often_as_any_other():
    prompts = PromptSet("mine", tuple(f"prompt {i:03}" for i in range(60)), "here")
    counts = np.zeros(60)
    for seed in range(600):
        counts[list(drawn(prompts, 12, seed).rows)] += 1
    assert counts.sum() == 600 * 12
    # binomial: 120 expected of 600, standard deviation 9.8
    assert np.abs(counts - 120).max() < 5 * 9.8
    assert abs(counts.std() - 9.8) < 4


def test_another_seed_draws_others():
    prompts = PromptSet("mine", tuple(f"prompt {i:03}" for i in range(60)), "here")
    assert drawn(prompts, 12, 1) == drawn(prompts, 12, 1)
    assert drawn(prompts, 12, 1) != drawn(prompts, 12, 2)
