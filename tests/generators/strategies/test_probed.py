"""A strategy that asks the denoiser, on tests/support/split_aware.py: what it is handed, and that it pays for it."""

import numpy as np
import pytest
from split_aware import SplitAware

from common.errors import UserError
from generators.sharing.savings import node_steps
from generators.sharing.schedule import get_schedule
from generators.strategies.check import check_strategy
from generators.strategies.samples import StandIn, groups
from generators.strategies.ward_cosine import WardCosine


class Said(StandIn):
    """Says what it is told, the first time that it is asked."""

    def __init__(self, features, answers):
        super().__init__(features)
        self.answers, self.pairs, self.steps = answers, [], []

    def disagreement(self, pairs, k):
        self.pairs, self.steps = list(pairs), [*self.steps, k]
        super().disagreement(pairs, k)
        return self.answers(len(pairs))


def test_it_passes_the_suite_with_a_stand_in_for_the_denoiser() -> None:
    findings = check_strategy(SplitAware(), sizes=())
    assert len(findings) == 7
    assert not {finding.check: finding.reason for finding in findings if not finding.passed}


@pytest.mark.parametrize("budget", [0.02, 0.05, 0.5, 1.0])
def test_it_asks_no_more_than_its_budget(budget: float) -> None:
    features = groups(60)
    probe = StandIn(features)
    tree = SplitAware(budget=budget).probed(features, probe)
    assert 0 < tree.probe_rows == probe.rows <= max(budget * 60 * 20, 5)
    ward = WardCosine().tree(features)
    assert (tree.parent == ward.parent).all()


def test_what_it_asked_is_counted_as_node_steps() -> None:
    features = groups(30)
    tree = SplitAware().probed(features, StandIn(features))
    assert node_steps(tree, get_schedule("eq7"), 0.0, 20) == 30 * 20 + tree.probe_rows


def test_a_height_is_the_disagreement_against_the_noise() -> None:
    features = groups(12)
    probe = Said(features, lambda n: np.arange(n, 0, -1.0))  # falls with ward's heights: nothing to repair
    tree = SplitAware(budget=1.0, at=(0.25, 0.5)).probed(features, probe)
    assert probe.steps == [5, 10]
    weight = np.sqrt(np.exp(probe.log_snr[[5, 10]]).mean())
    assert sorted(tree.score[12:]) == pytest.approx(weight * np.arange(1, 12))


def test_heights_do_not_fall_where_the_denoiser_contradicts_the_tree() -> None:
    features = groups(40)
    tree = SplitAware(budget=0.1).probed(features, Said(features, lambda n: np.arange(1.0, n + 1)))
    inner = np.flatnonzero(tree.parent >= 0)
    assert (tree.score[tree.parent[inner]] >= tree.score[inner]).all()


def test_without_a_denoiser_it_is_refused() -> None:
    with pytest.raises(UserError, match="'split-aware' asks the denoiser, and there is none here"):
        SplitAware().grouping(groups(5))
