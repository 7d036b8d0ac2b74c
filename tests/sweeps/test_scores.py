"""Scores are used again only for the very pictures and the very scorer that they are of."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import UserError
from sweeps.scores import SCORES, Scores, check_scores, digests, read_scores, read_table, same_scorer, write_scores

PROMPTS = ("one", "two", "three")
SCORERS = {"vqa": {"name": "vqa", "sha256": "a"}, "clip": {"name": "clip", "sha256": "b"}}


@pytest.fixture
def measured():
    rng = np.random.default_rng(0)
    return {"vqa": {"score": rng.random(3)}, "clip": {"features": rng.random((3, 5)).astype(np.float32)}}


def test_columns_come_back_bit_for_bit(tmp_path, measured):
    write_scores(tmp_path, PROMPTS, Scores(measured, SCORERS), "pictures")
    found = read_scores(tmp_path, "pictures")
    back = found.measured
    assert found.scorers == SCORERS
    assert back.keys() == measured.keys()
    for metric, columns in measured.items():
        for name, values in columns.items():
            assert back[metric][name].dtype == values.dtype
            np.testing.assert_array_equal(back[metric][name], values)


def test_other_pictures_have_no_scores(tmp_path, measured):
    write_scores(tmp_path, PROMPTS, Scores(measured, SCORERS), "pictures")
    assert read_scores(tmp_path, "others") == Scores()


def test_a_scorer_is_the_same_wherever_it_is_and_whatever_runs_it():
    known = {**SCORERS["vqa"], "checkpoint": "tiny/vqa", "packages": {"torch": "1"}, "device": "cpu"}
    assert same_scorer(known, {**known, "checkpoint": "/abs/tiny/vqa", "packages": {"torch": "2"}, "device": "cuda"})
    assert not same_scorer(known, {**known, "sha256": "new"})
    assert not same_scorer(known, {**known, "images": 10})
    assert not same_scorer(None, known)


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"not parquet at all"])
def test_a_damaged_file_is_scored_again(tmp_path, content):
    if content is not None:
        (tmp_path / SCORES).write_bytes(content)
    assert read_scores(tmp_path, "pictures") == Scores()


def test_no_bit_of_a_score_can_change(tmp_path, measured):
    write_scores(tmp_path, PROMPTS, Scores(measured, SCORERS), "pictures")
    path, rng, refused = tmp_path / SCORES, random.Random(0), 0
    whole, table = path.read_bytes(), read_table(path)
    for number in range(300):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        damaged = tmp_path / f"{number}.parquet"
        damaged.write_bytes(content)
        try:
            assert read_table(damaged).to_pydict() == table.to_pydict(), "a byte that holds no number"
        except UserError:
            refused += 1
        damaged.unlink()
    assert refused > 200


def test_scores_are_those_that_a_record_was_made_from(tmp_path, measured):
    scores = Scores(measured, SCORERS)
    write_scores(tmp_path, PROMPTS, scores, "pictures")
    before = digests(scores)
    check_scores(tmp_path / SCORES, before)
    scores.measured["clip"]["features"] = scores.measured["clip"]["features"] + 1
    write_scores(tmp_path, PROMPTS, scores, "pictures")
    check_scores(tmp_path / SCORES, {"vqa": before["vqa"]})
    with pytest.raises(UserError, match=r"the clip scores .* are not those that the record was made from"):
        check_scores(tmp_path / SCORES, before)


def test_a_damaged_file_is_told_and_one_of_other_pictures_is_not(tmp_path, measured):
    write_scores(tmp_path, PROMPTS, Scores(measured, SCORERS), "pictures")
    heard = []
    assert read_scores(tmp_path, "others", heard.append) == Scores()
    assert heard == []
    (tmp_path / SCORES).write_bytes((tmp_path / SCORES).read_bytes()[:-9])
    assert read_scores(tmp_path, "pictures", heard.append) == Scores()
    assert str(tmp_path / SCORES) in heard[0]


def test_files_of_earlier_versions_are_read(tmp_path, measured):
    about = {"scorers": '{"vqa": {"name": "vqa"}}', "pictures": "pictures"}
    table = pa.table({"prompt": list(PROMPTS), "vqa.score": measured["vqa"]["score"]}).replace_schema_metadata(about)
    pq.write_table(table, tmp_path / SCORES)
    found = read_scores(tmp_path, "pictures")
    np.testing.assert_array_equal(found.measured["vqa"]["score"], measured["vqa"]["score"])
    pq.write_table(table.replace_schema_metadata({**about, "hashes": "{}", "shb256": "x"}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="no whole hash"):
        read_table(tmp_path / "other.parquet")
