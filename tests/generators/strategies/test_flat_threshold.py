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
    assert set(tree.score[60:]) == {1 - 0.7}
    assert (tree.parent[60:] == -1).all(), "one level above the prompts"


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_tau_shares_the_fraction_that_its_documentation_says(share: float) -> None:
    tree = get_strategy("flat-threshold", similarity=0.8).tree(np.array([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]]))
    plan = build_plan(tree, get_schedule("eq7"), 0.2 / (1 - share), 40)
    assert plan.node_steps == pytest.approx(3 * 40 - share * 40, abs=1), "a tie may take a step"
    nothing = build_plan(tree, get_schedule("eq7"), 0.2, 40)
    assert nothing.savings == 0


def test_similarity_is_one() -> None:
    with pytest.raises(UserError, match="parameter 'similarity'"):
        get_strategy("flat-threshold", similarity=1.5)
