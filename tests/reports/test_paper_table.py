"""Published tables made again: which cell a row is read from, what differs by chance, what cannot be compared."""

from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from common.errors import UserError
from metrics.published import rates_differ
from reports.base import RunView
from reports.paper import MINIATURE, item, items
from reports.paper_table import NOT_COMPARABLE, matching, paper_sheet
from sweeps.record import Record, read_record

REAL = {"model": "kandinsky-2.2", "dataset": "animals", "schedule": "official"}
MINI = {"model": "mini-kandinsky", "dataset": "mini_animals", "schedule": "official"}


@pytest.fixture
def view(new_run: Callable[..., Path]) -> Callable[..., RunView]:
    def made(name: str = "run", **options: object) -> RunView:
        return RunView.of(new_run(name, **{"side": 2, **options}))

    return made


def rows_of(sheet, column: str) -> dict[str, str]:
    place = sheet.headings.index(column)
    return {row[0].value: str(row[place]) for row in sheet.rows}


def test_a_row_is_the_cell_at_the_published_tau_with_its_test(view) -> None:
    run = view(n=500, taus=["0", "0.5", "1"], series=[REAL])
    sheet = paper_sheet(item("table1"), [run])
    (record,) = [record for record in run.records if record.config.tau == 1]
    data = sheet.data.set_index(["published_dataset", "figure"])
    won = data.loc[("animals", "vqa.win_rate_strict")]
    assert (won.cell, won.published, won.n) == (record.id, 0.528, 500)
    assert won.measured == record.results["vqa.win_rate"].value, "prompts that share nothing tie here, and not there"
    assert won.p == rates_differ(won.measured, 1 - record.results["vqa.ties"].value / 500, 500, 0.528, 500).p
    strict = rows_of(sheet, "VQA win rate, %, ties as losses: measured")["animals"]
    assert strict.startswith(f"{100 * record.results['vqa.win_rate_strict'].value:.1f} ")
    assert won.comparable
    saved = data.loc[("animals", "savings")]
    assert saved.measured == record.plan.savings
    assert saved.isna().p, "no chance is in them"
    assert rows_of(sheet, "steps saved, %: published")["animals"] == "62.8"
    assert rows_of(sheet, "steps saved: difference")["animals"] == f"{100 * (record.plan.savings - 0.628):+.2f} points"
    assert "p " in rows_of(sheet, "VQA win rate: difference")["animals"]
    assert rows_of(sheet, "steps saved, %: measured")["genai_bench"] == "-"
    assert "genai_bench (kandinsky-2.2): in none of these runs" in sheet.notes
    assert any("no chance" in note for note in sheet.notes)


def test_fewer_prompts_than_published_are_told(view) -> None:
    sheet = paper_sheet(item("table1"), [view(n=12, series=[REAL])])
    assert "animals: only 12 of the paper's 500 prompts" in sheet.notes


def test_another_schedule_or_tau_is_no_row_of_it(view) -> None:
    assert paper_sheet(item("table1"), [view("a", n=2, series=[{**REAL, "schedule": "eq7"}])]) is None
    assert paper_sheet(item("table1"), [view("b", n=2, taus=["0", "0.5"], series=[REAL])]) is None


def test_a_miniature_is_shown_beside_the_published_and_not_compared(view) -> None:
    sheet = paper_sheet(item("table1"), [view(n=12, series=[MINI])])
    name = "mini_animals for animals"
    assert rows_of(sheet, "steps saved, %: published")[name] == "62.8"
    assert rows_of(sheet, "steps saved: difference")[name] == NOT_COMPARABLE
    assert rows_of(sheet, "VQA win rate: difference")[name] == NOT_COMPARABLE
    assert sheet.caption.startswith(f"{MINIATURE}: Table 1")
    assert not sheet.data.comparable.any()
    assert sheet.data.p.isna().all()


def test_several_runs_fill_one_table_and_the_first_wins(view) -> None:
    other = {**REAL, "dataset": "style_variations"}
    first, second = view("a", n=2, series=[REAL]), view("b", n=2, series=[REAL, other])
    data = paper_sheet(item("table1"), [first, second]).data.set_index(["published_dataset", "figure"])
    assert data.loc[("animals", "savings")].cell == first.records[-1].id
    assert data.loc[("style_variations", "savings")].cell in {record.id for record in second.records}


def test_diversity_takes_the_published_spread_from_ours(view) -> None:
    sheet = paper_sheet(item("clip-diversity"), [view(n=100, series=[REAL])])
    data = sheet.data.set_index(["published_dataset", "figure"])
    row = data.loc[("animals", "clip_diversity.clip_similarity_standard")]
    # an interval of +-0.02 on both sides: their difference is sure within 0.02 sqrt(2)
    assert row.difference_high - row.difference == pytest.approx(0.02 * 2**0.5)
    assert row.difference == pytest.approx(0.62 - 0.6652)
    assert any("our own bootstrap" in note for note in sheet.notes)


def test_published_savings_are_compared_by_the_win_rate_between_the_cells_around_them(grid) -> None:
    models = {("sd15", "stable-diffusion", "text"): 0.0}
    sets = {"prompt_templates": 400, "animals": 240}
    run = RunView.of(grid(models, sets, taus=("0", "0.1", "0.4", "0.6", "1"), seeds=(1,), schedule="official"))
    sheet = paper_sheet(item("sd15"), [run])
    data = sheet.data.set_index(["published_dataset", "figure"])
    won = data.loc[("prompt_templates", "vqa.win_rate_strict")]
    lower, upper = (
        next(r for r in run.records if (r.config.dataset, float(r.config.tau)) == ("prompt_templates", tau))
        for tau in (0.4, 0.6)
    )
    assert (won.lower_savings, won.upper_savings) == (lower.plan.savings, upper.plan.savings)
    share = (0.2825 - lower.plan.savings) / (upper.plan.savings - lower.plan.savings)
    rates = [record.results["vqa.win_rate"].value for record in (lower, upper)]
    assert won.measured == pytest.approx((1 - share) * rates[0] + share * rates[1])
    assert won.low < won.measured < won.high
    assert 0 < won.p < 1
    assert pandas.isna(data.loc[("prompt_templates", "savings")].p), "no chance is in them"
    assert rows_of(sheet, "tau")["prompt_templates"] == "0.4 to 0.6"
    between = f"{100 * lower.plan.savings:.2f}% and {100 * upper.plan.savings:.2f}"
    assert any(between.replace("%", "") in note for note in sheet.notes) == (
        upper.plan.savings - lower.plan.savings > 0.1
    )
    assert "genai_bench (sd15): in none of these runs" in sheet.notes


def test_savings_beyond_what_was_measured_are_told(grid) -> None:
    run = grid(
        {("flux-dev", "flux", "text"): 0.0},
        {"style_variations": 40},
        taus=("0", "0.1"),
        seeds=(1,),
        schedule="official",
    )
    sheet = paper_sheet(item("flux"), [RunView.of(run)])
    assert "style_variations: no two cells around the published savings; the nearest is shown" in sheet.notes
    assert rows_of(sheet, "VQA win rate, %: published")["style_variations"] == "-"
    assert rows_of(sheet, "VQA win rate, %: measured")["style_variations"] != "-", "by which they are comparable"


def test_equal_compute_is_the_cell_with_the_nearest_steps(new_run) -> None:
    real = {**REAL, "dataset": "prompt_templates"}
    folder = new_run(n=12, side=2, taus=["0", "0.5", "1", "2"], series=[real])
    for tau in ("0.5", "1", "2"):
        make_reference(folder, tau)
    run = RunView.of(folder)
    sheet = paper_sheet(item("fixed-compute"), [run])
    steps = sheet.data[sheet.data.figure == "steps"]
    K = run.records[0].plan.K
    shares = sorted(1 - record.plan.savings for record in run.records)
    for row in steps[steps.role == "sharing"].itertuples():
        nearest = min(shares, key=lambda share: abs(share - row.published / 40))
        assert row.measured == pytest.approx(nearest * K, abs=1 / 12)
    assert set(steps.role) == {"sharing", "fewer-steps"}
    assert steps.measured.notna().all()
    scores = sheet.data[sheet.data.figure == "vqa.vqa_mean"]
    assert scores.p.notna().all()


def make_reference(folder: Path, tau: str) -> None:
    """Return, for the cell at this tau, the baseline with fewer steps."""
    for path in list(folder.glob("cells/*/record.json")):
        record = read_record(path)
        if record.role == "sharing" and f"{record.config.tau:f}" == tau:
            other = record.config.model_copy(update={"strategy": "fewer-steps"})
            made: Record = record.model_copy(
                update={"id": f"{record.id}-f", "role": "fewer-steps", "config": other, "images": record.baseline}
            )
            target = folder / "cells" / made.id
            target.mkdir()
            (target / "record.json").write_text(made.model_dump_json())


def test_a_run_of_nothing_published_is_told_what_would_be(view) -> None:
    with pytest.raises(UserError, match="no cell of a published table"):
        matching([view(n=2, series=[{"model": "other"}])], list(items().values()))
