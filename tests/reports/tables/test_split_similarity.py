import pandas as pd
import pytest

from reports.base import RunView
from reports.render import write_report
from reports.tables.split_similarity import SplitSimilarity


def test_a_row_is_a_band_of_a_cell_with_what_sharing_added(parted) -> None:
    table = SplitSimilarity().sheet(RunView.of(parted(taus=("1",))))
    assert table.headings == [
        "tau",
        "by",
        "steps shared, %",
        "pairs",
        "clusters",
        "similarity",
        "baseline's",
        "excess",
    ]
    assert [str(row[2]) for row in table.rows] == table.data.band.tolist()
    assert {str(row[1]) for row in table.rows} == {"CLIP similarity"}
    for row, data in zip(table.rows, table.data.itertuples(), strict=True):
        assert data.excess == pytest.approx(data.similarity - data.baseline)
        assert row[-1].value == f"{data.excess:+.4f}"
        assert bool(row[-1].interval) == (not pd.isna(data.excess_low))
    assert set(table.data.excess_low.isna()) == {True, False}
    assert (table.data.excess_low > 0).any()


def test_series_are_told_apart(parted) -> None:
    table = SplitSimilarity().sheet(RunView.of(parted(taus=("1",), series=({"seed": 1}, {"seed": 2}))))
    assert table.headings[0] == "seed"
    assert {str(row[0]) for row in table.rows} == {"1", "2"}


def test_where_nobody_shares_there_is_no_table(parted) -> None:
    assert SplitSimilarity().sheet(RunView.of(parted(taus=("0",)))) is None


def test_it_is_a_file_and_not_on_the_terminal(parted) -> None:
    report = write_report(parted(taus=("1",)))
    assert "split_similarity" in {path.stem for path in report.tables}
    assert not any("excess" in sheet.headings for sheet in report.sheets)
