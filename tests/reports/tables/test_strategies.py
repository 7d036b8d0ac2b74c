"""The three tables of strategies: what they say, and that they keep silent where there is nothing to compare."""

import pytest

from reports.base import RunView
from reports.method_comparison import method_comparisons
from reports.tables.strategies import Strategies
from reports.tables.strategy_pairs import StrategyPairs, pairs
from reports.tables.strategy_ranking import StrategyRanking

RIVALS = {"average": 0.0, "complete": 0.0, "shuffled-ward": 0.35}


@pytest.fixture
def run(compared) -> RunView:
    return RunView.of(compared(RIVALS, controls=("shuffled-ward",)))


def test_strategies_at_each_level_with_controls_last(run):
    sheet = Strategies().sheet(run)
    data = sheet.data
    assert list(data.level.round(3).unique()) == [0.295, 0.474]
    assert list(data[data.level < 0.4].strategy)[-1] == "shuffled-ward"
    assert data[data.control].strategy.unique() == ["shuffled-ward"]
    assert (data.win_rate_low <= data.win_rate).all()
    assert (data.win_rate <= data.win_rate_high).all()
    assert (data.pairs == 480).all()
    assert data["clip_diversity.clip_similarity"].round(6).eq(1).all()  # the fixture embeds all pictures alike
    level, name, tau, saved = (str(entry) for entry in sheet.rows[0][:4])
    assert (level, tau, saved) == ("29.5", "0.5", "29.5")
    assert name in ("average", "complete")
    assert "seeds 1, 2, 3" in sheet.caption
    assert "160 prompts of mini_styles, mini_templates" in sheet.caption


def test_pairs_are_corrected_together_and_agree_with_the_counts(run):
    data = StrategyPairs().sheet(run).data
    assert len(data) == 3 * 2 + 3
    assert (data.wins + data.ties + data.losses).tolist() == [480] * 6 + [960] * 3
    rate = (data.wins + data.ties / 2) / (data.wins + data.ties + data.losses)
    assert rate.tolist() == pytest.approx(data.win_rate.tolist())
    assert (data.p_holm >= data.p).all()
    assert set(data[data.second == "shuffled-ward"].winner) == {"average", "complete"}
    assert data[data.second == "complete"].winner.isna().all()
    assert [pair.savings for pair in run.once(pairs)][-1] is None


def test_the_ranking_says_what_it_does_not_know(run):
    sheet = StrategyRanking().sheet(run)
    assert [str(row[0]) for row in sheet.rows] == ["1-2", "1-2", "3"]
    assert str(sheet.rows[2][1]) == "shuffled-ward (control)"
    assert {str(row[2]) for row in sheet.rows} == {"shuffled-ward", "-"}
    assert set(sheet.data.not_told_apart_from[:2]) == {"average", "complete"}
    assert any("shuffled-ward is beaten by all others" in note for note in sheet.notes)
    assert "29.5% to 47.4%" in sheet.caption


def test_a_run_of_one_strategy_has_none_of_them(compared):
    run = RunView.of(compared({"ward-cosine": 0.0}))
    assert not run.once(method_comparisons).comparisons
    assert [table().sheet(run) for table in (Strategies, StrategyPairs, StrategyRanking)] == [None] * 3
