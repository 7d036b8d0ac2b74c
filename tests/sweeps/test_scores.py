"""Scores are used again only for the very pictures and the very scorer that they are of."""

import numpy as np
import pytest

from sweeps.scores import SCORES, read_scores, write_scores

PROMPTS = ("one", "two", "three")
SCORERS = {"vqa": {"name": "vqa", "sha256": "a"}, "clip": {"name": "clip", "sha256": "b"}}


@pytest.fixture
def measured():
    rng = np.random.default_rng(0)
    return {"vqa": {"score": rng.random(3)}, "clip": {"features": rng.random((3, 5)).astype(np.float32)}}


def test_columns_come_back_bit_for_bit(tmp_path, measured):
    write_scores(tmp_path, PROMPTS, measured, SCORERS, "pictures")
    back = read_scores(tmp_path, SCORERS, "pictures")
    assert back.keys() == measured.keys()
    for metric, columns in measured.items():
        for name, values in columns.items():
            assert back[metric][name].dtype == values.dtype
            np.testing.assert_array_equal(back[metric][name], values)


def test_other_pictures_have_no_scores(tmp_path, measured):
    write_scores(tmp_path, PROMPTS, measured, SCORERS, "pictures")
    assert read_scores(tmp_path, SCORERS, "others") == {}


def test_another_scorer_has_none_but_the_other_metric_keeps_its_own(tmp_path, measured):
    write_scores(tmp_path, PROMPTS, measured, SCORERS, "pictures")
    changed = {**SCORERS, "vqa": {"name": "vqa", "sha256": "new"}}
    assert list(read_scores(tmp_path, changed, "pictures")) == ["clip"]


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"not parquet at all"])
def test_a_damaged_file_is_scored_again(tmp_path, content):
    if content is not None:
        (tmp_path / SCORES).write_bytes(content)
    assert read_scores(tmp_path, SCORERS, "pictures") == {}
