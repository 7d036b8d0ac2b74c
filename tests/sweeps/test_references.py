"""What sharing is held against: another seed's standard images, and standard generation with fewer steps."""

from dataclasses import replace
from pathlib import Path

import pytest
from rounding import same_but_for_rounding

from generators.guidance import guidance_interval
from generators.sharing.evaluations import Evaluations
from sweeps.events import CellFinished, StageStarted
from sweeps.grid import cells
from sweeps.passes import sweep as run_sweep
from sweeps.plan import check, plan_sweep
from sweeps.record import Record
from sweeps.references import (
    FewerSteps,
    LessGuidance,
    LessGuidanceAndSteps,
    equal_compute,
    interval_from,
    seed_control,
)
from sweeps.session import Session


@pytest.fixture(scope="session")
def against(tiny_spec):
    """Run a sweep with everything that it is held against."""

    def run(
        folder: Path, events: list | None = None, *, another_seed=True, fewer_steps=True, **settings
    ) -> list[Record]:
        spec = tiny_spec(**settings, another_seed=another_seed, fewer_steps=fewer_steps)
        heard = [] if events is None else events
        return run_sweep(spec, folder, device="cpu", emit=heard.append)

    return run


def of_role(records: list[Record], role: str) -> list[Record]:
    return [record for record in records if record.role == role]


def pictures(paths: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def test_another_seed_is_the_sweeps_next_one_or_the_next_number(tiny_spec):
    def seeds(**settings):
        shared = cells(tiny_spec(tau="0.6", **settings), "cpu")
        every = sorted({cell.source.settings.seed for cell in shared})
        return {cell.source.settings.seed: seed_control([cell], every).seed for cell in shared}

    assert seeds() == {42: 43}
    assert seeds(seed="7,3,5") == {7: 3, 3: 5, 5: 7}
    assert seeds(seed=str(2**63 - 1)) == {2**63 - 1: 0}


def test_fewer_steps_are_tried_once_a_tau_that_shares(tiny_spec):
    shared = cells(tiny_spec(tau="0,0.3,0.6", schedule="eq7,official", combiner="mean"), "cpu")
    fewer = equal_compute(shared, (FewerSteps,))
    assert [float(reference.config.tau) for reference in fewer] == [0.3, 0.6]
    assert {reference.config.strategy for reference in fewer} == {"fewer-steps"}
    assert len({reference.id for reference in (*fewer, *shared)}) == len(fewer) + len(shared)


def test_the_nearest_number_of_evaluations_is_taken_from_above_or_below(tiny_spec):
    """Of 4 prompts and 6 steps: 13 evaluations are 3.25 a prompt, 15 are 3.75."""
    (cell,) = cells(tiny_spec(tau="0.6", steps="6"), "cpu")
    near = {n: FewerSteps(cell).source(Evaluations(n), lambda settings: settings.steps).steps for n in (12, 13, 15, 16)}
    assert near == {12: 3, 13: 3, 15: 4, 16: 4}


def test_the_steps_around_the_guess_are_tried_where_a_scheduler_makes_more_evaluations_than_steps(tiny_spec):
    """Of 4 prompts; Heun's method evaluates twice a step but for the last: 3, 5, 7 of 2, 3, 4 steps."""
    (cell,) = cells(tiny_spec(tau="0.6", steps="6"), "cpu")
    heun = FewerSteps(replace(cell, source=replace(cell.source, steps=11)))
    near = {n: heun.source(Evaluations(n), lambda settings: 2 * settings.steps - 1).steps for n in (12, 15, 18, 22, 26)}
    assert near == {12: 3, 15: 3, 18: 5, 22: 5, 26: 7}


def test_two_seeds_equal_compute_baselines_are_denoised_apart(against, tmp_path):
    records = against(tmp_path / "run", seed="1,2", tau="0.6", another_seed=False)
    fewer = of_role(records, "fewer-steps")
    assert [record.execution.united for record in fewer] == [0, 0], "their seconds are meant to be compared"
    assert all(record.execution.united for record in of_role(records, "sharing"))


def test_they_are_the_standard_images_of_a_sweep_with_those_settings(against, sweep, tiny, tmp_path):
    metric = [f"vqa={tiny.vqa}"]
    records = against(tmp_path / "run", tau="0,0.9", steps="4", metric=metric)
    sharing = of_role(records, "sharing")[-1]
    (seed,) = of_role(records, "another-seed")
    (fewer,) = of_role(records, "fewer-steps")

    assert fewer.plan.savings == pytest.approx(sharing.plan.savings, abs=0.5 / 4), "the nearest whole step"
    assert 1 <= fewer.plan.K < 4
    assert fewer.plan.node_steps == 4 * fewer.plan.K
    assert 0 < fewer.flops.savings < fewer.plan.savings
    assert seed.plan.savings == 0

    for record, settings in ((seed, {"seed": "43", "steps": "4"}), (fewer, {"steps": str(fewer.plan.K)})):
        (alone,) = sweep(tmp_path / record.role, tau="0", metric=metric, **settings)
        theirs = alone.baseline_pictures(tmp_path / record.role)
        assert same_but_for_rounding(pictures(record.pictures(tmp_path / "run")), pictures(theirs))
        assert not same_but_for_rounding(pictures(record.baseline_pictures(tmp_path / "run")), pictures(theirs))
        assert record.baseline == sharing.baseline
        counts = [record.results[f"vqa.{name}"].value for name in ("wins", "ties", "losses")]
        assert sum(counts) == 4
        assert counts[1] < 4
    assert sharing.results.keys() == seed.results.keys() == fewer.results.keys()


def test_the_same_command_keeps_them_and_without_them_the_rest(against, tmp_path):
    first = against(tmp_path / "run")
    events = []
    assert against(tmp_path / "run", events) == first
    assert all(event.kept for event in events if isinstance(event, CellFinished))
    assert {event.stage for event in events if isinstance(event, StageStarted)} == {"identify"}
    without = against(tmp_path / "run", another_seed=False, fewer_steps=False)
    assert without == of_role(first, "sharing")


def test_seeds_of_a_sweep_share_their_images(against, tmp_path):
    events = []
    records = against(tmp_path / "run", events, tau="0.6", seed="1,2", fewer_steps=False, isolate=True)
    first, second = of_role(records, "another-seed")
    assert (first.images, second.images) == (second.baseline, first.baseline)
    assert sum(isinstance(event, StageStarted) and event.stage == "denoise" for event in events) == 4


def test_a_cell_that_failed_leaves_its_compute_unknown(against, tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.plan.build_plan", lambda *_: 1 / 0)
    sharing, fewer = against(tmp_path / "run", tau="0.6", another_seed=False, isolate=True)
    assert (sharing.status, fewer.status, fewer.role) == ("failed", "failed", "fewer-steps")
    assert sharing.id in fewer.error.message


def test_their_cost_is_known_before(against, tiny_spec, tmp_path):
    spec = tiny_spec(another_seed=True, fewer_steps=True)
    session = Session("cpu", lambda event: None)
    plan = plan_sweep(spec, check(spec, tmp_path / "none", "cpu")[0], tmp_path / "none", session, keep=False)
    costs = {job.id: cost for job, cost in plan.costs(session)}
    for record in against(tmp_path / "run"):
        assert costs[record.id].node_steps == record.plan.node_steps
        assert costs[record.id].savings == pytest.approx(record.plan.savings)
        assert costs[record.id].flop_savings == pytest.approx(record.flops.savings)


def test_baselines_of_equal_rows_spend_what_the_cell_spends(tiny_spec):
    """Of 4 prompts, 8 steps, two rows each: 48 rows are 12 a prompt, 4 steps of them without guidance."""
    (cell,) = cells(tiny_spec(tau="0.6", steps="8", guidance="4"), "cpu")

    def settings(kind, made: Evaluations):
        source = kind(cell).source(made, lambda asked: asked.steps)
        return source and (source.settings.steps, source.settings.guidance_interval)

    made = Evaluations(24)
    assert settings(FewerSteps, made) == (6, "0..1")
    assert settings(LessGuidance, made) == (8, "0.5..1")
    # of 7 steps one is without guidance: 13 rows; of 6 too: 11
    assert settings(LessGuidanceAndSteps, made) in ((7, "0.25..1"), (6, "0.25..1"))
    # guidance left out everywhere still takes 8 rows: no less guidance spends 6
    assert settings(LessGuidance, Evaluations(12)) is None
    reused = Evaluations(24, reused=4)
    assert settings(LessGuidance, reused) == (8, "0.625..1")


@pytest.mark.parametrize("steps", range(2, 51))
def test_every_number_of_first_steps_can_be_left_out(steps: int):
    for first in range(1, steps):
        interval = interval_from(first, steps)
        assert interval.steps(steps) == range(first, steps)
        assert guidance_interval(interval.text) == interval
