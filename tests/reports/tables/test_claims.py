import io

import pandas as pd

from reports.base import RunView
from reports.formats import to_csv, to_rich
from reports.tables.claims import Claims
from sweeps.record import Result

KANDINSKY, SD = ("mini-kandinsky", "kandinsky", "image"), ("mini-sd", "stable-diffusion", "text")


def cells(sheet) -> list[dict[str, str]]:
    return [dict(zip(sheet.headings, map(str, row), strict=True)) for row in sheet.rows]


def style_variations(new_record):
    """A record with the paper's Style Variations row: 52 of 100 pictures win."""
    record = new_record("0.5")
    counts = {f"vqa.{name}": Result(value=value) for name, value in (("wins", 52), ("ties", 0), ("losses", 48))}
    rate = Result(value=0.52, low=0.4232, high=0.6154, n=100, method="Tango score")
    return record.model_copy(update={"results": {**record.results, **counts, "vqa.win_rate": rate}})


def test_the_paper_s_style_variations_row_warns_that_it_is_underpowered(new_record) -> None:
    sheet = Claims().sheet(RunView.of(".", [style_variations(new_record)]))
    (row,) = cells(sheet)
    assert row["win rate, %"] == "52.0 [42.3, 61.5]"
    assert row["wins/ties/losses"] == "52/0/48"
    assert row["non-inferiority p"] == "0.080 (0.080)"
    assert row["two-sided p"] == "0.764 (0.764)"
    assert row["verdict"] == "underpowered"
    (warning,) = [note for note in sheet.notes if note.startswith("underpowered")]
    assert "1 of 1 claims by VQA" in warning
    assert "100 pairs with 0% ties" in warning
    assert "a power of 17%; for 80%, 780 pairs are needed" in warning


def test_enough_pairs_are_not_warned_of(grid) -> None:
    run = grid(models={KANDINSKY: 0.0}, datasets={"mini_scenes": 1000}, seeds=[1])
    sheet = Claims().sheet(RunView.of(run))
    assert not any(note.startswith("underpowered") for note in sheet.notes)
    assert [row["tau"] for row in cells(sheet)] == ["0.25", "0.5", "1", "2"]


def test_without_tolerance_no_number_of_pairs_is_enough(new_record) -> None:
    sheet = Claims().sheet(RunView.of(".", [style_variations(new_record)], delta=0))
    assert "no number of pairs is enough" in sheet.notes[-1]
    assert "50% (50% - delta, delta = 0 points)" in sheet.caption


def test_it_says_how_many_claims_were_corrected_and_at_which_delta(grid) -> None:
    run = grid(models={KANDINSKY: 0.0, SD: 0.1}, datasets={"mini_styles": 60}, seeds=[1])
    sheet = Claims().sheet(RunView.of(run, delta=0.1))
    assert "40% (50% - delta, delta = 10 points)" in sheet.caption
    assert any("Holm's correction over 8 claims by VQA" in note for note in sheet.notes)
    assert sheet.headings[:2] == ["model", "tau"]


def test_few_pairs_that_differ_are_too_few_for_a_bootstrap(new_record) -> None:
    record = style_variations(new_record)
    few = {"vqa.wins": Result(value=10), "vqa.ties": Result(value=80), "vqa.losses": Result(value=10)}
    told = [
        any(
            "mean difference" in note and "too narrow" in note for note in Claims().sheet(RunView.of(".", [each])).notes
        )
        for each in (record, record.model_copy(update={"results": {**record.results, **few}}))
    ]
    assert told == [False, True]


def test_the_data_have_raw_and_corrected_values(new_run) -> None:
    view = RunView.of(new_run(n=40, taus=["0", "0.5", "1"]))
    data = pd.read_csv(io.StringIO(to_csv(Claims().sheet(view))))
    assert data.tau.tolist() == [0.5, 1]
    assert (data.no_worse_p_holm >= data.no_worse_p).all()
    assert (data.wins + data.ties + data.losses == 40).all()
    assert (data.delta == 0.05).all()
    assert data.win_rate.between(data.win_rate_low, data.win_rate_high).all()


def test_it_fits_a_terminal(new_run) -> None:
    from rich.console import Console

    console = Console(width=100, record=True, file=io.StringIO())
    console.print(to_rich(Claims().sheet(RunView.of(new_run(n=40))), 100))
    assert "underpowered" in console.export_text()
    assert "…" not in console.export_text()


def test_nothing_shared_or_nothing_paired_is_no_claim(new_record, failed_record) -> None:
    unpaired = new_record("1").model_copy(update={"results": {"fid.fid": Result(value=3)}})
    for records in ([], [new_record("0")], [unpaired], [failed_record]):
        assert Claims().sheet(RunView.of(".", records)) is None
