"""Figures of any score per picture."""

import numpy as np
import pytest

from common.errors import UserError
from metrics.paired_scores import compare_scores, score_figures
from metrics.statistics import bootstrap_mean, paired_difference, win_rate

STANDARD, OURS = {"fid": np.zeros(4), "pick": np.array([1, 2, 3, 4.0])}, {"pick": np.array([2, 1, 3.5, 9])}
SAME = np.array([False, False, False, True])


def test_a_score_has_the_figures_that_it_is_said_to_have():
    found = compare_scores("pick", STANDARD, OURS, SAME)
    assert list(found) == list(score_figures("pick", "PickScore"))
    labels = {name: info.label for name, info in score_figures("pick", "PickScore").items()}
    assert labels["win_rate"] == "PickScore win rate"
    assert labels["pick_difference"] == "PickScore difference"


def test_what_is_one_picture_ties_and_has_one_score():
    found = compare_scores("pick", STANDARD, OURS, SAME, seed=3)
    ours, standard = [2, 1, 3.5, 4], [1, 2, 3, 4]
    assert (found["wins"], found["ties"], found["losses"]) == (2, 1, 1)
    assert found["win_rate"] == win_rate(ours, standard).half_tie
    assert found["pick_difference"] == paired_difference(ours, standard, seed=3)
    assert found["pick_mean"] == bootstrap_mean(ours, seed=3)


def test_sets_of_two_sizes_are_refused():
    with pytest.raises(UserError, match="compared"):
        compare_scores("pick", STANDARD, {"pick": np.ones(3)}, SAME)
