"""`bench submit` and `bench score`: from an empty folder to a row that can be verified."""

import json

import pytest
from tiny_cards import manifest, save_card, submit, tiny_card, write_manifest

from tasks.row import Row, schema


@pytest.fixture
def card(tiny, tmp_path, monkeypatch):
    """The only card that there is."""
    found = tiny_card(tiny)
    save_card(tmp_path / "cards", found)
    monkeypatch.setattr("tasks.card.CARDS", tmp_path / "cards")
    return found


def test_a_new_submission_is_begun_and_says_what_it_lacks(bench, card):
    assert bench("submit", "new", "mine", "--card", "tiny").exit_code == 0
    result = bench("submit", "check", "mine")
    assert result.exit_code == 1
    assert "problem  mine/submission.yaml: name" in result.stdout
    assert bench("submit", "new", "mine", "--card", "tiny").exit_code == 2


def test_problems_are_named_with_their_lines(bench, card, tmp_path):
    folder = submit(tmp_path / "mine", card)
    write_manifest(folder, [{**row, "seed": 3} if not i else row for i, row in enumerate(manifest(folder))])
    told = json.loads(bench("submit", "check", "mine", "--json").stdout)
    assert (told["valid"], told["card"], told["problems_left_out"]) == (False, None, 0)
    assert told["problems"][0] == "mine/manifest.csv, line 2: 3 seed: the card's are 1, 2"
    result = bench("score", "mine")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0].endswith("the card's are 1, 2 (and 1 problem more)")
    assert result.stderr.splitlines()[1] == "hint: `bench submit check FOLDER` names all problems"


def test_from_a_submission_to_a_row(bench, card, tmp_path):
    submit(tmp_path / "mine", card)
    checked = bench("submit", "check", "mine")
    assert checked.exit_code == 0
    assert "valid  default: 8 pictures, 24 of the baseline's 48 rows, 50.0% saved" in checked.stdout
    result = bench("score", "mine", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "default: 50.0% saved, vqa win rate" in result.stdout
    place = tmp_path / "rows" / "test-v1" / "tiny" / "a-method"
    row = Row.read(place / "row.json")
    assert row.card_sha256 == card.hash
    verified = bench("submit", "verify", place)
    assert verified.exit_code == 0
    assert "whole  a method on test-v1/tiny" in verified.stdout
    told = json.loads(bench("submit", "check", "mine", "--json").stdout)
    assert (told["valid"], told["beside_baseline"]) == (True, True)
    again = json.loads(bench("score", "mine", "--device", "cpu", "--json", "--out", "elsewhere").stdout)
    assert again["row"]["points"] == json.loads(row.model_dump_json())["points"]
    (place / "row.json").write_text(
        (place / "row.json").read_text().replace('"no worse"', '"worse"').replace("24", "23")
    )
    assert bench("submit", "verify", place).exit_code == 2


@pytest.mark.parametrize("option", [["--metric", "none"], ["--rescore"], ["--dataset", "mini_animals"]])
def test_a_card_says_how_a_submission_is_scored(bench, card, tmp_path, option):
    submit(tmp_path / "mine", card)
    result = bench("score", "mine", *option)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == "error: mine is a submission, which its card scores"


def test_the_schema_is_printed(bench):
    assert json.loads(bench("submit", "schema").stdout) == schema()
