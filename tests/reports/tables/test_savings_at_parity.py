import io

import pandas as pd
import pytest

from common.errors import UserError
from reports.base import RunView
from reports.formats import to_csv
from reports.latex import to_latex
from reports.parity import parity_curves
from reports.tables.savings_at_parity import SavingsAtParity, in_words

KANDINSKY, SD = ("mini-kandinsky", "kandinsky", "image"), ("mini-sd", "stable-diffusion", "text")


def cells(sheet) -> list[dict[str, str]]:
    return [dict(zip(sheet.headings, map(str, row), strict=True)) for row in sheet.rows]


def test_a_row_a_model_and_prompt_set_with_what_conditions_it_and_how_many_pairs(grid) -> None:
    view = RunView.of(grid(models={KANDINSKY: 0.0, SD: 0.1}, datasets={"mini_styles": 40}, seeds=(1, 2)))
    first, second = cells(SavingsAtParity().sheet(view))
    names = ["model", "dataset", "conditioned on", "seeds", "pairs"]
    assert [first[name] for name in names] == ["mini-kandinsky", "mini_styles", "image", "2", "80"]
    assert second["conditioned on"] == "text"
    found = view.once(parity_curves).curves[0].parity
    low, high = found.low.savings, found.high.savings
    left, right = found.value.gap
    upper = f"{'≥ ' if found.high.at_least else ''}{100 * high:.1f}"
    assert first["savings at parity, %"] == f"{100 * left:.1f} to {100 * right:.1f} [{100 * low:.1f}, {upper}]"
    assert first["demonstrated, %"] == f"{100 * low:.1f}"
    assert first["if lossless, %"] == f"{100 * found.lossless:.1f}"
    assert first["most measured, %"] == f"{100 * found.most:.1f}"


@pytest.mark.parametrize("delta", [0.05, 0.025])
def test_delta_is_always_said(grid, delta) -> None:
    sheet = SavingsAtParity().sheet(RunView.of(grid(models={SD: 0.1}), delta=delta))
    assert f"{50 - 100 * delta:g}% (50% - delta, delta = {100 * delta:g} points)" in sheet.caption
    assert (sheet.data.delta == delta).all()


def test_what_is_never_below_is_at_least_so_much(grid) -> None:
    sheet = SavingsAtParity().sheet(RunView.of(grid(models={KANDINSKY: -0.3}, datasets={"mini_styles": 40})))
    (row,) = cells(sheet)
    assert row["savings at parity, %"].startswith("≥ 64.8 [")
    assert row["savings at parity, %"].endswith(", ≥ 64.8]")
    assert any(note.startswith("≥") for note in sheet.notes)
    data = pd.read_csv(io.StringIO(to_csv(sheet)))
    assert data.savings_at_parity.tolist() == data.most_measured.tolist()
    assert data[["savings_at_parity_is_at_least", "savings_at_parity_high_is_at_least"]].all(axis=None)
    assert data.demonstrated.tolist() == data.savings_at_parity_low.tolist()
    tex = to_latex(sheet, "savings_at_parity")
    assert r"$\geq$ 64.8" in tex
    assert "≥" not in tex


def test_few_pairs_are_told_from_enough(grid) -> None:
    few = SavingsAtParity().sheet(RunView.of(grid(models={SD: 0.1}, datasets={"mini_styles": 40}, seeds=[1])))
    assert any("381 independent pairs are needed" in note for note in few.notes)
    enough = grid(models={KANDINSKY: 0.1}, datasets={"mini_scenes": 500}, seeds=[1])
    view = RunView.of(enough)
    alone = RunView.of(enough, [record for record in view.records if record.config.model == "mini-kandinsky"])
    assert not any("pairs are needed" in note for note in SavingsAtParity().sheet(alone).notes)


def test_a_gap_between_taus_is_told(grid) -> None:
    view = RunView.of(grid(models={SD: 0.1}, datasets={"mini_styles": 400}, taus=("0", "0.25", "1")))
    sheet = SavingsAtParity().sheet(view)
    assert sheet.data.gap_low.notna().all()
    (parity,) = (curve.parity for curve in view.once(parity_curves).curves)
    left, right = (f"{100 * end:.1f}%" for end in parity.value.gap)
    assert in_words(parity).startswith(f"between {left} and {right}; nothing was measured between (95% interval [")
    assert any("nothing was measured between" in note for note in sheet.notes)


def test_nothing_to_tell_without_two_taus(grid) -> None:
    assert SavingsAtParity().sheet(RunView.of(grid(taus=["1"]))) is None


def test_what_was_left_out_is_a_note(grid) -> None:
    run = grid(models={KANDINSKY: 0.0, SD: 0.1}, datasets={"mini_styles": 40})
    view = RunView.of(run)
    view.records[0].scores(run).unlink()
    sheet = SavingsAtParity().sheet(view)
    assert [row["model"] for row in cells(sheet)] == ["mini-sd"]
    assert "mini-kandinsky is left out" in sheet.notes[-1]


def test_where_everything_was_left_out_it_says_why(grid) -> None:
    run = grid(models={SD: 0.1}, datasets={"mini_styles": 40})
    for path in run.glob("cells/*/scores.parquet"):
        path.unlink()
    with pytest.raises(UserError, match=r"cannot read the scores .* --rescore"):
        SavingsAtParity().sheet(RunView.of(run))
