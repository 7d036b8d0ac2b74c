"""Ward in parts: one part is Ward itself, and many lose little of it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from common.errors import UserError
from common.progress import listening
from generators.sharing.plan import SharingPlan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.strategies.partitioned_ward import PartitionedWard
from generators.strategies.ward_cosine import WardCosine

pytest.importorskip("faiss", reason="the extra `scale` is not installed")


def prompts(n: int, seed: int = 0) -> NDArray[np.float32]:
    """Topics, and in each of them kinds, and in each of these prompts: float32 [n, 32]."""
    rng = np.random.default_rng(seed)
    topics = rng.normal(size=(12, 32))
    kinds = topics[rng.integers(12, size=n // 8)] + 0.6 * rng.normal(size=(n // 8, 32))
    return (kinds[rng.integers(len(kinds), size=n)] + 0.4 * rng.normal(size=(n, 32))).astype(np.float32)


def plan(tree: Tree, tau: float = 0.6) -> SharingPlan:
    return build_plan(tree, get_schedule("eq7"), tau, 20)


def spread(plan: SharingPlan, rows: NDArray[np.float32]) -> float:
    """The mean distance of a node's members from their mean, weighted by steps."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    steps = plan.stop - plan.first
    members = [unit[plan.members(i)] for i in range(len(steps))]
    return float(sum(s * np.linalg.norm(m - m.mean(0), axis=1).sum() for s, m in zip(steps, members, strict=True)))


def groups(plan: SharingPlan, k: int) -> set[frozenset[int]]:
    return {frozenset(plan.members(i).tolist()) for i in plan.active(k)}


def test_what_fits_in_one_part_is_wards_tree() -> None:
    rows = prompts(300)
    one, whole = PartitionedWard(part=300).tree(rows), WardCosine().tree(rows.astype(np.float64))
    assert np.array_equal(one.parent, whole.parent)
    assert np.array_equal(one.score, whole.score)


def test_many_parts_save_nearly_as_much_as_ward_at_the_same_spread() -> None:
    rows = prompts(2400)
    whole = WardCosine().tree(rows.astype(np.float64))
    parts = PartitionedWard(part=200).tree(rows)
    assert np.count_nonzero(parts.parent < 0) >= 8, "the parts must be several for this to mean something"
    exact = [plan(whole, tau) for tau in np.linspace(0.1, 2, 20)]
    ours = plan(parts)
    at_equal_spread = np.interp(spread(ours, rows), [spread(p, rows) for p in exact], [p.savings for p in exact])
    assert ours.savings > 0.3
    assert at_equal_spread - ours.savings < 0.02


def test_within_a_part_heights_are_wards() -> None:
    """Two far groups, each a part of its own: below their roots the tree is Ward's on each alone."""
    rng = np.random.default_rng(1)
    rows = np.concatenate([sign * np.eye(1, 16)[0] + 0.05 * rng.normal(size=(60, 16)) for sign in (1, -1)])
    tree = PartitionedWard(part=70).tree(rows.astype(np.float32))
    for group in (np.arange(60), np.arange(60, 120)):
        alone = WardCosine().tree(rows[group].astype(np.float32).astype(np.float64))
        ours = np.sort(tree.score[120:])
        assert np.abs(ours[:, None] - alone.score[60:]).min(axis=0).max() < 1e-5


def test_the_order_of_prompts_does_not_matter_and_equal_ones_stay_together() -> None:
    rows = prompts(900)
    rows[::50] = rows[7]
    order = np.random.default_rng(2).permutation(900)
    ours, shuffled = plan(PartitionedWard(part=150).tree(rows)), plan(PartitionedWard(part=150).tree(rows[order]))
    for k in range(20):
        assert groups(ours, k) == {frozenset(order[[*group]].tolist()) for group in groups(shuffled, k)}
    equal = set(np.flatnonzero((rows == rows[7]).all(axis=1)).tolist())
    assert any(equal <= group for group in groups(ours, 18)), "they part at the last step alone"


def test_a_memory_map_is_read_in_chunks_and_gives_the_same_tree(tmp_path: Path) -> None:
    rows = prompts(600)
    np.save(tmp_path / "rows.npy", rows)
    heard: list[tuple[str, int, int]] = []
    with listening(lambda what, done, total, unit: heard.append((what, done, total))):
        mapped = PartitionedWard(part=100).tree(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    whole = PartitionedWard(part=100).tree(rows)
    assert np.array_equal(mapped.parent, whole.parent)
    assert np.array_equal(mapped.score, whole.score)
    assert {what for what, _, _ in heard} == {"reading", "finding parts", "clustering parts"}


def test_rows_that_are_alike_but_for_their_length_are_parted_by_content() -> None:
    rows = (np.arange(1, 401)[:, None] * np.ones(8)).astype(np.float32)
    tree = PartitionedWard(part=50).tree(rows)
    assert tree.n_leaves == 400
    assert tree.score.max() < 1e-6


def test_a_row_without_direction_is_named() -> None:
    rows = prompts(400)
    rows[123] = 0
    with pytest.raises(UserError, match="row 124 of 400 is zero"):
        PartitionedWard(part=100).tree(rows)
