"""The coverage of single seeds: what is known by construction, and what a run must have."""

import numpy as np
import pytest
from run_folders import make_run

from benchmarks.coverage import coverage, measured
from common.errors import UserError


@pytest.mark.parametrize("narrow", [1.0, 2.0])
def test_intervals_that_are_too_narrow_are_found_to_be(narrow):
    rng = np.random.default_rng(0)
    values = rng.normal(0.5, 0.04, 400)
    half = 1.96 * 0.04 / narrow
    found = coverage(values, values - half, values + half)
    assert found.inflation_low < narrow < found.inflation_high
    assert found.held == pytest.approx(0.95 if narrow == 1 else 0.67, abs=0.05)


def test_every_way_to_share_is_measured_over_its_seeds(tmp_path):
    run = make_run(tmp_path / "run", taus=["1"], n=12, side=4, series=[{"seed": seed} for seed in range(8)])
    rows = measured(run)
    assert [(row["tau"], row["seeds"], row["result"]) for row in rows] == [
        (1.0, 8, "vqa.win_rate"),
        (1.0, 8, "vqa.vqa_difference"),
    ]
    with pytest.raises(UserError, match="8 seeds"):
        measured(make_run(tmp_path / "few", taus=["1"], n=12, side=4))
