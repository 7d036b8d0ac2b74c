import numpy as np

from generators.strategies.base import get_strategy


def test_every_prompt_is_a_root() -> None:
    tree = get_strategy("none").tree(np.ones((4, 2)))
    assert tree.parent.tolist() == [-1] * 4
    assert tree.score.tolist() == [0] * 4
