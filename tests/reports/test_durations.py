"""The seconds of a run, stage by stage."""

import pytest

from reports.durations import REST, Duration, Pace, attempts, durations, paces, recorded
from sweeps.timeline import Log, Span


def span(stage: str, start: float, end: float, **more: object) -> Span:
    return Span(**{"attempt": 1, "utc": "", "stage": stage, "start": start, "seconds": end - start, **more})


SPANS = [
    span("identify", 0, 2),
    span("denoise", 3, 5, calls=0, model="a"),
    span("load", 5, 6, model="a"),
    span("denoise", 6, 10, units=50, first=3.0, first_units=2, rest=2.4, model="a"),
    span("write", 9, 12, units=7, beside=True),
    span("denoise", 1, 2, units=10, first=0.5, first_units=4, rest=0.3, model="a", attempt=2),
]


def test_a_row_a_stage_in_order_and_what_no_stage_took():
    first = [each for each in SPANS if each.attempt == 1]
    assert durations(first) == [
        Duration("identify", 2.0, calls=1),
        Duration("denoise", 6.0, calls=1, units=50),
        Duration("load", 1.0, calls=1),
        Duration("write", 2.0, beside=1.0, calls=1),
        Duration(REST, 1.0),
    ]
    assert sum(each.seconds for each in durations(first)) == 12
    assert sum(each.seconds for each in durations(SPANS)) == 12 + 2, "an attempt begins when it begins"
    assert [len(spans) for spans in attempts(Log((), tuple(SPANS))).values()] == [5, 1]


def test_a_rate_is_of_the_seconds_at_work():
    assert Duration("decode", 2.0, beside=3.0, units=10).rate == 2.0
    assert Duration("plan", 2.0).rate is Duration("decode", 0.0, units=1).rate is None


def test_the_first_call_is_the_first_times_and_steady_leaves_every_calls_first_out():
    (found,) = paces(SPANS)
    assert found == Pace("a", "denoise", 3.0, 2, pytest.approx((2.4 + 0.3) / (48 + 6)))
    assert paces([span("score", 0, 1, units=3, first=1.0, first_units=3)]) == [Pace(None, "score", 1.0, 3, None)]


def test_records_count_what_they_have_in_common_once(new_record):
    tau, other = new_record("0.5"), new_record("1")
    seed = new_record("0", seed=43).model_copy(update={"role": "another-seed", "images": "shared/x"})
    reused = tau.model_copy(update={"timings": {**tau.timings, "reused": 7.0}})
    found = {
        each.stage: each.seconds for each in recorded([reused, other, seed, seed.model_copy(update={"id": "again"})])
    }
    standard = tau.baseline_timings
    assert tau.baseline == other.baseline != seed.baseline
    assert found["cluster"] == 0.5 + 0.5, "one tree for two taus, another for another seed"
    assert found["encode"] == 2 * standard["encode"]
    own = [tau.timings["denoise"], other.timings["denoise"], seed.timings["denoise"]]
    assert found["denoise"] == pytest.approx(2 * standard["denoise"] + sum(own))
    assert "reused" not in found
