"""One by one or as a stream: the same rules decide who starts from which latent."""

import numpy as np
import pytest

from generators.sharing.schedule import get_schedule
from generators.strategies.base import get_strategy
from serving.shelf import Shelf, batch_plan

EQ7 = get_schedule("eq7")
RULES = [
    ("cache", {"size": 7}),
    ("cache", {"size": 5, "eviction": "lru", "store": "all"}),
    ("cache", {"size": 40, "store": "all"}),
    ("cache", {}),
    ("vllm-omni", {"size": 3, "min_skip": 2}),
    ("chorus", {"size": 2, "threshold": 0.6}),
    ("modm", {"size": 9}),
    ("cachegenius", {"size": 9, "store": "misses"}),
]


@pytest.mark.parametrize(("name", "parameters"), RULES)
@pytest.mark.parametrize("together", [1, 4])
def test_requests_one_by_one_start_where_the_plan_of_their_stream_has_them_start(name, parameters, together):
    centres = np.random.default_rng(3).normal(size=(6, 8))
    rows = centres[np.random.default_rng(4).integers(6, size=120)] + np.random.default_rng(5).normal(size=(120, 8)) / 4
    rows = np.concatenate([rows, rows[:10]])  # equal prompts too
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    strategy, steps = get_strategy(name, **parameters), 10
    expected = [start.latent for start in strategy.grouping(rows).starts(EQ7, 1.1, steps)]
    assert len(set(expected)) > 5, "or the test says nothing"
    shelf, found = Shelf(strategy.opened(1.1, steps)), []
    evaluations = 0
    for first in range(0, len(rows), together):
        making, begins = {}, []
        for place, row in enumerate(rows[first : first + together]):
            begins.append(shelf.arrive(row, f"request {first + place}", making))
            if begins[-1].keeps:
                making[first + place] = place
        for begin in begins:
            found.append((int(begin.of.split()[1]), begin.k) if begin.of else None)
            for step in begin.keeps:
                shelf.keep((begin.arrival, step), (begin.arrival, step))
        assert shelf.whole
        evaluations += sum(steps - begin.k for begin in begins)
        states = [begin.origin for begin in begins if isinstance(begin.origin, tuple)]
        assert all(state == latent for state, latent in zip(states, _kept(begins), strict=True))
    assert found == expected
    assert evaluations == strategy.grouping(rows).plan(EQ7, 1.1, steps).node_steps
    assert len(shelf) <= (parameters.get("size") or 1000) * (1 if name == "cache" else 10)


def _kept(begins):
    """The latents that those begin from whose state was kept before their batch."""
    return [(int(begin.of.split()[1]), begin.k) for begin in begins if isinstance(begin.origin, tuple)]


def test_what_was_let_go_is_not_kept_and_what_was_not_made_is_known():
    shelf = Shelf(get_strategy("cache", size=2, similarity=[0.5], share=[0.5]).opened(1, 10))
    for number, row in enumerate(np.eye(3)):
        assert shelf.arrive(row, str(number), {}).keeps == (5,)
    for number in range(3):
        shelf.keep((number, 5), number)
    assert sorted(shelf.states) == [(1, 5), (2, 5)] and shelf.whole
    shelf.arrive(np.array([-1.0, 0, 0]), "3", {})
    assert not shelf.whole


def test_a_batch_in_which_one_begins_from_another_is_cut_there():
    shelf = Shelf(get_strategy("cache", similarity=[0.5, 0.9], share=[0.2, 0.5]).opened(1, 10))
    making = {}
    begins = []
    for place, row in enumerate([[1.0, 0], [0.8, 0.6], [1.0, 0]]):
        begins.append(shelf.arrive(np.array(row), str(place), making))
        making[place] = place
    plan, states, owner = batch_plan(begins, 10)
    assert [begin.k for begin in begins] == [0, 2, 5] and not states
    assert owner.tolist() == [0, 0, 0, 1, 2]
    assert plan.first.tolist() == [0, 2, 5, 2, 5] and plan.source.tolist() == [-1, 0, 1, 0, 1]
