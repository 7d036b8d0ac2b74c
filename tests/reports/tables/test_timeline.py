from pathlib import Path

from reports.base import RunView
from reports.tables.pace import Pace
from reports.tables.timeline import Timeline
from sweeps.timeline import NAME, Attempt, Span


def write(run: Path, *spans: Span) -> RunView:
    attempts = [Attempt(attempt=number, utc="", cells=[]) for number in sorted({span.attempt for span in spans})]
    lines = [each.model_dump_json() for each in [*attempts, *spans]]
    (run / NAME).write_text("".join(f"{line}\n" for line in lines))
    return RunView.of(run)


def span(stage: str, start: float, end: float, **more: object) -> Span:
    return Span(**{"attempt": 1, "utc": "", "stage": stage, "start": start, "seconds": end - start, **more})


DENOISE = span("denoise", 2, 6, units=100, first=1.0, first_units=20, rest=2.0, model="mini")


def rows(sheet) -> list[list[str]]:
    return [list(map(str, row)) for row in sheet.rows]


def test_shares_add_up_to_the_whole(run_folder) -> None:
    sheet = Timeline().sheet(write(run_folder, span("load", 0, 1), DENOISE, span("report", 6, 8)))
    assert sheet.headings == ["stage", "calls", "seconds", "share, %", "units", "units a second"]
    assert rows(sheet) == [
        ["load", "1", "1.00", "12.5", "-", "-"],
        ["denoise", "1", "4.00", "50.0", "100 denoiser evaluations", "25.0"],
        ["report", "1", "2.00", "25.0", "-", "-"],
        ["the rest", "-", "1.00", "12.5", "-", "-"],
        ["total", "-", "8.00", "100.0", "-", "-"],
    ]
    assert not any("bench show" in note for note in sheet.notes)


def test_attempts_by_themselves_and_together_and_what_ran_beside(run_folder) -> None:
    beside = span("write", 5, 8, beside=True)
    sheet = Timeline().sheet(write(run_folder, DENOISE, beside, span("report", 0, 1, attempt=2)))
    assert sheet.headings[0] == "attempt"
    assert "beside others, s" in sheet.headings
    found = {(row[0], row[1]): row[3] for row in rows(sheet)}
    assert found["1", "write"] == "2.00"
    assert (found["1", "total"], found["2", "total"], found["all", "total"]) == ("8.00", "1.00", "9.00")
    assert sheet.data.query("attempt == 'all'").seconds.sum() == 9


def test_a_table_in_the_report_says_that_the_report_is_not_in_it(run_folder) -> None:
    sheet = Timeline().sheet(write(run_folder, DENOISE))
    assert any("bench show RUN --time" in note for note in sheet.notes)


def test_the_first_call_and_then_a_unit(run_folder) -> None:
    sheet = Pace().sheet(write(run_folder, DENOISE, span("plan", 6, 7)))
    assert rows(sheet) == [["mini", "denoise", "1.000", "20 denoiser evaluations", "25.00", "40.0"]]


def test_no_time_line_is_no_table(run_folder) -> None:
    assert Timeline().sheet(RunView.of(run_folder)) is Pace().sheet(RunView.of(run_folder)) is None
