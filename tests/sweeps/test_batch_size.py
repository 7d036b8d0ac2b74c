"""A sweep's batch size is asked for, the device's default, or measured, and is no part of what a cell is."""

import pytest

from generators import batch_search
from sweeps.events import Note
from sweeps.executors.local import Local
from sweeps.grid import cells
from sweeps.plan import check, plan_sweep
from sweeps.session import Session


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(batch_search, "MOST", 2)
    monkeypatch.setattr(batch_search, "SECONDS", 0)


def origins(run, name: str, **settings) -> set[str | None]:
    """Of the cells that denoised anything."""
    return {each.execution.batch_size_from for each in run(name, **settings) if each.execution.calls}


@pytest.fixture
def run(sweep, tmp_path):
    return lambda name, **settings: sweep(tmp_path / name, **settings)


def test_records_say_where_it_is_from(run):
    assert origins(run, "default") == {"default"}
    assert origins(run, "given", batch_size="3") == {"given"}


def test_auto_is_measured_once_told_and_then_remembered(run, whole):
    events, again = [], []
    first = run("first", batch_size="auto", events=events)
    (told,) = told_by(events)
    assert "rows a second" in told
    assert {each.execution.batch_size for each in first if each.execution.calls} <= {1, 2}
    assert origins(run, "again", batch_size="auto", events=again) == {"remembered"}
    assert not told_by(again)
    assert [record.id for record in first] == [record.id for record in whole.records]


def test_every_source_of_a_union_says_where_its_own_is_from(run):
    assert origins(run, "seeds", batch_size="auto", seed="1,2") == {"measured", "remembered"}


def told_by(events) -> list[str]:
    return [event.text for event in events if isinstance(event, Note) and "batches of" in event.text]


def test_workers_elsewhere_have_a_size_that_nobody_measured_here(tiny_spec, monkeypatch):
    class Elsewhere(Local):
        unites = False

    monkeypatch.setattr(batch_search, "measure", lambda *_: pytest.fail("measured"))
    (source,) = {cell.source.key: cell.source for cell in cells(tiny_spec(), "cpu")}.values()
    session = Session("cpu", lambda _: None, batch_size="auto", encoder=Elsewhere())
    conditioning = session.encoded(source).conditioning
    assert session.batch_size(source, conditioning) == (batch_search.BATCH_SIZE, "default")


def test_a_prediction_measures_nothing(tiny_spec, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_search, "measure", lambda *_: pytest.fail("measured"))
    spec = tiny_spec(batch_size="auto")
    session = Session.of(spec, "cpu", lambda _: None)
    run = tmp_path / "run"
    plan = plan_sweep(spec, check(spec, run, "cpu")[0], run, session, keep=False)
    assert len(plan.costs(session)) == 2
