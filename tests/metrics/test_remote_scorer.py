"""A checkpoint in a worker, on a stand-in: loaded once, started again after it ended, damaged pictures named."""

import gc
import hashlib
import json
from pathlib import Path

import pytest

from common.errors import UserError
from metrics.remote_scorer import RemoteScorer
from metrics.vqa import VQAScore

PROMPTS = [f"prompt {number}" for number in range(9)]


def score_of(picture: Path, prompt: str) -> float:
    """What the stand-in answers."""
    return int(hashlib.sha256(picture.read_bytes() + prompt.encode()).hexdigest()[:8], 16) / 16**8


def loads(stand_in) -> list[str]:
    return (stand_in.checkpoint / "loads").read_text().split()


@pytest.fixture
def metric(stand_in):
    found = VQAScore(f"t2v:{stand_in.checkpoint}", batch_size=2)
    yield found
    found.backend.scorer.close()


def test_every_picture_has_its_score_after_one_load_and_many_batches(metric, stand_in, pictures):
    metric.check(PROMPTS)
    expected = [score_of(*pair) for pair in zip(pictures, PROMPTS, strict=True)]
    assert metric.measure(pictures, PROMPTS)["vqa"].tolist() == expected
    assert metric.measure(pictures[::-1], PROMPTS[::-1])["vqa"].tolist() == expected[::-1]
    assert metric.measure([], [])["vqa"].shape == (0,)
    assert len(loads(stand_in)) == 1


def test_pictures_are_found_from_any_working_folder(metric, pictures, monkeypatch):
    monkeypatch.chdir(pictures[0].parent)
    assert metric.measure([Path(pictures[0].name)], ["a"])["vqa"].tolist() == [score_of(pictures[0], "a")]


def test_metrics_of_several_models_share_one_worker(metric, stand_in, pictures):
    other = VQAScore(f"t2v:{stand_in.checkpoint}")
    metric.measure(pictures[:1], ["a"])
    other.measure(pictures[:1], ["a"])
    assert len(loads(stand_in)) == 1
    assert RemoteScorer.shared("t2v", str(stand_in.checkpoint), "cuda:1") is not other.backend.scorer


def test_a_worker_that_crashed_is_started_again(metric, stand_in, pictures):
    with pytest.raises(UserError, match="told to crash"):
        metric.measure(pictures[:1], ["crash"])
    assert metric.measure(pictures[:1], ["a"])["vqa"].tolist() == [score_of(pictures[0], "a")]
    assert len(set(loads(stand_in))) == 2


def test_a_model_that_does_not_fit_is_not_tried_in_smaller_batches(metric, stand_in, pictures):
    (stand_in.checkpoint / "too-large").touch()
    with pytest.raises(UserError, match="does not fit into the memory of cpu") as error:
        metric.measure(pictures, PROMPTS)
    assert "--metric none" in error.value.hint
    assert len(loads(stand_in)) == 1


def test_a_score_that_is_no_number_is_an_error(metric, pictures):
    with pytest.raises(UserError, match="no score for some of 2 pictures"):
        metric.measure(pictures[:2], ["a", "no number"])


def test_a_damaged_picture_is_named_and_costs_no_load(metric, stand_in, tmp_path):
    (tmp_path / "00001.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"00001\.png cannot be read"):
        metric.measure([tmp_path / "00001.png"], ["a"])
    assert not (stand_in.checkpoint / "loads").exists()


def test_identity_names_what_decides_a_score(metric, stand_in):
    identity = metric.identity()
    json.dumps(identity)
    assert identity["worker"] == {"name": "t2v", "version": 1}
    assert (identity["question"], identity["answer"], identity["packages"]) == ("{}?", "yes", {})
    assert not (stand_in.checkpoint / "loads").exists(), "what is asked for a record loads nothing"
    (stand_in.checkpoint / "weights").write_text("other")
    assert metric.identity()["sha256"] != identity["sha256"]


def test_a_refused_checkpoint_leaves_no_worker_that_others_would_use(stand_in, tmp_path):
    metric = VQAScore(f"t2v:{tmp_path / 'nothing'}")
    for _ in range(2):
        with pytest.raises(UserError, match="the stand-in has no"):
            metric.check(["a"])


def test_a_metric_that_is_forgotten_ends_its_worker(stand_in, pictures):
    metric = VQAScore(f"t2v:{stand_in.checkpoint}")
    metric.measure(pictures[:1], ["a"])
    worker = metric.backend.scorer._running()
    process = worker._process
    del metric, worker
    gc.collect()
    assert process.poll() is not None
