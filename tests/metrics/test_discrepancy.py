"""The maximum mean discrepancy against loops over pairs, and where its expectation is known."""

from itertools import permutations

import numpy as np
import pytest

from common.errors import UserError
from metrics.discrepancy import cubic, discrepancy, gaussian


def cmmd(x: np.ndarray, y: np.ndarray) -> float:
    return 1000 * float(np.exp(-((x - y) ** 2).sum() / (2 * 10**2)))


def kid(x: np.ndarray, y: np.ndarray) -> float:
    """KID's polynomial kernel of rows of D numbers, here of length sqrt(D)."""
    d = len(x)
    return float(((x * np.sqrt(d)) @ (y * np.sqrt(d)) / d + 1) ** 3)


@pytest.mark.parametrize(("kernel", "of_pair"), [(gaussian, cmmd), (cubic, kid)])
def test_it_is_the_mean_over_pairs_of_different_prompts(kernel, of_pair):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 5)), rng.normal(0.5, 1, size=(7, 5))
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y))
    terms = [
        of_pair(a[i], a[j]) + of_pair(b[i], b[j]) - of_pair(a[i], b[j]) - of_pair(a[j], b[i])
        for i, j in permutations(range(7), 2)
    ]
    assert discrepancy(x, y, kernel).value == pytest.approx(np.mean(terms), rel=1e-9)


def test_equal_sets_differ_by_nothing():
    rows = np.random.default_rng(1).normal(size=(20, 4))
    equal = discrepancy(rows, rows, cubic)
    assert (equal.value, equal.low, equal.high) == pytest.approx((0, 0, 0), abs=1e-12)


@pytest.mark.parametrize("kernel", [gaussian, cubic])
def test_it_is_unbiased_though_a_prompts_two_pictures_are_alike_and_its_interval_holds(kernel):
    rng = np.random.default_rng(2)

    def estimates(shift: float, n: int = 40, times: int = 150):
        for _ in range(times):
            common = rng.normal(size=(n, 5))
            x, y = (common + 0.5 * rng.normal(size=(n, 5)) + 1 for _ in range(2))
            yield discrepancy(x, y + shift, kernel)

    same = [one.value for one in estimates(0)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    moved = list(estimates(1))
    truth = np.mean([one.value for one in moved])
    assert truth > 5 * np.std(same)
    assert sum(one.low <= truth <= one.high for one in moved) >= 0.9 * len(moved)


def test_sets_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="are compared with"):
        discrepancy(np.eye(3), np.eye(3)[:2], cubic)
    with pytest.raises(UserError, match="1 image has no pairs"):
        discrepancy(np.eye(3)[:1], np.eye(3)[:1], cubic)
