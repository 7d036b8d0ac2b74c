"""The Python API on a tiny model: what each function returns, and that it writes no more than it says."""

import subprocess
import sys
from pathlib import Path

import pytest
from sweeping import PROMPTS, surroundings  # noqa: F401 - fixtures

import reusebench as rb


@pytest.fixture(scope="module")
def settings(tiny):
    scorer = f"clip_diversity={tiny.clip}"
    return {
        "model": str(tiny.model),
        "prompt": PROMPTS,
        "steps": 3,
        "prior_steps": 2,
        "metric": scorer,
        "tau": "0.3,0.6",
    }


def test_importing_it_takes_no_torch():
    code = "import reusebench, sys; print({'torch', 'pandas', 'diffusers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_plan_knows_its_cost_and_writes_nothing(settings, tmp_path):
    frame = rb.plan(**settings, folder=tmp_path / "run").frame()
    assert frame.role.tolist() == ["sharing", "sharing", "another-seed"]
    assert (frame.baseline_node_steps == 4 * 3).all()
    assert (frame.baseline_nfe == 2 * 4 * 3).all(), "with guidance a node-step is two rows"
    assert frame.savings.tolist() == pytest.approx((1 - frame.node_steps / frame.baseline_node_steps).tolist())
    assert frame.nfe_savings.tolist() == pytest.approx(frame.savings.tolist())
    assert not (tmp_path / "run").exists()


def test_generating_then_scoring_is_a_sweep(settings, tmp_path):
    made = rb.generate(rb.plan(**settings, folder=tmp_path / "apart"))
    assert made.records == [], "nothing is described yet"
    pictures = made.images(tau=0.6)
    assert len(pictures) == len(PROMPTS)
    scored = rb.score(made)
    assert scored.failed == []
    whole = rb.sweep(**settings, folder=tmp_path / "whole", reports=False)
    assert [record.results for record in scored.records] == [record.results for record in whole.records]
    assert [one.tobytes() for one in pictures] == [other.tobytes() for other in whole.images(tau="0.6")]
    assert len(whole.frame()) == 3
    columns = ("clip_diversity.clip", "clip_diversity.clip_copy")
    assert [column for column in whole.scores(tau=0.6) if column != "prompt"] == [
        *columns,
        *(f"baseline.{column}" for column in columns),
    ]


def test_which_cell_is_meant_has_to_be_said_but_not_which_baseline(settings, tmp_path):
    run = rb.sweep(settings, folder=tmp_path / "run", reports=False, metric="none", seed_control=False)
    assert len(run.baseline_images()) == len(PROMPTS)
    with pytest.raises(rb.UserError, match="several cells"):
        run.images()
    with pytest.raises(rb.UserError, match="no finished cell"):
        run.images(tau=2)
    assert rb.report(run).page == Path(tmp_path / "run/report/index.html")
