import numpy as np
import pandas as pd
import pytest

from common.errors import UserError
from reports.paired_scores import metric_scores, outcomes, score_differences
from sweeps.record import load_records


def read_again(run, **changes):
    """Return the outcomes of the last cell, with its record changed."""
    record = load_records(run)[-1]
    return record, outcomes(run, record.model_copy(update=changes), "vqa", metric_scores)


def test_wins_ties_and_losses_are_the_records(run_folder) -> None:
    record, found = read_again(run_folder)
    counts = {name: record.results[f"vqa.{name}"].value for name in ("wins", "ties", "losses")}
    assert counts == {"wins": (found == 1).sum(), "ties": (found == 0).sum(), "losses": (found == -1).sum()}


def test_a_metric_says_which_way_is_better(run_folder) -> None:
    record, found = read_again(run_folder)
    rate = record.results["vqa.win_rate"].model_copy(update={"value": 1 - record.results["vqa.win_rate"].value})
    lower = {"vqa": {**record.scorers["vqa"], "higher_is_better": False}}
    _, mirrored = read_again(run_folder, scorers=lower, results={**record.results, "vqa.win_rate": rate})
    np.testing.assert_array_equal(mirrored, -found)


def test_scores_of_other_pictures_are_refused(run_folder) -> None:
    path = load_records(run_folder)[-1].scores(run_folder)
    scores = pd.read_parquet(path)
    scores.assign(**{"vqa.vqa": 1.0}).to_parquet(path)
    with pytest.raises(UserError, match="do not give its win rate") as error:
        read_again(run_folder)
    assert "--rescore" in error.value.hint
    scores.head(3).to_parquet(path)
    with pytest.raises(UserError, match="do not give its win rate"):
        read_again(run_folder)


def test_differences_are_ours_less_standards_whichever_way_is_better(run_folder) -> None:
    record, found = read_again(run_folder)
    np.testing.assert_allclose(score_differences(run_folder, record, "vqa", metric_scores), 0.1 * found)
    rate = record.results["vqa.win_rate"].model_copy(update={"value": 1 - record.results["vqa.win_rate"].value})
    lower = record.model_copy(
        update={
            "scorers": {"vqa": {**record.scorers["vqa"], "higher_is_better": False}},
            "results": {**record.results, "vqa.win_rate": rate},
        }
    )
    np.testing.assert_allclose(score_differences(run_folder, lower, "vqa", metric_scores), 0.1 * found)


@pytest.mark.parametrize("content", [None, b"", b"damaged"])
def test_a_damaged_file_is_named(run_folder, content) -> None:
    path = load_records(run_folder)[-1].scores(run_folder)
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)) as error:
        read_again(run_folder)
    assert "--rescore" in error.value.hint


def test_embeddings_are_no_scores_and_two_scores_are_one_too_many(tmp_path) -> None:
    path = tmp_path / "scores.parquet"
    pd.DataFrame({"m.a": [0.5], "m.list": [[0.1, 0.2]], "other.a": [0.1]}).to_parquet(path)
    assert metric_scores(path, "m").tolist() == [0.5]
    pd.DataFrame({"m.a": [0.5], "m.b": [0.5]}).to_parquet(path)
    with pytest.raises(UserError, match="2 columns"):
        metric_scores(path, "m")
