import numpy as np
import pytest

from common.errors import UserError
from generators.sharing.plan import build_plan
from generators.sharing.schedule import get_schedule
from generators.strategies.base import get_strategy
from generators.strategies.check import groups
from generators.strategies.contents import unit


def test_groups_are_similar_all_through_and_split_at_one_height() -> None:
    features = groups(60)
    tree = get_strategy("flat-threshold", similarity=0.7).tree(features)
    shared = range(60, len(tree.parent))
    assert len(shared) > 3
    for node in shared:
        rows = unit(features[tree.parent[:60] == node])
        assert len(rows) > 1
        assert (rows @ rows.T).min() >= 0.7 - 1e-12
    (height,) = set(tree.score[60:])
    assert height == pytest.approx(1 - 0.7, rel=2e-4)
    assert (tree.parent[60:] == -1).all(), "one level above the prompts"


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.95])
@pytest.mark.parametrize(("steps", "shared"), [(20, 8), (20, 1), (40, 10), (40, 30), (50, 20), (50, 49), (1000, 400)])
def test_tau_shares_the_steps_that_its_documentation_says(similarity: float, steps: int, shared: int) -> None:
    """Two prompts of three are a group: what they share is saved once."""
    tree = get_strategy("flat-threshold", similarity=similarity).tree(np.array([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]]))
    tau = (1 - similarity) / (1 - shared / steps)
    for written in (tau, tau * (1 + 1e-12), tau * (1 - 1e-12)):
        assert build_plan(tree, get_schedule("eq7"), written, steps).node_steps == 3 * steps - shared
    for nothing in (1 - similarity, 0.9 * (1 - similarity)):
        assert build_plan(tree, get_schedule("eq7"), nothing, steps).savings == 0


def test_sages_forty_per_cent_are_forty_with_a_tau_of_four_digits() -> None:
    pair = np.array([[1.0, 0.1], [1.0, 0.0]])
    plan = build_plan(get_strategy("flat-threshold").tree(pair), get_schedule("eq7"), 0.8333, 20)
    assert plan.node_steps == 2 * 20 - 8


def test_similarity_is_one() -> None:
    with pytest.raises(UserError, match="parameter 'similarity'"):
        get_strategy("flat-threshold", similarity=1.5)
