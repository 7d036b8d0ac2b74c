"""Task cards: what is frozen stays, and what is not here is told."""

import csv
import json

import pytest
from tiny_cards import save_card, tiny_card

from common.errors import UserError
from generators.model_entry import models
from sweeps.scorers import Scorers
from tasks import card as module
from tasks.card import Card, card, cards, frozen, frozen_as_they_are, write_prompts

FROZEN = [name for name, file in cards().items() if Card.read(name, file.read_text()).status == "frozen"]


@pytest.mark.parametrize("name", cards())
def test_a_card_that_was_published_says_what_it_said(name):
    found = card(name)
    if found.status == "frozen":
        assert frozen(name) == found.hash
        assert found.weights
        assert set(found.scorer_weights) == {scorer.partition("=")[0] for scorer in found.scorers}
    else:
        assert frozen(name) is None
        assert found.weights is None
    assert found.model in models()


def test_there_are_cards_of_both_tracks():
    tracks = {card(name).track for name in cards()}
    assert tracks == {"miniature", "full"}
    assert len(FROZEN) >= 4


@pytest.mark.parametrize("name", FROZEN)
def test_what_comes_with_the_package_is_what_the_cards_were_frozen_with(name):
    found = card(name)
    found.check_weights()
    found.check_scorers(Scorers(None, found.scorers, "cpu").identities)
    assert found.pictures == len(found.prompt_set) * len(found.seeds)


def test_the_full_tracks_prompts_are_those_of_the_paper(paper_datasets):
    sizes = {name: len(card(name).prompt_set) for name in cards() if card(name).track == "full"}
    assert sizes["reusebench-v1/kandinsky-2.2-templates"] == 500
    assert len(sizes) == 4


@pytest.fixture
def suite(tmp_path, monkeypatch, tiny):
    """A suite of one card in a folder of its own."""
    found = tiny_card(tiny)
    save_card(tmp_path, found)
    monkeypatch.setattr(module, "CARDS", tmp_path)
    return found


def test_a_card_is_found_by_its_name_alone(suite):
    assert card("tiny") == card("test-v1/tiny") == suite
    with pytest.raises(UserError, match="no task card is called 'tony'"):
        card("tony")


def test_a_changed_card_is_refused(suite, tmp_path):
    path = tmp_path / "test-v1" / "tiny.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), "steps": 4}))
    with pytest.raises(UserError, match="was changed since it was frozen"):
        card("tiny")
    with pytest.raises(UserError, match="is frozen as something else"):
        frozen_as_they_are("test-v1")
    frozen_as_they_are("test-v1", again=True)
    assert card("tiny").steps == 4
    assert card("tiny").hash != suite.hash


def test_other_weights_and_prompts_are_refused(tiny):
    with pytest.raises(UserError, match=r"the weights of .* here are not those of the card"):
        tiny_card(tiny, weights="0" * 64).check_weights()
    with pytest.raises(UserError, match="the prompt set mini_animals is not the one of the card"):
        _ = tiny_card(tiny, prompts="0" * 64).prompt_set
    other = tiny_card(tiny, scorer_weights={"vqa": "0" * 64})
    with pytest.raises(UserError, match="the weights of the scorer vqa here are not those"):
        other.check_scorers(Scorers(None, other.scorers, "cpu").identities)


def test_its_sweep_is_the_baseline(tiny):
    spec = tiny_card(tiny).spec()
    assert [float(tau) for tau in spec.tau] == [0]
    assert spec.seed == (1, 2)
    assert tiny_card(tiny).spec(savings=["0.3"]).savings


def test_prompts_are_written_with_their_numbers(tmp_path, tiny):
    found = tiny_card(tiny)
    write_prompts(found, tmp_path / "p.csv")
    write_prompts(found, tmp_path / "p.jsonl")
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["prompt_text"] for row in rows] == list(found.prompt_set.prompts)
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [line["prompt"] for line in lines] == [0, 1, 2, 3]
    with pytest.raises(UserError, match=r"neither \.csv nor \.jsonl"):
        write_prompts(found, tmp_path / "p.txt")
