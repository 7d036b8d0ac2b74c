import numpy as np

from reports.frame import frame, paired_metrics, result_names, shared_axes, varying_axes, wall_savings


def test_one_row_a_cell_with_intervals_beside_their_figures(new_record) -> None:
    records = [new_record("0"), new_record("0.5")]
    cells = frame(records)
    assert list(cells.tau) == [0.0, 0.5]
    assert list(cells.strategy) == ["ward-cosine"] * 2
    figure = records[1].results["vqa.win_rate"]
    assert cells.loc[1, ["vqa.win_rate", "vqa.win_rate_low", "vqa.win_rate_high"]].tolist() == [
        figure.value,
        figure.low,
        figure.high,
    ]
    assert "vqa.ties_low" not in cells
    assert cells.loc[1, "savings"] == records[1].plan.savings
    assert cells.loc[1, "seconds"] == sum(records[1].timings.values())


def test_failed_cells_keep_their_row_and_say_why(new_record, failed_record) -> None:
    cells = frame([failed_record, new_record("1")])
    assert list(cells.status) == ["failed", "done"]
    assert "00003.png" in cells.loc[0, "error"]
    assert np.isnan(cells.loc[0, "vqa.win_rate"])
    assert list(cells.columns[:2]) == ["id", "status"]


def test_axes_that_vary_and_axes_that_do_not(new_record) -> None:
    records = [new_record("0", seed=1), new_record("1", seed=2)]
    assert varying_axes(records) == ["seed"]
    shared = shared_axes(records)
    assert shared["model"] == "mini-kandinsky"
    assert "seed" not in shared
    assert "tau" not in shared
    assert shared_axes([]) == {}


def test_a_metric_with_a_win_rate_is_paired(new_record) -> None:
    names = result_names([new_record()])
    assert names[0] == "vqa.win_rate"
    assert paired_metrics(names) == ["vqa"]


def test_wall_savings_count_encoding_once_for_both_and_no_scoring(new_record) -> None:
    timings = {"cluster": 1.0, "plan": 0.5, "denoise": 8.0, "decode": 2.0, "reused": 1.5, "score": 99.0}
    record = new_record("1").model_copy(
        update={"timings": timings, "baseline_timings": {"encode": 2.0, "denoise": 20.0, "decode": 3.0, "score": 99.0}}
    )
    assert wall_savings(record) == 1 - (2.0 + 1.0 + 0.5 + 8.0 + 2.0 + 1.5) / 25.0
    assert wall_savings(record.model_copy(update={"timings": {**timings, "encode": 2.0}})) == wall_savings(record)
    assert wall_savings(record.model_copy(update={"baseline_timings": {}})) is None, "older records"


def test_no_wall_savings_are_claimed_where_seconds_are_a_share_of_a_unions(new_record) -> None:
    seconds = {"timings": {"denoise": 8.0}, "baseline_timings": {"denoise": 20.0}}
    measured = new_record("1").model_copy(update={**seconds, "shared_seconds": False})
    shared = measured.model_copy(update={"shared_seconds": True})
    assert wall_savings(measured) == 1 - 8.0 / 20.0
    assert wall_savings(shared) is None
    assert frame([measured, shared]).wall_savings.isna().tolist() == [False, True]
