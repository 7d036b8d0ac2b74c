"""How node-steps grow with a set of prompts, against closed forms."""

import numpy as np
import pytest

from generators.growth import LEAST, PARTS, Growth, ahead, growth, part_sizes
from generators.sharing.schedule import get_schedule
from generators.strategies.base import get_strategy

K, EQ7 = 10, get_schedule("eq7")
WARD = get_strategy("ward-cosine")


def grown(rows, taus, steps, seed=0):
    return growth(len(rows), lambda part: WARD.tree(rows[part]), EQ7, taus, steps, seed=seed)


def test_parts_of_a_set_of_copies_save_what_their_copies_save():
    """Equal prompts share all but the last step: the rest is paid once a distinct prompt of a part."""
    distinct, copies, part = 40, 4, 80
    rows = np.repeat(np.eye(distinct), copies, axis=0)
    (found,) = grown(rows, [0.01], K, seed=3)
    population = distinct * copies
    assert found.node_steps == distinct * (K - 1) + population
    assert found.savings(population)[0] == pytest.approx(0.75 * (K - 1) / K)
    missed = np.prod([(population - copies - i) / (population - i) for i in range(part)])
    expected = (1 - distinct * (1 - missed) / part) * (K - 1) / K
    mean, low, high = found.savings(part)
    assert mean == pytest.approx(expected, abs=0.02)
    assert low <= mean <= high


def test_where_nothing_is_shared_a_further_prompt_costs_all_of_its_steps():
    rows = np.random.default_rng(0).normal(size=(64, 5))
    (found,) = grown(rows, [0.0], K)
    assert found.further(30) == (K, K, K)
    assert found.foretold() == pytest.approx(1)


@pytest.mark.parametrize("power", [0.3, 0.8, 1.0])
def test_node_steps_that_grow_by_a_power_are_foretold(power: float):
    def counted(prompts: int) -> float:
        return 7 * prompts**power

    parts = {size: (counted(size),) * PARTS for size in (100, 200)}
    found = Growth(steps=40, parts=parts, prompts=400, node_steps=counted(400))
    assert found.foretold() == pytest.approx(1)
    assert found.further(400) == pytest.approx(((counted(800) - counted(400)) / 400,) * 3)


def test_a_larger_random_set_of_the_same_kind_is_foretold():
    """Prompts in groups of groups: half of them tells what all cost, within a few per cent."""
    dice = np.random.default_rng(1)
    topics = dice.normal(size=(12, 16))
    kinds = topics[dice.integers(12, size=60)] + 0.5 * dice.normal(size=(60, 16))
    rows = kinds[dice.integers(60, size=600)] + 0.2 * dice.normal(size=(600, 16))
    half = rows[dice.permutation(600)[:300]]
    taus = [0.3, 0.8]
    foretold = grown(half, taus, 40)
    whole = grown(rows, taus, 40)
    for before, after in zip(foretold, whole, strict=True):
        assert 0.2 < after.savings(600)[0] < 0.9
        assert before.node_steps + 300 * before.further(300)[0] == pytest.approx(after.node_steps, rel=0.1)


def test_parts_are_halves_of_halves_and_the_same_for_the_same_seed():
    assert part_sizes(500) == [31, 62, 125, 250]
    assert part_sizes(2 * LEAST) == [LEAST]
    assert part_sizes(2 * LEAST - 1) == []
    assert (ahead(60), ahead(20_000)) == (60, 1000)
    rows = np.random.default_rng(0).normal(size=(20, 4))
    assert grown(rows, [1.0], K, seed=5) == grown(rows, [1.0], K, seed=5)
    with pytest.raises(ValueError, match="16 are needed"):
        grown(rows[:15], [1.0], K)
