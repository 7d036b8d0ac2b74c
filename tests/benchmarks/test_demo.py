"""The demo before and after: what is read of what it tells, and the checked-out tree that goes away."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from bench.results import seconds_line
from benchmarks import demo
from benchmarks.tables import table
from common.errors import UserError


def test_the_time_that_a_sweep_tells_is_read():
    line = seconds_line({"denoise": 40.04, "report": 7.0, "loading and the rest": 4.31})
    assert demo.told_stages(demo.TIME.search(f"MLflow   somewhere\ntime     {line}\n")[1]) == {
        "denoise": 40.0,
        "report": 7.0,
        "the rest": 4.3,
    }


def test_stages_that_have_a_name_of_their_own_now_are_compared_with_what_held_them():
    found = demo.told_stages("denoise 30.0, decode 2.5, write 0.5, load 1.5, the rest 2.0")
    assert found == {"denoise": 30.0, "decode": 3.0, "the rest": 3.5}


def summary(run: Path, rate: float, tau: float = 1.0) -> Path:
    path = run / "demo" / "report" / "tables" / "summary.csv"
    path.parent.mkdir(parents=True)
    numbers = {"vqa.win_rate": [rate], "vqa.win_rate_low": [rate / 2], "seconds.denoise": [9 * rate], "seconds": [rate]}
    pd.DataFrame({"strategy": ["ward-cosine"], "tau": [tau], **numbers}).to_csv(path, index=False)
    return run


def test_figures_are_compared_and_seconds_are_not(tmp_path):
    first, second = summary(tmp_path / "a", 0.5), summary(tmp_path / "b", 0.75)
    assert demo.figures_apart(first, second) == 0.25
    with pytest.raises(UserError, match="other cells"):
        demo.figures_apart(first, summary(tmp_path / "c", 0.5, tau=2.0))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    where = tmp_path / "repository"
    where.mkdir()
    for command in (
        ["init", "--quiet"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "--message", "one"],
    ):
        subprocess.run(["git", *command], cwd=where, check=True)
    monkeypatch.setattr(demo, "_git", _in(where, demo._git))
    return where


def _in(where, git):
    return lambda *arguments, tree=where: git(*arguments, tree=tree)


def test_the_tree_that_was_checked_out_goes_away(repository, tmp_path):
    with pytest.raises(KeyboardInterrupt), demo.checked_out("HEAD", tmp_path / "base") as base:
        assert (base / ".git").exists()
        raise KeyboardInterrupt
    assert not base.exists()
    listed = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True)
    assert len(listed.stdout.splitlines()) == 1


def test_a_commit_that_is_not_there_is_told(repository, tmp_path):
    with pytest.raises(UserError, match="nowhere"), demo.checked_out("nowhere", tmp_path / "base"):
        pass


def test_a_tree_without_the_command_is_told(tmp_path):
    (tmp_path / "places").mkdir()
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").touch()
    (tmp_path / "bench" / "main.py").write_text("raise SystemExit('no such thing')")
    with pytest.raises(UserError, match="no such thing"):
        demo.run(tmp_path, ["sweep"], tmp_path / "places", {})


def test_the_table_has_the_whole_and_its_stages():
    ratio = {"value": 1.25, "low": 1.2, "high": 1.3, "turns": 3}
    seconds = {"before": [70.0, 71.0, 72.0], "after": [56.0, 57.0, 58.0]}
    results = [
        {"stage": demo.ALL, "seconds": seconds, "ratio": ratio},
        {"stage": "write", "seconds": {"before": [], "after": [0.5]}, "ratio": None},
    ]
    about = {"command": "x", "machine": {"cores": 2, "processor": "y"}, "versions": {}, "date": "2026-01-01"}
    lines = table({"benchmark": "demo", "results": results, **about}).splitlines()
    assert "| all of it | 71.0 | 57.0 | 1.25 [1.20, 1.30] | 3 |" in lines
    assert any(line.startswith("| write |  | 0.5 |") for line in lines)
