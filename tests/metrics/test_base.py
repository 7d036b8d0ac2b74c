import subprocess
import sys

import numpy as np
import pytest

from common.errors import UserError
from metrics.base import Metric, get_metric, metrics, paired


def test_every_metric_is_found_and_says_how_its_figures_are_printed():
    assert set(metrics()) == {"clip_diversity", "clip_score", "preference", "structure_diversity", "vqa", "vqa_atoms"}
    for metric in metrics().values():
        assert metric.summary()
        assert metric.columns
        assert metric.results
        assert all(info.label for info in metric.results.values())


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(UserError, match="clip_diversity"):
        get_metric("clip_diversty")


def test_finding_metrics_loads_no_heavy_library():
    heavy = "{'torch', 'transformers', 'open_clip', 'scipy', 'statsmodels', 'PIL'}"
    code = f"import sys; from metrics.base import metrics; metrics(); print({heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(UserError, match="batch size is 0"):
        get_metric("vqa")("somewhere", batch_size=0)


def test_batches_cover_every_image_once():
    class Nothing(Metric):
        measure = compare = identity = lambda self: {}

    covered = [index for batch in Nothing("x", batch_size=4).batches(10) for index in range(10)[batch]]
    assert covered == list(range(10))


def test_one_picture_has_one_score_however_often_it_was_scored():
    standard, ours = {"vqa": np.array([0.1, 0.2])}, {"vqa": np.array([0.1 + 1e-8, 0.3])}
    first, second = paired("vqa", standard, ours, np.array([True, False]))
    assert first.tolist() == [0.1, 0.2]
    assert second.tolist() == [0.1, 0.3]


def test_pairing_replaces_whole_rows():
    standard, ours = {"clip": np.zeros((2, 3))}, {"clip": np.ones((2, 3))}
    assert paired("clip", standard, ours, np.array([True, False]))[1].tolist() == [[0, 0, 0], [1, 1, 1]]


def test_sets_of_different_sizes_are_not_compared():
    with pytest.raises(UserError, match="2 images are compared with 3"):
        paired("vqa", {"vqa": np.zeros(3)}, {"vqa": np.zeros(2)}, np.zeros(2, dtype=bool))
