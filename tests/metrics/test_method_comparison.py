"""Method comparisons: known values, intervals that agree with their tests, sizes by simulation, no favourites."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from metrics import method_comparison, statistics
from metrics.method_comparison import (
    areas,
    beats,
    curve_weights,
    rank_ranges,
    rank_text,
    sign_flip_p,
)
from metrics.over_seeds import pooled_difference


def test_the_area_is_the_trapezoids_over_the_range():
    assert curve_weights([0.3, 0.5, 0.7]).tolist() == pytest.approx([0.25, 0.5, 0.25])
    assert curve_weights([0.4]).tolist() == [1]
    values = np.random.default_rng(0).normal(size=(2, 3, 4, 5))  # methods, savings targets, seeds, prompts
    x = [0.1, 0.4, 0.5]
    by_hand = np.trapezoid(values, x, axis=1) / 0.4
    assert areas(values, x) == pytest.approx(by_hand)
    for wrong in ([0.3, 0.3, 0.5], [0.5, 0.3, 0.7], [0.1, 0.2]):
        with pytest.raises(UserError):
            areas(values, wrong)


def test_sign_flips_of_few_prompts_are_the_exact_test():
    assert sign_flip_p(np.ones(4)) == pytest.approx(2 / 16, abs=0.015)
    assert sign_flip_p([3.0, -1.0]) == 1  # 2 is the least that |3 +- 1| can be
    assert sign_flip_p(np.zeros((2, 6))).tolist() == [1, 1]


def test_sign_flips_keep_their_size_and_find_what_is_there():
    rng = np.random.default_rng(3)
    p = sign_flip_p(rng.exponential(size=(600, 60)) * rng.choice([-1, 1], (600, 60)))
    assert 0.05 - 3 * 0.009 < (p < 0.05).mean() < 0.05 + 3 * 0.009
    assert (sign_flip_p(rng.normal(0.6, 1, (50, 60))) < 0.05).mean() > 0.9


def test_the_area_s_interval_covers():
    rng, covered = np.random.default_rng(4), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 300)
        for _ in range(200):
            values = rng.normal(0.1, 1, 60) + rng.normal(size=(3, 2, 60))
            found = pooled_difference(areas(values, [0.3, 0.5, 0.7]))
            covered += found.low <= 0.1 <= found.high
    assert covered / 200 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 200)


def test_no_claim_is_false_more_often_than_it_may_be(monkeypatch):
    monkeypatch.setattr(method_comparison, "FLIPS", 999)
    rng = np.random.default_rng(5)
    false = [beats(rng.normal(size=(5, 1, 40)), seed=trial)[0].any() for trial in range(100)]
    assert np.mean(false) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 99))
def test_methods_have_no_order(order, seed):
    values = np.random.default_rng(seed).normal(size=(5, 1, 30)) + np.array([0, 0.1, 0.5, 1, 1])[:, None, None]
    better, p = beats(values)
    again, p_again = beats(values[order])
    assert np.array_equal(again, better[np.ix_(order, order)])
    assert p_again == pytest.approx(p[np.ix_(order, order)])
    assert rank_ranges(again) == [rank_ranges(better)[i] for i in order]


def test_ranks_are_between_all_that_are_better_for_sure_and_all_that_are_worse():
    better = np.zeros((4, 4), bool)
    better[0, 2] = better[0, 3] = better[1, 3] = True
    assert [rank_text(each) for each in rank_ranges(better)] == ["1-2", "1-3", "2-4", "3-4"]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 99), st.integers(2, 6))
def test_the_true_rank_of_means_that_are_far_apart_is_found(seed, n):
    means = np.random.default_rng(seed).permutation(n).astype(float)
    values = means[:, None, None] + np.random.default_rng(seed + 1).normal(0, 0.1, (n, 1, 40))
    assert rank_ranges(beats(values)[0]) == [(n - int(mean), n - int(mean)) for mean in means]


def test_methods_that_do_the_same_are_told_apart_no_more_often_than_they_may_be_however_seeds_shift_them():
    rng = np.random.default_rng(7)

    def told_apart(n_seeds: int, roots: int | None, shift: float, trials: int = 150) -> float:
        tables = (shift * rng.normal(size=(2, n_seeds, 1)) + rng.normal(size=(2, n_seeds, 40)) for _ in range(trials))
        return float(np.mean([beats(table, roots)[0].any() for table in tables]))

    most = 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    assert told_apart(5, 40, 0.0) < most
    assert told_apart(5, 1, 0.5) < most, "all prompts start from one draw, which shifts them together"
    assert told_apart(1, 1, 0.5) == 0, "one seed of one draw tells nothing apart"
    assert told_apart(1, None, 0.5) > 0.3, "which is what it would have told"
