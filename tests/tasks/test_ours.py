"""The methods in the box, on a card of tiny checkpoints: made, submitted and scored as a stranger's."""

from decimal import Decimal

import pytest
import torch
from tiny_cards import tiny_card

from common.errors import UserError
from generators.strategies.base import strategies
from metrics.method_comparison import rank_text
from sweeps.events import Note
from tasks import ours
from tasks.card import cards
from tasks.leaderboard.entries import boards, found
from tasks.ours import Ours, run, sweeps
from tasks.submission import check

FEW = (
    Ours(name="ward", kind="sharing", description="shares", settings={"strategy": "ward-cosine"}),
    Ours(name="average", kind="peer", description="shares too", settings={"strategy": "average"}),
    Ours(name="fewer", kind="baseline", description="shares nothing", settings={"tau": "0", "steps": [2, 1]}),
)


@pytest.fixture(scope="module")
def card(tiny):
    return tiny_card(tiny, savings=("0.25", "0.9"))


@pytest.fixture(scope="module")
def made(card, tmp_path_factory):
    """The folder of rows, runs and submissions; what was yielded; what was said."""
    folder, said = tmp_path_factory.mktemp("ours"), []
    places = {name: folder / name for name in ("rows", "runs", "submissions")}
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ours, "ours", lambda: FEW)
        rows = dict(run(card, device="cpu", emit=said.append, **places))
        again = dict(run(card, device="cpu", emit=said.append, **places))
    return folder, rows, again, [one.text for one in said if isinstance(one, Note)]


def test_every_method_has_a_row_with_its_kind_and_its_cost(card, made) -> None:
    _, rows, *_ = made
    by_name = {row.method.name: row for row in rows.values()}
    assert {name: row.method.kind for name, row in by_name.items()} == {one.name: one.kind for one in FEW}
    assert [point.name for point in by_name["fewer"].points] == ["steps=2", "steps=1"]
    assert [point.savings for point in by_name["fewer"].points] == pytest.approx([1 / 3, 2 / 3])
    assert [point.nfe for point in by_name["fewer"].points] == [4 * 2 * 2 * 2, 4 * 2 * 1 * 2]
    (shared,) = by_name["ward"].points
    assert shared.savings == pytest.approx(0.25, abs=0.02)
    assert shared.name == "savings=0.25"
    assert len(by_name["ward"].method.settings["points"]["savings=0.25"]["tau"]) == len(card.seeds)


def test_a_level_that_is_not_reached_is_left_out_by_name(made) -> None:
    assert any("ward-cosine" in text and "cannot save 90.0%" in text for text in made[3])


def test_what_is_scored_is_a_submission_that_holds(card, made) -> None:
    submission = check(made[0] / "submissions/methods/test-v1/tiny/ward", card).whole()
    assert submission.about.settings == {"strategy": "ward-cosine"}
    assert submission.points[0].roots < 4, "prompts that share begin from one draw of noise"


def test_the_same_command_keeps_what_is_there(made) -> None:
    _, rows, again, _ = made
    assert rows == again


def test_the_rows_make_a_leaderboard_that_is_computed_again_from_scores(card, made, monkeypatch) -> None:
    monkeypatch.setattr("tasks.leaderboard.entries.card_of", lambda name: card)
    (board,) = boards(found([made[0] / "rows"]))
    assert board.judged.keys() == {0, 1, 2}
    assert board.ranking is not None
    assert board.ranking.unpaired == ()
    assert all(rank_text(ranks) for ranks in board.ranking.ranks)


def test_methods_that_differ_in_their_strategy_alone_are_one_sweep(card) -> None:
    found = sweeps(card, FEW, card.savings)
    assert [[one.name for one in methods] for _, methods in found] == [["ward", "average"], ["fewer"]]
    assert found[0][0].strategy == ("ward-cosine", "average")
    assert found[1][0].tau == (Decimal(0),)


def test_the_methods_in_the_box_are_known_strategies_of_different_names() -> None:
    methods = ours.ours()
    assert len(methods) >= 12
    assert len({one.name for one in methods}) == len(methods)
    assert {one.settings.get("strategy", "ward-cosine") for one in methods} <= strategies().keys()
    assert {one.kind for one in methods} == {"sharing", "peer", "baseline", "control"}
    assert "reusebench-v1/mini-sd-styles" in cards()


def test_a_method_that_is_not_in_the_box_is_refused() -> None:
    with pytest.raises(UserError, match="no method in the box is called 'wardcosine'"):
        ours.chosen(["wardcosine"])
