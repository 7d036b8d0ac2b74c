"""The time line: what is written as stages end, what is read again, and that no second counts twice."""

import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.loading import loading, seconds_loading
from sweeps.events import StageAdvanced, StageFinished, StageStarted, SweepStarted
from sweeps.grid import sources
from sweeps.jobs import Job
from sweeps.plan import baseline_job
from sweeps.timeline import NAME, Span, Timeline, loads_told, merged, read_timeline, walls, whole


def span(stage: str, start: float, end: float, *, attempt: int = 1, beside: bool = False) -> Span:
    return Span(attempt=attempt, utc="", stage=stage, start=start, seconds=end - start, beside=beside)


def ran(timeline: Timeline, stage: str, units: int = 0, job: Job | None = None) -> None:
    timeline(StageStarted(stage, units, job=job))
    for _ in range(units):
        timeline(StageAdvanced(1))
    timeline(StageFinished())


@pytest.fixture
def begun(tmp_path: Path, tiny_spec) -> SweepStarted:
    (tmp_path / "run").mkdir()
    spec = tiny_spec()
    (source,) = sources(spec, "cpu")
    return SweepStarted(tmp_path / "run", spec, [baseline_job(source, tmp_path / "run")])


def test_a_sweep_leaves_a_line_a_stage_with_whose_it_was(sweep, tiny, tmp_path):
    timeline = Timeline()
    with loads_told(timeline):
        records = sweep(tmp_path / "run", metric=[f"clip_diversity={tiny.clip}"], emit=timeline)
    log = read_timeline(tmp_path / "run")
    assert [each.cells for each in log.attempts] == [[record.id for record in records]]
    assert list(log.spans) == timeline.spans
    stages = {each.stage for each in log.spans}
    assert {"load", "encode", "cluster", "plan", "denoise", "decode", "score"} <= stages
    asked = records[0].config
    for each in log.spans:
        assert (each.cell in {record.id for record in records}) == (each.dataset == asked.dataset)
        assert each.model == asked.model or each.stage in ("identify", "load")
        assert each.start >= 0
        assert each.utc.endswith("+00:00")
    denoised = sum(each.units for each in log.spans if each.stage == "denoise")
    shared = records[1]
    assert denoised == 4 * 3 + shared.execution.rows
    assert sum(walls(log.spans).values()) <= whole(log.spans), "stages of one thread do not overlap"


def test_loading_is_no_part_of_what_it_happens_in(sweep, tmp_path, monkeypatch, clock):
    from generators import checkpoints

    real, waits = checkpoints.check_pipeline, iter([1000])

    def slow(*arguments):
        clock.later += next(waits, 0)
        real(*arguments)

    monkeypatch.setattr(checkpoints, "check_pipeline", slow)
    timeline = Timeline()
    with loads_told(timeline):
        records = sweep(tmp_path / "run", emit=timeline)
    assert walls(timeline.spans)["load"] >= 1000
    pieces = [each for each in timeline.spans if each.stage == "encode"]
    *before, last = pieces
    assert before
    assert [each.calls for each in pieces] == [0] * len(before) + [1], "loading cut it into pieces"
    encoded = sum(each.seconds for each in pieces)
    assert encoded < 1000
    assert records[1].baseline_timings["encode"] < 1000
    assert last.first is not None
    assert last.first + last.rest <= encoded + 1e-5


def test_the_first_call_and_the_others_are_in_the_record(sweep, tmp_path):
    for record in sweep(tmp_path / "run", isolate=True):
        took = record.execution
        assert took.first_call > 0
        assert took.steady > 0
        assert took.calls == 3, "a call a step"
        assert took.first_call + took.steady * (took.rows - 4) <= record.timings["denoise"], "four rows at most a call"


def test_attempts_are_counted_and_a_torn_line_is_left_out(begun):
    path = begun.run / NAME
    for attempt in (1, 2, 3):
        timeline = Timeline()
        ran(timeline, "identify")
        timeline(begun)
        ran(timeline, "denoise", units=2, job=begun.jobs[0])
        log = read_timeline(begun.run)
        assert [each.attempt for each in log.attempts] == list(range(1, attempt + 1))
        assert [each.stage for each in log.spans if each.attempt == attempt] == ["identify", "denoise"]
        with path.open("a") as file:
            file.write('{"attempt":9,"stage":"den')
    assert len(read_timeline(begun.run).spans) == 6
    assert [each.cell for each in log.spans] == [None, begun.jobs[0].id] * 3


def test_first_units_are_told_from_the_rest(monkeypatch):
    clock = iter([0.0, 10.0, 13.0, 14.0, 16.0, 20.0])
    monkeypatch.setattr("sweeps.timeline.time.perf_counter", lambda: next(clock))
    timeline = Timeline()
    timeline(StageStarted("denoise", 24))
    for done in (4, 8, 12):
        timeline(StageAdvanced(done))
    timeline(StageFinished())
    (only,) = timeline.spans
    assert (only.start, only.seconds, only.units) == (10.0, 10.0, 24)
    assert (only.first, only.first_units, only.rest) == (3.0, 4, 3.0)


def test_a_stage_of_another_thread_runs_beside_and_cuts_nothing():
    timeline = Timeline()
    timeline(StageStarted("denoise", 1))
    other = threading.Thread(target=ran, args=(timeline, "write", 2))
    other.start()
    other.join()
    timeline(StageAdvanced(1))
    timeline(StageFinished())
    write, denoise = timeline.spans
    assert (write.stage, write.beside, write.units) == ("write", True, 2)
    assert (denoise.stage, denoise.beside, denoise.units, denoise.calls) == ("denoise", False, 1, 1)
    assert walls(timeline.spans)["write"] == 0, "denoising went on all the while"


def test_a_stage_within_a_jobs_is_that_jobs_and_what_no_job_does_is_nobodys(begun):
    timeline = Timeline()
    timeline(begun)
    timeline(StageStarted("denoise", 1, "mine", begun.jobs[0]))
    ran(timeline, "load")
    timeline(StageFinished())
    ran(timeline, "report")
    by_stage = {span.stage: span for span in timeline.spans}
    assert by_stage["load"].cell == by_stage["denoise"].cell == begun.jobs[0].id
    assert by_stage["load"].model == "mine"
    assert by_stage["report"].cell is by_stage["report"].model is None


def test_walls_of_stages_that_overlap():
    spans = [
        span("denoise", 0, 10),
        span("write", 8, 14, beside=True),
        span("decode", 12, 13),
        span("write", 1, 3, attempt=2, beside=True),
    ]
    assert walls(spans) == {"denoise": 10, "write": 3 + 2, "decode": 1}
    assert whole(spans) == 14 + 3


intervals = st.tuples(st.integers(0, 50), st.integers(0, 10), st.sampled_from("abc"), st.booleans(), st.integers(1, 2))


@given(st.lists(intervals))
def test_walls_count_every_covered_second_once(drawn):
    spans = [span(stage, low, low + long, attempt=n, beside=beside) for low, long, stage, beside, n in drawn]
    covered = {(each.attempt, t) for each in spans for t in range(int(each.start), int(each.end))}
    assert sum(walls(spans).values()) == len(covered)
    assert all(seconds >= 0 for seconds in walls(spans).values())


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9))))
def test_merged_covers_the_same_seconds(drawn):
    pairs = [(low, low + long) for low, long in drawn]
    found = merged(pairs)
    assert {t for low, high in found for t in range(low, high)} == {t for low, high in pairs for t in range(low, high)}
    assert all(one[1] < other[0] for one, other in pairwise(found))


def test_loads_within_loads_count_once_and_errors_end_them(clock):
    heard = []
    before = seconds_loading()
    with loads_told(heard.append), pytest.raises(RuntimeError), loading():
        with loading():
            clock.later += 1000
        raise RuntimeError
    assert [type(event).__name__ for event in heard] == ["StageStarted", "StageFinished"]
    assert 1000 <= seconds_loading() - before < 2000


def test_a_line_that_cannot_be_written_is_told_by_the_next_event_and_not_where_a_stage_ends(begun, monkeypatch):
    timeline = Timeline()
    timeline(begun)
    timeline(StageStarted("denoise", 1))
    monkeypatch.setattr("sweeps.timeline._append", full)
    timeline(StageFinished())  # a stage also ends because something failed, and that is what is to be told
    for event in (StageStarted("decode", 1), StageAdvanced(1)):
        with pytest.raises(OSError, match="No space"):
            timeline(event)
    with pytest.raises(OSError, match="No space"):
        timeline.check()


def full(*_):
    raise OSError(28, "No space left on device")
