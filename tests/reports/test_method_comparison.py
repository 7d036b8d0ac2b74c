"""The cells that are compared with one another, target by target, and the winners."""

import numpy as np
import pytest
import yaml

from reports.base import RunView
from reports.method_comparison import method_comparisons
from reports.rankings import ranking


def view(run) -> RunView:
    return RunView.of(run)


def test_equal_savings_of_a_run_over_taus_are_levels_named_after_the_first_strategy(compared):
    run = view(compared({"average": 0.1, "ward-cosine": 0.0}, taus=("0", "0.5", "1", "1.02")))
    (comparison,) = run.once(method_comparisons).comparisons
    assert [target.savings for target in comparison.targets] == pytest.approx([0.2951, 0.4741], abs=1e-4)
    assert [list(target.methods) for target in comparison.targets] == [["average", "ward-cosine"]] * 2
    assert comparison.targets[0].methods["average"].outcomes.shape == (3, 160)


def test_levels_that_were_asked_for_take_each_strategys_own_tau(compared):
    run = compared({"ward-cosine": 0.0}, taus=("0.5", "1"))
    compared({"average": 0.0}, taus=("0.49", "1.01"))
    spec = yaml.safe_load((run / "sweep.yaml").read_text())
    (run / "sweep.yaml").write_text(yaml.safe_dump({**spec, "savings": ["0.3", "0.47"]}))
    (comparison,) = view(run).once(method_comparisons).comparisons
    assert [target.savings for target in comparison.targets] == [0.3, 0.47]
    taus = [
        {float(each.config.tau) for each in target.methods["average"].records.values()} for target in comparison.targets
    ]
    assert taus == [{0.49}, {1.01}]


def test_who_comes_near_a_level_in_no_cell_is_left_out_there_and_named(compared):
    run = compared({"average": 0.0, "single": 0.0}, taus=("0.5", "1"))
    compared({"ward-cosine": 0.0}, taus=("0.5", "0.7"))
    (comparison,) = view(run).once(method_comparisons).comparisons
    assert [(name, [round(target.savings, 2) for target in missed]) for name, missed in comparison.missing()] == [
        ("ward-cosine", [0.47])
    ]
    found = ranking(comparison)
    assert set(found.names) == {"average", "single", "ward-cosine"}
    assert [round(target.savings, 2) for target in found.targets] == [0.3]


def test_one_strategy_is_no_contest_and_models_are_contests_of_their_own(compared):
    assert not view(compared({"ward-cosine": 0.0})).once(method_comparisons).comparisons
    compared({"average": 0.0})
    run = compared({"average": 0.0, "ward-cosine": 0.0}, model="mini-sd")
    found = view(run).once(method_comparisons)
    assert [found.named(comparison) for comparison in found.comparisons] == ["mini-kandinsky", "mini-sd"]


def test_head_to_head_is_of_scores_and_forgives_the_last_digits(compared):
    run = compared({"average": 0.2, "ward-cosine": 0.0})
    (comparison,) = view(run).once(method_comparisons).comparisons
    first, second = comparison.targets[-1].methods.values()
    gap = first.scores - second.scores
    assert np.array_equal(first.against(second), -second.against(first))
    assert np.array_equal(first.against(second)[np.abs(gap) > 1e-3], np.sign(gap)[np.abs(gap) > 1e-3])
    assert not first.against(first).any()


def test_the_ranking_puts_the_better_first_and_ties_what_is_alike(compared):
    run = compared({"average": 0.0, "complete": 0.0, "shuffled-ward": 0.35}, controls=("shuffled-ward",))
    (comparison,) = view(run).once(method_comparisons).comparisons
    assert comparison.names[-1] == "shuffled-ward"
    found = ranking(comparison)
    assert found.names[-1] == "shuffled-ward"
    assert found.ranks == ((1, 2), (1, 2), (3, 3))
    assert found.better[:2, 2].all()
    assert found.areas[2].high < found.areas[0].low
