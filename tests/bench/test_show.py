"""`bench show`: what a run folder holds, and where its time went."""

import json
import shutil

import pytest

from sweeps.timeline import NAME


@pytest.fixture
def run(bench, tiny_sweep, tmp_path):
    assert bench(*tiny_sweep, "--tau", "0,1", "--name", "run").exit_code == 0
    return tmp_path / "runs/run"


def test_a_screen_of_what_is_there(bench, run):
    result = bench("show", run)
    assert result.exit_code == 0, result.output
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines()[:5])
    assert lines["cells"] == "3 done, 0 failed, 0 pending"
    assert lines["page"] == str(run / "report/index.html")
    assert "tau 0, 1" in lines["asked"]
    assert "denoise" in lines["time"]
    assert "saves" in result.stdout


def test_where_the_time_went_with_what_came_after_the_report(bench, run):
    written = json.loads(bench("show", run, "--time", "--json").stdout)
    stages = {each["stage"]: each for each in written["stages"]}
    assert {"identify", "load", "encode", "cluster", "plan", "denoise", "decode", "write", "report"} <= set(stages)
    assert stages["denoise"]["units"] > 0
    assert all(each["seconds"] >= 0 for each in stages.values())
    (attempt,) = written["attempts"]
    assert sum(each["seconds"] for each in attempt["stages"]) == pytest.approx(
        sum(each["seconds"] for each in stages.values())
    )
    assert [each["stage"] for each in written["pace"]][:2] == ["encode", "denoise"]
    assert written["figure"] == str(run / "report/figures/timeline.png")
    assert (run / "report/tables/timeline.csv").is_file()
    shown = bench("show", run, "--time").stdout
    assert "share, %" in shown
    assert "denoiser evaluations" in shown


def test_a_sweep_taken_up_again_is_another_attempt(bench, run, tiny_sweep):
    cell = next(run.glob("cells/*/record.json"))
    cell.unlink()
    assert json.loads(bench("show", run, "--json").stdout)["cells"] == {"done": 2, "failed": 0, "pending": 1}
    assert bench(*tiny_sweep, "--tau", "0,1", "--name", "run").exit_code == 0
    told = json.loads(bench("show", run, "--time", "--json").stdout)
    assert told["cells"]["pending"] == 0
    assert [each["attempt"] for each in told["attempts"]] == [1, 2]
    assert "attempt" in bench("show", run, "--time").stdout


def test_a_run_without_a_time_line_falls_back_to_its_records_and_says_so(bench, run):
    (run / NAME).unlink()
    result = bench("show", run, "--time")
    assert result.exit_code == 0, result.output
    assert "no time line was kept of this run" in " ".join(result.stdout.split())
    assert "denoise" in result.stdout
    told = json.loads(bench("show", run, "--time", "--json").stdout)
    assert (told["timeline"], told["figure"], told["cells"]["pending"]) == (False, None, None)


def test_no_run_folder_is_one_line_and_a_hint(bench, run, tmp_path):
    shutil.rmtree(run / "cells")
    for folder in (tmp_path / "nowhere", run):
        result = bench("show", folder)
        assert result.exit_code == 2
        assert "not a run folder" in result.stderr
