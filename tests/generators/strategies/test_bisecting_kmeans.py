import numpy as np
from sklearn.cluster import BisectingKMeans

from generators.strategies.base import get_strategy
from generators.strategies.check import groups


def test_separate_groups_are_parted_first() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(4), 8)
    features = np.eye(6)[group] + 0.01 * rng.normal(size=(32, 6))
    tree = get_strategy("bisecting-kmeans").tree(features, seed=3)
    found = {frozenset(tree.leaf_order[tree.lo[i] : tree.hi[i]]) for i in range(32, len(tree.parent))}
    for each in range(4):
        assert frozenset(np.flatnonzero(group == each)) in found


def test_the_root_is_split_as_scikit_learn_splits_it() -> None:
    """Its own BisectingKMeans, on two groups that any good 2-means finds."""
    rng = np.random.default_rng(1)
    features = np.repeat(np.eye(5)[:2], [20, 9], axis=0) + 0.1 * rng.normal(size=(29, 5))
    theirs = BisectingKMeans(2, random_state=0).fit_predict(features / np.linalg.norm(features, axis=1)[:, None])
    tree = get_strategy("bisecting-kmeans").tree(features)
    side = np.flatnonzero(tree.parent == len(tree.parent) - 1)[0]
    inside = np.isin(np.arange(29), tree.leaf_order[tree.lo[side] : tree.hi[side]])
    assert (inside == (theirs == theirs[np.argmax(inside)])).all()


def test_two_prompts_have_wards_height_copies_counted() -> None:
    ward, halves = (get_strategy(name) for name in ("ward-euclidean", "bisecting-kmeans"))
    for rows in ([0, 1], [0, 1, 1, 1]):
        features = np.array([[1.0, 0.0], [0.0, 2.0]])[rows]
        assert np.isclose(ward.tree(features).score.max(), halves.tree(features).score.max())


def test_prompts_of_one_direction_split_at_once_at_height_0() -> None:
    tree = get_strategy("bisecting-kmeans").tree(np.outer(2.0 ** np.arange(6), [1.0, 2.0]))
    assert tree.score.max() == 0
    assert tree.n_children.tolist() == [0] * 6 + [6]


def test_seeds_draw_other_trees() -> None:
    parents = {get_strategy("bisecting-kmeans").tree(groups(60), seed=seed).parent.tobytes() for seed in range(4)}
    assert len(parents) > 1
