"""`bench report`: what a run's records say, told again."""

import pandas as pd
import pytest
from run_folders import make_run


def unwrapped(result) -> str:
    return " ".join(result.stdout.split())


def test_savings_at_parity_end_a_sweep_and_a_report_with_the_delta_that_was_asked_for(
    bench, tiny, tiny_sweep, tmp_path
):
    arguments = [*tiny_sweep[: tiny_sweep.index("--metric")], "--no-mlflow", "--metric", f"vqa={tiny.vqa}"]
    swept = bench(*arguments, "--tau", "0,0.6", "--name", "run")
    assert swept.exit_code == 0, swept.output
    run = tmp_path / "runs/run"
    (row,) = pd.read_csv(run / "report/tables/savings_at_parity.csv").itertuples()
    assert (row.delta, row.conditioned_on, row.pairs) == (0.05, "image", 4)
    assert "delta = 5 points" in unwrapped(swept)
    assert "How much of the denoising" in unwrapped(swept), "the answer ends a sweep too"
    assert "  baseline: the same prompts" in swept.stdout, "and says what its words mean"
    assert "delta = 5 points" in unwrapped(bench("report", run))
    assert "47.5% (50% - delta, delta = 2.5 points)" in unwrapped(bench("report", run, "--delta", "0.025"))
    assert "delta = 2.5 points" in (run / "report/tables/savings_at_parity.md").read_text()


@pytest.mark.parametrize("delta", ["-1", "0.5", "5", "x"])
def test_a_delta_that_is_none_is_refused(bench, delta):
    result = bench("report", ".", "--delta", delta)
    assert result.exit_code == 2
    assert "--delta" in result.stderr


@pytest.fixture
def swept(bench, tiny, tiny_sweep, tmp_path):
    """Sweep the tiny model under a name, with what more is asked for; the run folder."""
    scored = [*tiny_sweep[: tiny_sweep.index("--metric")], "--no-mlflow", "--metric", f"vqa={tiny.vqa}"]

    def made(name: str, *more: object):
        result = bench(*scored, "--tau", "0,0.6", "--no-seed-control", "--name", name, *more)
        assert result.exit_code == 0, result.output
        return tmp_path / "runs" / name

    return made


@pytest.mark.usefixtures("all_figures")
def test_several_runs_are_compared_in_a_folder_of_their_own(bench, swept, tmp_path):
    first, second = swept("first"), swept("second", "--seed", "7")
    result = bench("report", first, second)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "runs/compare-first-second"
    rows = pd.read_csv(folder / "report/tables/summary.csv")
    assert [sorted(seeds.split()) for seeds in rows.seeds] == [["42", "7"]] * 2, "seeds of one way are one row"
    (difference,) = {row.what for row in pd.read_csv(folder / "report/tables/comparability.csv").itertuples()}
    assert difference == "seed"
    assert "seed, flagged: " in unwrapped(result)
    assert (folder / "report/report.md").read_text().startswith("# How much of the denoising")
    assert (folder / "report/figures/quality_savings.png").exists()
    assert (folder / "report/index.html").exists()
    assert "note: " not in result.stderr
    assert not (folder / "cells").exists()


def test_what_is_refused_is_named_where_the_command_runs(bench, swept, tmp_path):
    first, second = swept("first"), swept("second", "--prompt", "a green door")
    result = bench("report", first, second, "--out", tmp_path / "both")
    assert result.exit_code == 0, result.output
    assert "note: refused: prompts of " in result.stderr
    assert "4 prompts" in result.stderr and "5 prompts" in result.stderr
    assert (tmp_path / "both/report/tables/summary.md").exists()


@pytest.mark.usefixtures("all_figures")
def test_a_report_is_written_as_markdown_into_a_file_of_one_s_own(bench, swept, tmp_path):
    run, text = swept("demo"), tmp_path / "text" / "report.md"
    text.parent.mkdir()
    result = bench("report", run, "--markdown", text)
    assert result.exit_code == 0, result.output
    assert f"written {text}" in unwrapped(result)
    assert "](../runs/demo/report/figures/quality_savings.png)" in text.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "there"], "--out is for several runs"),
        (["run"], "run is given twice"),
        (["nowhere"], "nowhere is not a run folder"),
    ],
)
def test_what_does_not_belong_together_is_refused(bench, tmp_path, arguments, says):
    (tmp_path / "run/cells").mkdir(parents=True)
    (tmp_path / "run/sweep.yaml").write_text("schema_version: 1\nmodel: [mini-sd]\n")
    result = bench("report", "run", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_report_opens_its_page_where_it_is_asked_to(bench, tiny_sweep, tmp_path, monkeypatch):
    assert bench(*tiny_sweep, "--tau", "0,0.6", "--name", "run").exit_code == 0
    page, opened = tmp_path / "runs/run/report/index.html", []
    assert page.is_file()
    page.unlink()
    monkeypatch.setattr("webbrowser.open", lambda uri: opened.append(uri) or True)
    result = bench("report", tmp_path / "runs/run")
    assert str(page) in unwrapped(result).replace(" ", "")
    assert opened == []
    assert bench("report", tmp_path / "runs/run", "--open").exit_code == 0
    assert opened == [page.as_uri()]
    monkeypatch.setattr("webbrowser.open", lambda uri: False)
    assert "no browser was found" in bench("report", tmp_path / "runs/run", "--open").stderr


def test_columns_are_chosen_and_models_called_by_their_labels(bench, tmp_path):
    run = make_run(tmp_path / "run")
    result = bench("report", run, "--columns", "tau; vqa win rate; steps saved, %", "--label", "mini-kandinsky=The K=1")
    assert result.exit_code == 0, result.output
    table = (run / "report/tables/summary.md").read_text()
    assert "| tau | VQA win rate, % | steps saved, % |" in table
    assert "model The K=1" in table
    assert "vqa.vqa_difference" in (run / "report/tables/summary.csv").read_text(), "the data stay whole"
    for file in ("report.md", "index.html", "tables/claims.tex"):
        text = (run / "report" / file).read_text()
        assert ("The K=1" in text) or file.endswith("tex")
        assert "mini-kandinsky" not in text.replace("The K=1 is mini-kandinsky", "") or file == "index.html"
    assert "The K=1 is mini-kandinsky" in (run / "report/report.md").read_text()


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--columns", "tau,win rate", "semicolons part columns"),
        ("--columns", "tau;win ratt", "no table of this run has a column 'win ratt'"),
        ("--label", "mini-kandinski=x", "did you mean 'mini-kandinsky'?"),
        ("--label", "mini-kandinsky", "write --label MODEL=NAME"),
    ],
)
def test_a_column_or_model_that_is_none_is_told(bench, tmp_path, option, value, says):
    result = bench("report", make_run(tmp_path / "run"), option, value)
    assert result.exit_code == 2
    assert says in result.stderr
