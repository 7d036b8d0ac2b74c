"""The answer of a comparison: asked at given savings, it says who is best; a sweep over taus keeps its own."""

import pytest

from reports.answer import answer
from reports.base import RunView
from reports.page.write import write_page


@pytest.fixture
def run(compared):
    return compared({"average": 0.0, "complete": 0.0, "shuffled-ward": 0.35}, controls=("shuffled-ward",))


def test_a_comparison_is_answered_by_its_ranking(run, tmp_path):
    (run / "sweep.yaml").write_text("schema_version: 1\nsavings: ['0.3', '0.47']\n")
    view = RunView.of(run)
    found = view.once(answer)
    assert found.question.startswith("Which way of grouping prompts")
    best, controls = found.lines
    assert best.startswith(
        "At 30.0% to 47.0% of denoiser evaluations saved: by mean difference the best may be any of "
    )
    assert "shuffled-ward is beaten by all others" in controls
    assert [name.split(".")[0] for name, _ in found.series] == ["1-2", "1-2", "3"]
    assert "VQA win rate" in found.series[0][1]
    page = write_page([view], tmp_path / "index.html")
    assert "the best may be any of" in page.path.read_text()


def test_a_sweep_over_taus_keeps_its_question(run):
    assert RunView.of(run).once(answer).question.startswith("How much of the denoising")
