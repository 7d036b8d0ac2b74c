"""`bench paper`: what there is, what it costs, what is missing, and a table made again in miniature, end to end."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from reports.paper import MINIATURE, items
from reports.paper_table import NOT_COMPARABLE


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No hub, no prompt sets but those in the box, no encoder, no GPU."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path / "nowhere"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture
def hub(monkeypatch):
    """The hub as if it had no model of ours, told at once."""
    inside = "generators.model_entry.ModelEntry.unavailable"
    monkeypatch.setattr(inside, lambda entry: None if entry.name.startswith("mini-") else "not here")
    monkeypatch.setattr("metrics.open_clip_source.Source.sha256", lambda _: "0" * 64)


def test_list_names_every_item_and_what_runs_here(bench, hub):
    rows = {row["name"]: row for row in json.loads(bench("paper", "list", "--json").stdout)}
    assert rows.keys() == items().keys()
    table = rows["table1"]
    assert table["preset"] == "paper-table1"
    assert len(table["published"]) == 4
    assert table["missing"]["miniature"] == []
    assert any(each.startswith("weights of kandinsky-2.2") for each in table["missing"]["as published"])
    assert any(each.startswith("prompt set animals") for each in table["missing"]["as published"])
    assert "table1" in bench("paper", "list").stdout


def test_run_says_all_that_is_missing_before_anything_runs(bench, hub, tmp_path):
    result = bench("paper", "run", "table1")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0] == "table1 cannot run here as published; missing:"
    for what in ("weights of kandinsky-2.2", "prompt set genai_bench", "prompt set animals", "a GPU", "scorer vqa"):
        assert any(line.strip().startswith(what) for line in lines), what
    assert lines[-1].endswith("bench paper run table1 --miniature")
    assert not (tmp_path / "runs").exists()


def test_a_gpu_is_not_asked_for_by_whoever_names_a_device(bench, hub):
    assert "a GPU" not in bench("paper", "run", "table1", "--device", "cpu").stderr


@pytest.mark.usefixtures("all_figures")
def test_run_in_miniature_from_nothing_to_the_table(bench, tmp_path, monkeypatch):
    result = bench("paper", "run", "table1", "--miniature", "--limit", 4, "--no-mlflow")
    assert result.exit_code == 0, result.output
    run = tmp_path / "runs/paper-table1-miniature-4"
    spec = yaml.safe_load((run / "sweep.yaml").read_text())
    assert (spec["title"], spec["preset"], spec["schedule"]) == (MINIATURE, "paper-table1", ["official"])
    for name in ("table1", "clip-diversity"):
        assert (run / f"report/tables/paper-{name}.md").read_text().startswith(MINIATURE)
    assert "62.8" in result.stdout
    assert NOT_COMPARABLE in result.stdout
    table = pd.read_csv(run / "report/tables/paper-table1.csv").set_index(["published_dataset", "figure"])
    summary = pd.read_csv(run / "report/tables/summary.csv").set_index("id")
    for dataset, published in {"animals": 0.628, "genai_bench": 0.5043}.items():
        row = table.loc[(dataset, "savings")]
        assert row.published == published
        assert row.measured == summary.loc[row.cell].savings
        assert summary.loc[row.cell].tau == 1
    assert all(MINIATURE in path.read_text() for path in (run / "report/figures").glob("*.svg"))
    assert len(list((run / "report/figures").glob("*.svg"))) > 4

    before = {path: path.stat().st_mtime_ns for path in run.glob("cells/*/record.json")}
    monkeypatch.setattr("reports.render.figures", dict)  # they were looked at
    again = bench("paper", "run", "clip-diversity", "--miniature", "--limit", 4, "--no-mlflow")
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime_ns for path in before} == before, "the same cells"
    compared = bench("paper", "tables", run, "--out", "elsewhere")
    assert compared.exit_code == 0, compared.output
    assert {path.name for path in Path("elsewhere").glob("*.csv")} == {"paper-table1.csv", "paper-clip-diversity.csv"}


def test_plan_needs_nothing_and_adds_up(bench):
    arguments = ("paper", "plan", "table1", "--gpu", "h100", "--utilisation", 0.5, "--price", 3)
    result = bench(*arguments, "--json")
    assert result.exit_code == 0, result.output
    rows = {row["dataset"]: row for row in json.loads(result.stdout)}
    animals = rows["animals"]
    # the baseline and its seed control; tau 1 at the published 62.8%; equal compute: 14.88 evaluations a prompt are 15
    assert animals["node_steps"] == 500 * 40 * 2 + round(500 * 40 * (1 - 0.628)) + 500 * 15
    assert animals["images"] == 4 * 500
    assert animals["denoising"] == pytest.approx(animals["node_steps"] * 2 * 856e9, rel=0.01)
    assert animals["gpu_seconds"] == pytest.approx(animals["flops"] / (989.4e12 / 2))
    assert animals["scores"] == 2 * 2000 + 60 * 6, "two scorers; the audit of the one that wins and loses"
    assert animals["cost"] == pytest.approx(animals["gpu_seconds"] / 3600 * 3)
    assert animals["basis"] == "the published savings"
    text = bench(*arguments).stdout
    for words in ("PFLOPs", "GPU hours", "published savings", "50% of the peak", "what their audits need", "animals"):
        assert words in text, words


def test_plan_of_all_counts_shared_cells_once(bench, monkeypatch):
    """Without full-size models, whose FLOPs take long to count."""
    monkeypatch.setattr("metrics.flops.count", lambda component: 1_000)
    monkeypatch.setattr("sweeps.estimate.parameters", lambda component: 1)
    rows = json.loads(bench("paper", "plan", "--json").stdout)
    assert {row["item"] for row in rows} >= {"sd15", "flux", "try-on", "mean-embedding"}
    assert len([row for row in rows if row["dataset"] == "genai_bench" and row["model"] == "kandinsky-2.2"]) == 1
    assert "clip-diversity, table1" in {row["item"] for row in rows}
    assert "clip-diversity, table1" in bench("paper", "plan").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "tabel1"], "did you mean 'table1'?"),
        (["plan", "tabel1"], "did you mean 'table1'?"),
        (["plan", "table1", "--gpu", "h101"], "did you mean 'h100'?"),
        (["tables", "nowhere"], "not a run folder"),
    ],
)
def test_mistakes_are_told_on_standard_error(bench, arguments, says):
    result = bench("paper", *arguments)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stdout == ""
