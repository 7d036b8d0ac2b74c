import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from metrics.within_nodes import mean_within_node_distance


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 70))
def test_it_is_the_mean_over_prompts_and_steps_of_the_distance_from_the_mean(seed: int, n: int, dims: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, dims)).astype(np.float32) * rng.uniform(0.1, 10, size=(n, 1)).astype(np.float32)
    order = rng.permutation(n)
    cuts = np.sort(rng.choice(np.arange(1, n), min(3, n - 1), replace=False))
    spans = np.column_stack([np.append(0, cuts), np.append(cuts, n)])
    steps = rng.integers(1, 9, size=len(spans))
    unit = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
    total = prompt_steps = 0.0
    for (lo, hi), k in zip(spans, steps, strict=True):
        members = unit[order[lo:hi]]
        total += k * cdist(members, members.mean(0, keepdims=True), "cosine").sum()
        prompt_steps += k * (hi - lo)
    assert np.isclose(mean_within_node_distance(rows, order, spans, steps), total / prompt_steps, atol=1e-9)


def test_prompts_alone_are_no_distance_apart() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3))
    spans = np.column_stack([np.arange(5), np.arange(1, 6)])
    assert mean_within_node_distance(rows, np.arange(5), spans, np.full(5, 7)) == 0
