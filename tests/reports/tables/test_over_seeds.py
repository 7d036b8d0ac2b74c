import numpy as np
import pandas as pd
import pytest

from common.errors import UserError
from metrics.over_seeds import pooled_difference, pooled_win_rate
from reports.base import RunView
from reports.paired_scores import metric_scores, outcomes, score_differences
from reports.tables.over_seeds import OverSeeds
from sweeps.record import load_records

KANDINSKY, SD = ("mini-kandinsky", "kandinsky", "image"), ("mini-sd", "stable-diffusion", "text")


def cells(sheet) -> list[dict[str, str]]:
    return [dict(zip(sheet.headings, map(str, row), strict=True)) for row in sheet.rows]


def test_a_row_is_a_cell_with_its_seeds_pooled(grid) -> None:
    run = grid(models={KANDINSKY: 0.0}, datasets={"mini_styles": 40}, taus=["0", "0.5", "1"])
    sheet = OverSeeds().sheet(RunView.of(run))
    assert [row["tau"] for row in cells(sheet)] == ["0.5", "1"]
    records = [record for record in load_records(run) if record.config.tau == 1]
    won, by = ([of(run, each, "vqa", metric_scores) for each in records] for of in (outcomes, score_differences))
    rate, difference = pooled_win_rate(won), pooled_difference(by)
    row, data = cells(sheet)[1], sheet.data.iloc[1]
    assert (row["seeds"], row["pairs"]) == ("3", "120")
    assert row["win rate, %"] == f"{100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
    assert row["mean difference"].startswith(f"{difference.value:+.4f} [")
    assert data[["win_rate_low", "difference", "difference_high"]].tolist() == [
        rate.low,
        difference.value,
        difference.high,
    ]
    assert data.savings == pytest.approx(np.mean([record.plan.savings for record in records]))
    assert data.seeds == "1 2 3"


def test_what_differs_but_for_the_seed_names_the_rows(grid) -> None:
    run = grid(models={KANDINSKY: 0.0, SD: 0.1}, datasets={"mini_styles": 40}, taus=["1"], seeds=[1, 2])
    sheet = OverSeeds().sheet(RunView.of(run))
    assert [(row["model"], row["pairs"]) for row in cells(sheet)] == [("mini-kandinsky", "80"), ("mini-sd", "80")]
    assert "seed" not in sheet.headings
    assert any("cluster bootstrap over prompts" in note for note in sheet.notes)


def test_one_seed_has_nothing_to_pool(grid) -> None:
    assert OverSeeds().sheet(RunView.of(grid(seeds=[1], taus=["0", "1"]))) is None


def test_a_damaged_file_costs_its_row_and_no_other(grid) -> None:
    run = grid(models={KANDINSKY: 0.0, SD: 0.1}, datasets={"mini_styles": 40}, taus=["1"])
    path = next(record for record in load_records(run) if record.config.model == "mini-sd").scores(run)
    path.write_bytes(b"")
    sheet = OverSeeds().sheet(RunView.of(run))
    assert [row["model"] for row in cells(sheet)] == ["mini-kandinsky"]
    assert sheet.notes[-1].startswith("VQA, mini-sd, tau 1 is left out: ")
    assert str(path) in sheet.notes[-1]
    for each in run.glob("**/scores.parquet"):
        each.unlink()
    with pytest.raises(UserError, match=r"cannot read the scores .* --rescore"):
        OverSeeds().sheet(RunView.of(run))


def test_seeds_of_different_prompts_are_not_pooled(grid) -> None:
    grid(models={KANDINSKY: 0.0}, datasets={"mini_styles": 40}, taus=["1"], seeds=[1])
    run = grid(models={KANDINSKY: 0.0}, datasets={"mini_styles": 30}, taus=["1"], seeds=[2])
    with pytest.raises(UserError, match="different numbers of prompts"):
        OverSeeds().sheet(RunView.of(run))


def test_the_data_are_written_as_numbers(grid) -> None:
    data = OverSeeds().sheet(RunView.of(grid(taus=["1"], models={SD: 0.1}))).data
    assert isinstance(data, pd.DataFrame)
    assert data.pairs.tolist() == [360, 720]
