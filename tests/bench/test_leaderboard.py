"""`bench leaderboard`: rows in, a page out, and its mistakes told in a line."""

import json
from pathlib import Path

from leaderboard_rows import a_row, write_rows


def test_it_ranks_and_says_where_the_page_is(bench, tmp_path) -> None:
    write_rows(tmp_path / "rows", "worse", "better")
    result = bench("leaderboard", tmp_path / "rows")
    assert result.exit_code == 0, result.output
    assert "reusebench-v1/mini-sd-styles, by savings at parity" in result.output
    assert result.output.index("1  better: 20.0% [15.0%, 24.0%]") < result.output.index("2  worse: 10.0% [5.0%, 14.0%]")
    assert "page    leaderboard/index.html" in result.output
    assert Path("leaderboard/index.html").is_file()


def test_json_has_every_row_and_nothing_else_is_on_standard_output(bench, tmp_path) -> None:
    write_rows(tmp_path / "rows", "worse", "better")
    row = next((tmp_path / "rows").rglob("row.json"))
    result = bench("leaderboard", tmp_path / "rows", row, "--out", tmp_path / "site", "--json")
    told = json.loads(result.stdout)
    ranked = told["cards"]["reusebench-v1/mini-sd-styles"]
    assert [(one["method"], one["ranks"]) for one in ranked] == [("better", [1, 1]), ("worse", [2, 2])]
    assert Path(told["page"]).is_file()


def test_results_for_the_hub_need_the_data_set_that_they_are_of(bench, tmp_path) -> None:
    write_rows(tmp_path / "rows", "one")
    result = bench("leaderboard", tmp_path / "rows", "--hub-results", tmp_path / "hub")
    assert result.exit_code == 2
    assert "--hub-results and --hub-dataset go together" in result.stderr
    result = bench("leaderboard", tmp_path / "rows", "--hub-results", tmp_path / "hub", "--hub-dataset", "me/reuse")
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "hub").rglob("*.yaml")] == ["reusebench-v1-mini-sd-styles.yaml"]


def test_a_row_of_another_card_is_refused_by_name(bench, tmp_path) -> None:
    a_row("of yesterday", folder=tmp_path / "rows", changes={"card_sha256": "0" * 64})
    result = bench("leaderboard", tmp_path / "rows")
    assert result.exit_code == 2
    assert "of yesterday" in result.stderr
    assert "hint: score these methods again" in result.stderr
    assert not Path("leaderboard").exists()


def test_a_method_that_is_not_in_the_box_is_told_with_its_nearest(bench) -> None:
    result = bench("cards", "run", "mini-sd-styles", "--method", "ward-cosin")
    assert result.exit_code == 2
    assert "no method in the box is called 'ward-cosin'" in result.stderr
    assert "ward-cosine" in result.stderr.partition("hint")[2]
