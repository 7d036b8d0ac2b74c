"""`bench generate` in waves: killed at any moment it goes on, and ends with the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS, WAVE = 4, 6  # three steps are four evaluations of this scheduler


@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are forks of one process")
def test_killed_at_any_moment_at_most_a_wave_is_lost_and_the_pictures_are_the_same_bytes(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "tests/support/killed_waves.py", tmp_path],
        cwd=tmp_path,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "REUSEBENCH_CACHE": str(tmp_path / "cache"),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert f"waves of at most {WAVE} rows" in found["told"]
    kept = []
    for moment, what in found["killed"].items():
        assert (what["code"], what["again"]) == (-9, 0), (moment, what["err"])
        assert what["same"], moment
        assert what["left"] == [], moment
        repeated = what["rows"] - found["rows"]
        waves = 2 if moment == "the last picture" else 1  # and that of the picture that was damaged
        assert 0 <= repeated <= waves * WAVE * STEPS, moment
        assert what["calls"], f"{moment}: what both took is added up, and nothing twice"
        kept.append(what["there"])
    assert max(kept) > 12, "pictures are there before the end"
