"""Vendi scores against the package's definition, closed forms and a simulation of their interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from metrics.vendi import compare_vendi, vendi


def by_definition(kernel: np.ndarray) -> float:
    """As the package vendi-score 0.0.3 has it (`score_K`, q = 1)."""
    values = np.linalg.eigvals(kernel / len(kernel)).real
    values = values[values > 1e-15]
    return float(np.exp(-(values * np.log(values)).sum()))


def cosines(rows: np.ndarray) -> np.ndarray:
    return np.corrcoef(np.hstack([rows, -rows]))  # rows that are centred by it


def test_vendi_is_the_entropy_of_the_kernels_eigenvalues():
    rows = np.random.default_rng(0).normal(size=(30, 7))
    assert vendi(rows) == pytest.approx(by_definition(cosines(rows)), abs=1e-9)
    # its documented example: kernel [[1, .9, 0], [.9, 1, 0], [0, 0, 1]]
    kernel = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert vendi(np.linalg.cholesky(kernel)) == pytest.approx(2.1573, abs=1e-4)


@given(st.integers(1, 6), st.integers(1, 5))
def test_of_k_different_pictures_each_m_times_there_are_k(k, m):
    assert vendi(np.repeat(np.eye(6)[:k], m, axis=0)) == pytest.approx(k)


def test_conditional_vendi_is_the_entropy_that_the_prompts_leave():
    rng = np.random.default_rng(1)
    pictures, prompts = rng.normal(size=(25, 6)), rng.normal(size=(25, 4))
    both = by_definition(cosines(pictures) * cosines(prompts))
    assert vendi(pictures, prompts) == pytest.approx(both / by_definition(cosines(prompts)), abs=1e-9)
    # of three prompts with two pictures each, all different, the prompts explain which three, not which two
    assert vendi(np.eye(6), np.repeat(np.eye(3), 2, axis=0)) == pytest.approx(2)
    assert vendi(pictures, np.ones((25, 1))) == pytest.approx(vendi(pictures)), "one prompt explains nothing"


def test_the_ratios_interval_holds_what_sets_of_as_many_prompts_have_on_average():
    rng, centres = np.random.default_rng(2), np.random.default_rng(3).normal(size=(8, 6))

    def ratio(given: bool):
        kinds = rng.integers(0, 8, 60)
        standard = centres[kinds] + rng.normal(size=(60, 6))
        prompts = centres[kinds] + 0.5 * rng.normal(size=(60, 6))
        return compare_vendi(standard, standard + 0.7 * centres[0], prompts if given else None).ratio

    for given_prompts in (False, True):
        ratios = [ratio(given_prompts) for _ in range(40)]
        truth = np.exp(np.mean(np.log([one.value for one in ratios])))
        assert truth < 1
        assert sum(one.low <= truth <= one.high for one in ratios) >= 35


def test_few_prompts_have_no_interval_and_equal_sets_none_of_any_width():
    rows = np.random.default_rng(4).normal(size=(40, 5))
    equal = compare_vendi(rows, rows).ratio
    assert (equal.value, equal.low, equal.high) == (1, 1, 1)
    assert compare_vendi(rows[:39], rows[:39]).ratio.low is None


def test_sets_of_other_prompts_are_refused():
    with pytest.raises(UserError, match="2 pictures are compared with 3"):
        compare_vendi(np.eye(3), np.eye(3)[:2])
    with pytest.raises(UserError, match="3 pictures have 2 prompts"):
        vendi(np.eye(3), np.eye(3)[:2])
