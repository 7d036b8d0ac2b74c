"""Scores are used again only for the very pictures and the very scorer that they are of."""

import numpy as np
import pytest

from sweeps.scores import SCORES, Scores, read_scores, same_scorer, write_scores

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
