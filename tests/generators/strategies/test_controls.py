"""The controls: trees that know nothing of what prompts mean."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.sharing.savings import node_steps
from generators.sharing.schedule import get_schedule
from generators.strategies.base import get_strategy
from generators.strategies.check import groups


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(0, 20), st.integers(0, 3), st.floats(0, 4), st.sampled_from(["eq7", "official"]))
def test_shuffled_ward_saves_exactly_what_ward_saves(n: int, copies: int, seed: int, tau: float, schedule: str) -> None:
    features = groups(n, copies, seed=seed)
    ward, shuffled = (get_strategy(name).tree(features, seed=seed) for name in ("ward-cosine", "shuffled-ward"))
    how = get_schedule(schedule)
    assert node_steps(ward, how, tau, 20) == node_steps(shuffled, how, tau, 20)


def test_shuffled_ward_puts_prompts_in_other_places() -> None:
    features = groups(60)
    pairs = [
        {frozenset(np.flatnonzero(tree.parent == node)) for node in range(60, len(tree.parent))}
        for tree in (
            get_strategy("ward-cosine").tree(features),
            get_strategy("shuffled-ward").tree(features, seed=0),
            get_strategy("shuffled-ward").tree(features, seed=1),
        )
    ]
    leaves = [{pair for pair in each if max(pair) < 60} for each in pairs]
    assert len(leaves[0]) > 10
    assert all(len(leaves[i] & leaves[j]) < 3 for i, j in ((0, 1), (0, 2), (1, 2)))


@given(st.integers(1, 70), st.integers(0, 5))
def test_random_balanced_halves_all_the_way(n: int, seed: int) -> None:
    tree = get_strategy("random-balanced").tree(np.random.default_rng(0).normal(size=(n, 3)), seed=seed)
    size = tree.hi - tree.lo
    for node in range(n, len(tree.parent)):
        left, right = size[np.flatnonzero(tree.parent == node)]
        assert abs(left - right) <= 1
        assert np.isclose(tree.score[node], np.log(size[node]) / np.log(n))


def test_random_balanced_does_not_look_at_prompts() -> None:
    features = np.repeat(np.eye(8), 8, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(64, 8))
    alike = []
    for seed in range(30):
        tree = get_strategy("random-balanced").tree(features, seed=seed)
        pairs = [np.flatnonzero(tree.parent == node) for node in range(64, len(tree.parent))]
        alike += [a // 8 == b // 8 for a, b in pairs if max(a, b) < 64]
    assert abs(np.mean(alike) - 7 / 63) < 0.05
