"""`bench report`: what a run's records say, told again."""

import pandas as pd
import pytest


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
    assert "delta = 5 points" in unwrapped(bench("report", run))
    assert "47.5% (50% - delta, delta = 2.5 points)" in unwrapped(bench("report", run, "--delta", "0.025"))
    assert "delta = 2.5 points" in (run / "report/tables/savings_at_parity.md").read_text()


@pytest.mark.parametrize("delta", ["-1", "0.5", "5", "x"])
def test_a_delta_that_is_none_is_refused(bench, delta):
    result = bench("report", ".", "--delta", delta)
    assert result.exit_code == 2
    assert "--delta" in result.stderr
