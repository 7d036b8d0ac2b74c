"""Rows as evaluation results of the hub, read back by its own library."""

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from leaderboard_rows import a_row, write_rows

from common.errors import UserError
from tasks.card import card
from tasks.leaderboard.entries import Board, boards, found
from tasks.leaderboard.hub_results import write_hub_results


def read(path):
    (entry,) = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    return entry


def test_the_hubs_library_reads_every_row_back(tmp_path) -> None:
    write_rows(tmp_path / "rows", "one", "another: <b>", url="https://example.org/paper")
    paths = write_hub_results(boards(found([tmp_path / "rows"])), tmp_path / "hub", "owner/reuse")
    assert [path.relative_to(tmp_path / "hub").parts[1] for path in paths] == [".eval_results"] * 2
    best, last = map(read, paths)
    assert (best.dataset_id, best.task_id) == ("owner/reuse", "reusebench-v1-mini-sd-styles")
    assert (best.value, last.value) == (20.0, 10.0)
    assert best.source_url == "https://example.org/paper"
    assert "another: <b>" in best.notes
    assert "95% interval 15.0 to 24.0" in best.notes


def test_a_fall_that_was_not_measured_counts_as_the_nearer_point(tmp_path) -> None:
    a_row("one bad point", (0.4, 0.0, 0.9), [0.4], [0.9], folder=tmp_path / "rows")
    (path,) = write_hub_results(boards(found([tmp_path / "rows"])), tmp_path / "hub", "owner/reuse")
    assert read(path).value == 0


def test_drafts_are_left_out(tmp_path) -> None:
    write_rows(tmp_path / "rows", "one")
    draft = card("mini-sd-styles").model_copy(update={"status": "draft"})
    assert write_hub_results([Board(draft, tuple(found([tmp_path])), None)], tmp_path / "hub", "owner/reuse") == []


@pytest.mark.parametrize("name", ["reuse", "a/b/c", "../..", "owner/name@main"])
def test_what_is_no_data_set_is_refused(tmp_path, name) -> None:
    write_rows(tmp_path / "rows", "one")
    with pytest.raises(UserError, match="names no data set of the hub"):
        write_hub_results(boards(found([tmp_path / "rows"])), tmp_path / "hub", name)
