"""`bench sweep` as a user meets it: what it leaves, what it prints, what a kill leaves behind."""

import hashlib
import re
import signal
import time
from pathlib import Path

import pandas as pd
import pytest


def wait_for(run: Path, pattern: str, count: int, process) -> None:
    while len(list(run.glob(pattern))) < count:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


def numbers(run: Path) -> pd.DataFrame:
    """The table without its seconds."""
    table = pd.read_csv(run / "report/tables/summary.csv")
    return table[[column for column in table if not column.startswith(("seconds", "wall"))]]


def rows_of(dry_run: str) -> list[list[str]]:
    return [line.split() for line in dry_run.splitlines() if "ward-cosine" in line]


def pictures(run: Path) -> dict[str, str]:
    found = sorted(run.rglob("images/[0-9]*.png"))
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.mark.usefixtures("all_figures")
def test_sweep_leaves_tables_figures_and_tracking(bench, tiny, tiny_sweep, tmp_path):
    arguments = tiny_sweep[: tiny_sweep.index("--metric")]
    scorers = ["--metric", f"vqa={tiny.vqa}", "--metric", f"clip_diversity={tiny.clip}"]
    result = bench(*arguments, *scorers, "--tau", "0,0.5,1", "--name", "first")
    assert result.exit_code == 0, result.output
    run = tmp_path / "runs" / "first"
    table = pd.read_csv(run / "report/tables/summary.csv")
    assert list(zip(table.role, table.tau, strict=True)) == [
        *(("sharing", tau) for tau in (0, 0.5, 1)),
        ("another-seed", 0),
    ]
    assert table.savings[:3].is_monotonic_increasing
    assert table["vqa.win_rate"][0] == 0.5
    assert (table["vqa.win_rate_low"] <= table["vqa.win_rate"]).all()
    assert (table.flop_savings <= table.savings).all()
    assert {path.suffix for path in (run / "report/figures").iterdir()} == {".pdf", ".png", ".svg"}
    assert sorted(pd.read_parquet(run / "records.parquet").id) == sorted(table.id)
    for heading in (
        "tau",
        "steps",
        "FLOPs",
        "wall",
        "win rate",
        "ties",
        "difference",
        "inferiority",
        "CLIP similarity",
    ):
        assert heading in result.stdout
    assert "50.0" in result.stdout
    assert "runs/first" in result.stdout
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "reusebench"]
    found = client.search_runs([experiment.experiment_id])
    assert len([each for each in found if "mlflow.parentRunId" in each.data.tags]) == 4
    assert len(found) == 5


def test_a_held_run_is_refused_and_a_killed_one_ends_with_the_same_tables(bench, start, tiny_sweep, tmp_path):
    arguments = [*tiny_sweep, "--tau", "0..1:0.2", "--isolate"]
    assert bench(*arguments, "--out", "whole").exit_code == 0
    (whole,) = (tmp_path / "whole").iterdir()
    process = start(*arguments, "--out", "cut")
    cut = tmp_path / "cut" / whole.name
    wait_for(cut, "cells/*/generation.json", 2, process)
    process.send_signal(signal.SIGSTOP)
    second = bench(*arguments, "--out", "cut")
    assert second.exit_code == 2
    assert f"is in use by process {process.pid} on " in second.stderr
    process.kill()
    process.communicate()
    done = {path: path.stat().st_mtime_ns for path in cut.glob("cells/*/generation.json")}
    assert len(done) >= 2
    result = bench(*arguments, "--out", "cut")
    assert result.exit_code == 0, "a dead process holds no lock"
    pd.testing.assert_frame_equal(numbers(cut), numbers(whole))
    assert pictures(cut) == pictures(whole)
    assert {path: path.stat().st_mtime_ns for path in done} == done, "finished pictures are kept"


def test_interrupting_says_how_to_continue(bench, tiny_sweep, monkeypatch):
    from sweeps import passes

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(passes, "generate", interrupted)
    result = bench(*tiny_sweep, "--tau", "0")
    assert result.exit_code == 130
    assert "run the same command again to continue" in result.stderr


def test_dry_run_prints_cells_and_cost_and_leaves_nothing(bench, tiny_sweep, tmp_path):
    result = bench(*tiny_sweep, "--tau", "0,1", "--schedule", "eq7,official", "--dry-run")
    assert result.exit_code == 0, result.output
    rows = rows_of(result.stdout)
    assert [row[4] for row in rows] == ["eq7", "eq7", "official", "official"]
    assert [row[8] for row in rows][::2] == ["12", "12"], "four prompts, three steps, nobody shares"
    assert all("%" in row[9] for row in rows)
    assert "at most" in result.stdout
    assert not (tmp_path / "runs").exists()


def test_dry_run_predicts_what_the_sweep_then_costs(bench, tiny_sweep, tmp_path):
    predicted = bench(*tiny_sweep, "--tau", "0.4,0.8", "--dry-run")
    rows = [line.split() for line in predicted.stdout.splitlines() if "ward-cosine" in line]
    (together,) = re.findall(r"denoised together: ([\d,]+ node-steps)", predicted.stdout)
    made = bench(*tiny_sweep, "--tau", "0.4,0.8", "--name", "run")
    assert made.exit_code == 0
    assert f"denoised as one: {together}" in made.stderr
    table = pd.read_csv(tmp_path / "runs/run/report/tables/summary.csv")
    assert [int(row[8]) for row in rows] == table[table.role == "sharing"].node_steps.tolist()


def test_another_sweep_does_not_mix_with_a_named_run(bench, tiny_sweep):
    assert bench(*tiny_sweep, "--tau", "0", "--name", "run").exit_code == 0
    result = bench(*tiny_sweep, "--tau", "0", "--name", "run", "--guidance", "2")
    assert result.exit_code == 2
    assert "differs in guidance" in result.stderr


def test_a_failing_cell_makes_the_exit_code_1_and_is_named(bench, tiny_sweep, monkeypatch):
    from sweeps import plan

    build = plan.build_plan
    monkeypatch.setattr(
        plan, "build_plan", lambda tree, schedule, tau, *rest: build(tree, schedule, 0 / (1 - tau), *rest)
    )
    result = bench(*tiny_sweep, "--tau", "0.5,1")
    assert result.exit_code == 1
    assert "failed: tau 1 of " in result.stdout
    assert "division by zero" in result.stdout


def test_flags_win_over_the_file_and_the_file_over_the_preset(bench, tiny_sweep, tmp_path):
    (tmp_path / "mine.yaml").write_text("tau: [0, 0.5]\nsteps: 2\nseed: 7\n")
    arguments = [argument for argument in tiny_sweep if argument not in ("--steps", 3)]
    result = bench(
        *arguments, "--preset", "smoke", "--spec", "mine.yaml", "--seed", 3, "--dataset", "mini_scenes", "--dry-run"
    )
    assert result.exit_code == 0, result.output
    rows = rows_of(result.stdout)
    assert {(row[5], row[8]) for row in rows if row[6] == "0"} == {("3", "8"), ("3", "16")}, (
        "seed 3; 4 and 8 prompts, 2 steps"
    )


def test_a_dead_tracking_server_stops_nothing(bench, tiny_sweep):
    arguments = [argument for argument in tiny_sweep if argument != "--no-mlflow"]
    result = bench(*arguments, "--tau", "0", "--tracking-uri", "http://127.0.0.1:9")
    assert result.exit_code == 0, result.output
    assert "tracking at http://127.0.0.1:9 stopped" in result.stderr


def test_a_dry_run_needs_a_folder_that_can_be_written(bench, tiny_sweep, tmp_path):
    result = bench(*tiny_sweep, "--tau", "0", "--dry-run", "--out", "/proc/nope")
    assert result.exit_code == 2
    assert "/proc" in result.stderr


def test_a_failed_rescore_leaves_the_views_as_the_records_are(bench, tiny_sweep, tmp_path, monkeypatch):
    from sweeps import describe

    arguments = [*(each for each in tiny_sweep if each != "--no-mlflow"), "--tau", "0", "--name", "run"]
    assert bench(*arguments).exit_code == 0
    monkeypatch.setattr(describe, "results", lambda *_: 1 / 0)
    result = bench(*arguments, "--rescore")
    assert result.exit_code == 1
    assert "failed: " in result.stderr
    assert pd.read_parquet(tmp_path / "runs/run/records.parquet").status.tolist() == ["done", "done"]
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    found = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert {run.info.status for run in found} == {"FINISHED"}


def test_report_draws_a_copied_run_again(bench, tiny_sweep, tmp_path):
    assert bench(*tiny_sweep, "--tau", "0,1", "--name", "run").exit_code == 0
    (tmp_path / "runs/run").rename(tmp_path / "copied")
    before = numbers(tmp_path / "copied")
    for path in (tmp_path / "copied/report").rglob("*.*"):
        path.unlink()
    result = bench("report", "copied")
    assert result.exit_code == 0, result.output
    pd.testing.assert_frame_equal(numbers(tmp_path / "copied"), before)
    assert list((tmp_path / "copied/report/figures").glob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tau", "2..0"], "runs backwards"),
        (["--offload", "model", "--device", "cpu"], "the device is the CPU"),
        (["--offload", "some"], "'none', 'model' or 'sequential'"),
        (["--tau", "-1"], "negative"),
        (["--tau", "nan"], "not a finite number"),
        (["--tau", "inf"], "not a finite number"),
        (["--tau", "half"], "not a number"),
        (["--tau", "0..1:0.0001"], "more than 1,000"),
        (["--model", "mini-kandinski"], "did you mean 'mini-kandinsky'?"),
        (["--dataset", "mini_template"], "did you mean 'mini_templates'?"),
        (["--strategy", "ward-cosin"], "did you mean 'ward-cosine'?"),
        (["--strategy", "ward-cosine:speed=9"], "has no parameter 'speed'"),
        (["--schedule", "eq8"], "did you mean 'eq7'?"),
        (["--scheduler", "PNDMScheduler"], "PNDMScheduler"),
        (["--noise", "pink"], "noise"),
        (["--features", "pixels"], "image_embeds"),
        (["--metric", "vqq"], "did you mean 'vqa'?"),
        (["--metric", "vqq", "--dry-run"], "did you mean 'vqa'?"),
        (["--metric", "vqa=/nope", "--dry-run"], "/nope"),
        (["--metric", "clip_diversity:images=["], "is no value"),
        (["--name", "x" * 300, "--dry-run"], "too long"),
        (["--name", "水" * 80], "a run's name of 240 bytes (80 characters) is too long"),
        (["--name", "two\nlines"], "it is one line of printed letters"),
        (["--name", "full", "--dry-run"], "not a run folder"),
        (["--guidance", "nan"], "finite"),
        (["--prior-guidance", "inf"], "finite"),
        (["--strategy", "ward-cosine:x=["], "is no value"),
        (["--device", "meta"], "meta"),
        (["--spec", "number.yaml"], "no setting 1"),
        (["--spec", "date.yaml"], "date.yaml"),
        (["--height", "33"], "height 33"),
        (["--dtype", "int8"], "int8"),
        (["--steps", "many"], "'many' is not a whole number"),
        (["--limit", "0"], "limit"),
        (["--preset", "smok"], "did you mean 'smoke'?"),
        (["--prompts", "nowhere.txt"], "nowhere.txt"),
        (["--prompts", "empty.txt"], "empty.txt"),
        (["--prompts", "damaged.npy"], "damaged.npy"),
        (["--prompt", " "], "empty"),
        (["--prompt", "x" * 10_000], "10,000"),
        (["--prompt", "a\x07b"], "U+0007"),
        (["--spec", "nowhere.yaml"], "nowhere.yaml"),
        (["--spec", "broken.yaml"], "broken.yaml"),
        (["--spec", "typo.yaml"], "did you mean 'tau'?"),
        (["--name", "../up"], "../up"),
        (["--name", "full"], "not a run folder"),
        (["--name", "future"], "another version"),
    ],
)
def test_bad_input_is_one_line_and_a_hint_and_changes_nothing(bench, tiny_sweep, tmp_path, arguments, says):
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY\x01\x00")
    (tmp_path / "broken.yaml").write_text("tau: [0")
    (tmp_path / "typo.yaml").write_text("taus: 0..1")
    (tmp_path / "number.yaml").write_text("1: 2")
    (tmp_path / "date.yaml").write_text("tau: 2001-99-99")
    (tmp_path / "runs/full").mkdir(parents=True)
    (tmp_path / "runs/full/thesis.txt").write_text("mine")
    (tmp_path / "runs/future").mkdir()
    (tmp_path / "runs/future/sweep.yaml").write_text("schema_version: 99\nmodel: [x]\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = bench(*tiny_sweep, *([] if "--tau" in arguments else ["--tau", "0"]), *arguments)
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert says in result.stderr
    assert len(lines) <= 2
    assert result.stdout == ""
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "cache" not in path.parts}
    assert after == before
