"""Similarity over seeds and prompt sets: of one it is the known one, and seeds that repeat add nothing."""

import numpy as np
import pytest

from common.errors import UserError
from metrics import statistics
from metrics.pooled_similarity import pooled_similarity
from metrics.statistics import pairwise_similarity


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 500)


def rows(seed: int, n: int = 60, shift: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (n, 8))


def test_one_set_of_one_seed_is_the_known_figure():
    for n in (None, 40):
        pooled, alone = pooled_similarity([[rows(0)]], n=n), pairwise_similarity(rows(0), n=n)
        assert (pooled.value, pooled.low, pooled.high, pooled.n) == pytest.approx(
            (alone.value, alone.low, alone.high, alone.n)
        )


def test_it_is_the_mean_of_sets_and_of_their_seeds():
    sets = [[rows(0), rows(1)], [rows(2, 30, 1.0), rows(3, 30, 1.0)]]
    by_hand = np.mean([pairwise_similarity(each, n=None).value for seeds in sets for each in seeds])
    found = pooled_similarity(sets, n=None)
    assert found.value == pytest.approx(by_hand)
    assert found.low < found.value < found.high
    assert found.n == 180


def test_a_seed_that_repeats_another_shows_nothing_new_and_one_that_does_not_shows_more():
    once, thrice = pooled_similarity([[rows(0)]]), pooled_similarity([[rows(0)] * 3])
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    others = pooled_similarity([[rows(0), rows(1), rows(2)]])
    assert others.high - others.low < 0.8 * (once.high - once.low)


def test_two_images_have_no_interval_and_one_has_no_pairs():
    assert pooled_similarity([[rows(0, 2)]]).low is None
    with pytest.raises(UserError):
        pooled_similarity([[rows(0, 1)]])
