"""The campaign of kills in its short form: a tiny model, a moment of each kind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the campaign forks")
def test_whatever_kills_a_sweep_the_same_command_ends_it_with_the_same_tables(tiny, tmp_path):
    sweep = ("--model", tiny.model, "--prompt", "a red fox", "--prompt", "a red wolf", "--prompt", "a blue car")
    few = ("--tau", "0,0.6", "--steps", "3", "--prior-steps", "2", "--metric", "none", "--no-seed-control")
    command = [sys.executable, "-m", "tests.campaign.kills", "--injections", "2", "--out", tmp_path / "out"]
    only = ("--only", "kills", "disks")
    done = subprocess.run(
        [*map(str, command), *only, "--sweep", *map(str, sweep), *few],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 3, done.stdout
    assert all(injected == survived == "1" for _, injected, survived, *_ in rows), done.stdout
