"""`bench compare` end to end: strategies and a control on the embedded model, at two levels on two prompt sets."""

import pandas as pd
import pytest

from reports.base import figures

ASKED = (
    *("compare", "--strategies", "ward-cosine,average,random-balanced", "--savings", "0.3,0.5"),
    *("--model", "mini-sd", "--dataset", "mini_templates,mini_styles", "--limit", 6, "--steps", 6),
    *("--no-mlflow", "--name", "rivals"),
)


@pytest.fixture
def tables(tmp_path):
    return lambda name: pd.read_csv(tmp_path / "runs/rivals/report/tables" / f"{name}.csv")


def test_compare_ends_with_its_tables_its_figure_and_a_page_and_continues(bench, tables, tmp_path, monkeypatch):
    monkeypatch.setattr("reports.render.figures", lambda: {"strategies": figures()["strategies"]})
    planned = bench(*ASKED, "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert not (tmp_path / "runs").exists()
    result = bench(*ASKED)
    assert result.exit_code == 0, result.output
    run = tmp_path / "runs/rivals"
    for words in ("strategies at equal compute", "strategy against strategy", "ranking of strategies"):
        assert words in result.stdout
    assert "inferiority" not in result.stdout, "a comparison prints its own tables"
    found = tables("strategies")
    assert set(found.strategy) <= {"ward-cosine", "average", "random-balanced"}
    assert (abs(found.savings - found.level) <= 0.02).all()
    assert dict(zip(found.strategy, found.control, strict=True))["average"] == False  # noqa: E712  # NumPy's
    assert {"rank_best", "rank_worst", "difference_low"} <= set(tables("strategy_ranking"))
    assert (tables("strategy_pairs").p_holm <= 1).all()
    assert (run / "report/figures/strategies.png").stat().st_size > 10_000
    page = (run / "report/index.html").read_text()
    assert "strategy against strategy on the same prompts" in page
    assert "ranking of strategies" in page
    made = {path: path.stat().st_mtime_ns for path in run.glob("cells/*/record.json")}
    monkeypatch.setattr("reports.render.figures", dict)  # it was looked at
    again = bench(*ASKED)
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime_ns for path in run.glob("cells/*/record.json")} == made
    other = bench(*(0.4 if argument == "0.3,0.5" else argument for argument in ASKED))
    assert other.exit_code == 2
    assert "holds another sweep: it differs in savings" in other.stderr


def test_a_strategy_that_is_not_there_is_told_with_the_nearest(bench):
    result = bench("compare", "--strategies", "ward-cosin,average")
    assert result.exit_code == 2
    assert "ward-cosine" in result.stderr


def test_a_plan_is_not_asked_for_savings_of_several_strategies(bench):
    result = bench("plan", "--set", "savings=0.5")
    assert result.exit_code == 2
    assert "--target-savings" in result.stderr
