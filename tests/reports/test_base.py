import pytest

from common.errors import UserError
from reports.base import Figure, RunView, Table, figures, file_name, tables


def test_series_differ_in_more_than_tau_and_are_named_by_what_differs(new_run) -> None:
    view = RunView.of(new_run(n=2, series=[{"seed": 7}, {"strategy": "none", "seed": 7}, {"seed": 8}]))
    assert {series.name for series in view.series} == {"ward-cosine, seed 7", "ward-cosine, seed 8", "none, seed 7"}
    for series in view.series:
        taus = [record.config.tau for record in series.records]
        assert taus == sorted(taus)
        assert len({record.config.seed for record in series.records}) == 1


def test_a_single_series_needs_no_name(run_folder) -> None:
    (series,) = RunView.of(run_folder).series
    assert series.name == ""
    assert len(series.records) == 3


def test_failed_cells_are_no_part_of_a_view(new_run) -> None:
    assert [float(r.config.tau) for r in RunView.of(new_run(n=2, fail=["0.5"])).records] == [0, 1]


def test_the_figures_of_the_issue_are_found_by_name() -> None:
    assert {"quality_savings", "diversity_savings", "image_grid", "dendrogram"} <= set(figures())
    assert all(issubclass(figure, Figure) and figure.summary() for figure in figures().values())


def test_tables_are_found_by_name_and_the_summary_comes_first() -> None:
    assert {"savings_at_parity", "image_against_text", "split_similarity"} <= set(tables())
    assert next(iter(tables())) == "summary"
    assert all(issubclass(table, Table) and table.summary() for table in tables().values())


def test_series_keep_what_the_run_calls_parity(run_folder) -> None:
    assert [series.delta for series in RunView.of(run_folder, delta=0.02).series] == [0.02]


def test_a_folder_that_is_no_run_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        RunView.of(tmp_path)


def test_file_names_are_safe_short_and_never_shared() -> None:
    names = ["a", "a, b", "hub/model", "hub-model", "x" * 500, "x" * 501, "../up", "é"]
    files = [file_name(name) for name in names]
    assert files[:2] == ["a", "a--b"]
    assert len(set(files)) == len(names)
    assert all(len(name) < 100 and "/" not in name for name in files)


def test_file_names_are_counted_in_bytes() -> None:
    names = [file_name("水彩" * 60 + end) for end in "ab"]
    assert len({*names}) == 2
    assert all(len(name.encode()) <= 100 for name in names), "a figure's name, a series and a temporary end: 255 in all"
