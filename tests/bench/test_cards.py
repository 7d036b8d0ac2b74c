"""`bench cards`: what a task fixes, and its prompts."""

import csv
import json

from tasks.card import card, cards


def test_every_card_is_listed(bench):
    listed = json.loads(bench("cards", "list", "--json").stdout)
    assert [one["name"] for one in listed] == list(cards())
    assert {one["status"] for one in listed} == {"frozen", "draft"}
    assert "mini-sd-styles" in bench("cards", "list").stdout


def test_a_card_says_all_that_it_fixes_and_what_its_baseline_costs(bench, tmp_path):
    result = bench("cards", "show", "mini-sd-styles", "--prompts", "p.csv", "--json")
    told, known = json.loads(result.stdout), card("mini-sd-styles")
    assert (told["nfe"], told["pictures"], told["rows"]) == (7200, 180, 40)
    assert told["sha256"] == known.hash
    assert told["scorer_weights"] == known.scorer_weights
    with (tmp_path / "p.csv").open(newline="") as file:
        assert [row["prompt_text"] for row in csv.DictReader(file)] == list(known.prompt_set.prompts)
    shown = bench("cards", "show", "mini-sd-styles").stdout
    assert "nfe              7200" in shown
    assert f"sha256           {known.hash}" in shown


def test_a_draft_says_that_it_is_one_without_its_prompts_too(bench, monkeypatch):
    monkeypatch.delenv("BENCH_DATASETS", raising=False)
    result = bench("cards", "show", "flux-dev-styles")
    assert result.exit_code == 0
    assert "not pinned" in result.stdout
    assert "unavailable" in result.stdout


def test_an_unknown_card_is_one_line(bench):
    result = bench("cards", "show", "mini-sd-stiles")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == "error: no task card is called 'mini-sd-stiles'"
