"""The first pass: taus as asked, or those that reach savings targets; what is known before a picture is made."""

import sys
from typing import ClassVar

import numpy as np
import pytest
import yaml

from common.errors import NotHereError, UserError
from metrics.base import Metric
from sweeps.events import Note, StageStarted
from sweeps.passes import sweep as run_sweep
from sweeps.pictures import MANIFEST
from sweeps.plan import check, plan_sweep
from sweeps.record import run_savings
from sweeps.session import Session
from sweeps.store import saved_spec


@pytest.fixture(scope="session")
def spec_of(tiny_spec):
    return lambda **settings: tiny_spec(**{"tau": None, "savings": "0.25,0.5", **settings})


def planned(spec, folder, heard=None, keep=True):
    shared, scorers = check(spec, folder, "cpu")
    session = Session.of(spec, "cpu", ([] if heard is None else heard).append)
    return plan_sweep(spec, shared, folder, session, scorers=scorers, keep=keep).jobs


def test_each_strategy_and_seed_gets_a_tau_of_its_own_that_saves_the_same(spec_of, tmp_path):
    spec = spec_of(strategy="ward-cosine,shuffled-ward,random-balanced", seed="1,2")
    events = []
    records = run_sweep(spec, tmp_path / "run", device="cpu", emit=events.append)
    clusterings = [event for event in events if isinstance(event, StageStarted) and event.stage == "cluster"]
    assert len(clusterings) == 3 * 2, "once a strategy and seed, for the targets and for the plans"
    assert [record.status for record in records] == ["done"] * len(records)
    for record in records:
        assert min(abs(record.plan.savings - level) for level in (0.25, 0.5)) <= 0.02
    assert {record.config.strategy: record.control for record in records} == {
        "ward-cosine": False,
        "shuffled-ward": True,
        "random-balanced": True,
    }
    assert len({record.config.tau for record in records if record.config.strategy == "ward-cosine"}) > 1
    assert run_savings(tmp_path / "run") == [0.25, 0.5]
    again = planned(saved_spec(tmp_path / "run"), tmp_path / "run")
    assert [job.id for job in again] == [record.id for record in records]


def test_a_level_that_is_out_of_reach_is_told_by_name_and_left_out(spec_of, tmp_path):
    heard: list[object] = []
    cells = planned(spec_of(savings="0.25,0.95"), tmp_path / "run", heard, keep=False)
    assert len(cells) == 1
    (note,) = [event.text for event in heard if isinstance(event, Note)]
    assert note.startswith("ward-cosine, prompts, seed 42: cannot save 95.0% of denoiser steps (the nearest is 50.0%)")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="no way to share comes near"):
        planned(spec_of(savings="0.95"), tmp_path / "run", keep=False)


class Picky(Metric):
    """Reads no prompt of more than 12 letters."""

    name = "picky"
    higher_is_better = True
    columns = ("picky",)
    results: ClassVar = {}

    def check(self, prompts):
        if refused := [prompt for prompt in prompts if len(prompt) > 12]:
            raise UserError(f"too long: {', '.join(refused)}", "shorten them")

    def measure(self, images, prompts):
        return {"picky": np.zeros(len(images))}

    def compare(self, baseline, ours, same, *, seed=0):
        return {}

    def identity(self):
        return {"name": self.name, "version": 1}


@pytest.fixture
def picky(monkeypatch):
    monkeypatch.setattr("sweeps.scorers.get_metric", {"picky": Picky}.__getitem__)
    return "picky=here"


def test_a_sweep_whose_prompts_no_scorer_takes_is_refused_before_anything_runs(tiny_spec, tmp_path, picky):
    long = ["a fox", "a very long prompt", "another long prompt"]
    (tmp_path / "mine.txt").write_text("\n".join(long))
    spec = tiny_spec(prompt=long, metric=picky, another_seed=True)
    with pytest.raises(UserError, match="too long: a very long prompt, another long prompt"):
        planned(spec, tmp_path / "run", keep=False)
    with pytest.raises(UserError, match="too long"):
        run_sweep(spec, tmp_path / "run", device="cpu", emit=lambda event: None)
    assert not list(tmp_path.glob("run/shared/*/*"))
    assert not list(tmp_path.glob("run/cells/*"))
    heard: list[object] = []
    mixed = tiny_spec(prompt=["a fox", "a cat"], prompts=tmp_path / "mine.txt", metric=picky, another_seed=True)
    jobs = planned(mixed, tmp_path / "mixed", heard, keep=False)
    failing = {job.source.prompts.name for job in jobs if job.error}
    assert failing == {"mine"}, "the other set goes on"
    assert all(job.error for job in jobs if job.source.prompts.name == "mine"), "its seed control is not made in vain"
    (note,) = [event.text for event in heard if isinstance(event, Note)]
    assert "on mine will fail: too long: a very long prompt, another long prompt" in note


def test_prompts_are_checked_where_pictures_are_and_no_scores(tiny_spec, tmp_path, picky):
    long = {"prompt": ["a fox", "a very long prompt"]}
    run_sweep(tiny_spec(**long), tmp_path / "run", device="cpu", emit=lambda event: None)
    with pytest.raises(UserError, match="too long: a very long prompt"):
        planned(tiny_spec(**long, metric=picky), tmp_path / "run", keep=False)


def test_a_plan_alone_needs_no_scorer_that_is_not_here(tiny_spec, tmp_path, picky, monkeypatch):
    monkeypatch.setattr(Picky, "unavailable", classmethod(lambda cls: "its environment is not set up"))
    with pytest.raises(NotHereError, match="cannot run here"):
        check(tiny_spec(metric=picky), tmp_path / "run", "cpu")
    heard: list[str] = []
    _, scorers = check(tiny_spec(metric=picky), tmp_path / "run", "cpu", heard.append)
    assert [list(each.metrics) for each in scorers.values()] == [[]]
    (line,) = heard
    assert "the scorer picky=here is left out: the metric picky cannot run here: its environment is not set up" in line
    with pytest.raises(UserError, match="cannot name a scorer"):
        check(tiny_spec(metric="picky@A b=x"), tmp_path / "run", "cpu", heard.append)


def test_a_strategy_that_ends_the_process_fails_its_cells_and_others_go_on(tiny_spec, tmp_path, monkeypatch):
    monkeypatch.setattr("generators.strategies.complete.Complete.tree", lambda *_, **__: sys.exit(3))
    spec = tiny_spec(strategy="complete,ward-cosine", tau="1")
    records = run_sweep(spec, tmp_path / "run", device="cpu", emit=lambda event: None)
    assert {record.config.strategy: record.status for record in records} == {
        "complete": "failed",
        "ward-cosine": "done",
    }
    (error,) = [record.error for record in records if record.error]
    assert "tried to end the process: sys.exit(3)" in error.message


def test_taus_are_taken_as_they_are(tiny_spec, tmp_path):
    spec = tiny_spec()
    assert [str(job.config.tau) for job in planned(spec, tmp_path / "run", keep=False)] == ["0", "0.6"]
    assert not (tmp_path / "run").exists()


def test_savings_that_are_no_numbers_are_told(tmp_path):
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"savings": ["half"]}))
    with pytest.raises(UserError, match="no numbers"):
        run_savings(tmp_path)


@pytest.mark.parametrize("settings", [{"strategy": "ward-cosine"}, {"strategy": "none", "noise": "official"}])
def test_clustering_that_memory_does_not_suffice_for_is_refused_before_anything_runs(
    tiny_spec, tmp_path, monkeypatch, settings
):
    monkeypatch.setattr("generators.strategies.base.free_memory", lambda: 300)
    spec = tiny_spec(**settings)
    with pytest.raises(UserError, match=r"'ward-cosine' needs about .* for 4 prompts, and 300 B are free") as refused:
        check(spec, tmp_path / "run", "cpu")
    assert "partitioned-ward" in refused.value.hint
    assert not (tmp_path / "run").exists()


def test_what_was_clustered_before_is_not_refused(tiny_spec, tmp_path, monkeypatch):
    run, spec = tmp_path / "run", tiny_spec()
    for cell in check(spec, run, "cpu")[0]:
        (run / "cells" / cell.id).mkdir(parents=True)
        (run / "cells" / cell.id / MANIFEST).write_text("{}")
    (run / "sweep.yaml").write_text("")
    monkeypatch.setattr("generators.strategies.base.free_memory", lambda: 0)
    monkeypatch.setattr("sweeps.plan.refuse_another", lambda run, spec: None)
    assert len(check(spec, run, "cpu")[0]) == 2
