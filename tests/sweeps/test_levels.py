"""Savings as an axis: each way to share gets the tau that saves them."""

import pytest
import yaml

from common.errors import UserError
from sweeps.events import Note
from sweeps.levels import levelled, ways
from sweeps.record import run_savings
from sweeps.runner import run_sweep
from sweeps.store import saved_spec


@pytest.fixture(scope="session")
def spec_of(tiny_spec):
    return lambda **settings: tiny_spec(**{"tau": None, "savings": "0.25,0.5", **settings})


def found(spec, folder, heard=None, **options):
    heard = [] if heard is None else heard
    return levelled(spec, ways(spec, "cpu"), folder, device="cpu", emit=heard.append, **options)


def test_each_strategy_and_seed_gets_a_tau_of_its_own_that_saves_the_same(spec_of, tmp_path):
    spec = spec_of(strategy="ward-cosine,shuffled-ward,random-balanced", seed="1,2")
    cells = found(spec, tmp_path / "run")
    records = run_sweep(spec, cells, tmp_path / "run", device="cpu", emit=lambda _: None)
    assert [record.status for record in records] == ["done"] * len(records)
    for record in records:
        assert min(abs(record.plan.savings - level) for level in (0.25, 0.5)) <= 0.02
    assert {record.asked.strategy: record.control for record in records} == {
        "ward-cosine": False,
        "shuffled-ward": True,
        "random-balanced": True,
    }
    assert len({record.asked.tau for record in records if record.asked.strategy == "ward-cosine"}) > 1
    assert run_savings(tmp_path / "run") == [0.25, 0.5]
    again = found(saved_spec(tmp_path / "run"), tmp_path / "run")
    assert [cell.id for cell in again] == [cell.id for cell in cells]


def test_a_level_that_is_out_of_reach_is_told_by_name_and_left_out(spec_of, tmp_path):
    heard: list[object] = []
    cells = found(spec_of(savings="0.25,0.95"), tmp_path / "run", heard, keep=False)
    assert len(cells) == 1
    (note,) = [event.text for event in heard if isinstance(event, Note)]
    assert note.startswith("ward-cosine, prompts, seed 42: cannot save 95.0% of denoiser steps (the nearest is 50.0%)")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="no way to share comes near"):
        found(spec_of(savings="0.95"), tmp_path / "run", keep=False)


def test_taus_are_taken_as_they_are(tiny_spec, tmp_path):
    spec = tiny_spec()
    assert [str(cell.asked.tau) for cell in found(spec, tmp_path / "run")] == ["0", "0.6"]
    assert not (tmp_path / "run").exists()


def test_savings_that_are_no_numbers_are_told(tmp_path):
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"savings": ["half"]}))
    with pytest.raises(UserError, match="no numbers"):
        run_savings(tmp_path)
