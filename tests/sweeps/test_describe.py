"""The fourth pass: what a record says of pictures beside their baseline's."""

from typing import Any

import numpy as np
import pytest
from run_folders import asked
from torch import nn, zeros

from sweeps.describe import describe
from sweeps.pictures import Manifest
from sweeps.record import ExecutionStats, PlanCost, Record
from sweeps.score import Compared, Scored
from sweeps.scorers import Scorers
from sweeps.scores import Scores

N, K = 4, 10


class Denoiser:
    name, phase, unit, calls, together = "denoiser", "denoise", "node_step", 1, 1
    build = staticmethod(lambda: nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 7)))  # 30 and 70 FLOPs
    inputs = staticmethod(lambda module: ((zeros(1, 3),), {}))


def manifest(steps: int = K, node_steps: int = N * K, **about: Any) -> Manifest:
    plan = PlanCost(
        n_prompts=N, steps_requested=steps, K=steps, node_steps=node_steps, baseline_node_steps=N * steps,
        savings=1 - node_steps / (N * steps),
    )  # fmt: skip
    return Manifest(images={}, plan=plan, **about)


def described(ours: Manifest, baseline: Manifest, images: str | None = None, **more: Any) -> Record:
    record = Record(id="cell", status="done", config=asked("1"), images=images)
    first, second = (Scored(one, Scores(), False, 0.0) for one in (ours, baseline))
    compared = Compared(record, first, second, np.zeros(N, dtype=np.bool_), ())
    return describe(compared, Scorers(None, [], "cpu"), **more)


@pytest.mark.parametrize(("ours", "theirs", "shared"), [(0, 0, False), (3, 0, True), (0, 3, True), (3, 3, True)])
def test_in_older_manifests_seconds_are_shared_where_either_was_denoised_in_company(ours, theirs, shared):
    made, baseline = (manifest(execution=ExecutionStats(united=united)) for united in (ours, theirs))
    assert described(made, baseline).shared_seconds is shared


@pytest.mark.parametrize(("ours", "theirs", "shared"), [(True, True, False), (False, True, True), (True, False, True)])
def test_seconds_are_those_of_the_pictures_where_both_were_isolated(ours, theirs, shared):
    made, baseline = (manifest(execution=ExecutionStats(isolated=isolated)) for isolated in (ours, theirs))
    assert described(made, baseline).shared_seconds is shared


def test_joules_and_seconds_of_both_are_told_apart():
    record = described(
        manifest(joules=3.0, timings={"denoise": 1.0}), manifest(joules=5.0, timings={"encode": 9.0, "denoise": 2.0})
    )
    assert (record.joules, record.baseline_joules) == (3.0, 5.0)
    assert (record.timings, record.baseline_timings) == ({"denoise": 1.0}, {"encode": 9.0, "denoise": 2.0})


def test_what_a_denoiser_cache_skipped_is_not_in_the_flops_and_the_baseline_skips_nothing():
    skipped = manifest(node_steps=30, execution=ExecutionStats(skipped={"1": 20}))
    flops = described(skipped, manifest(), components=[Denoiser()]).flops
    assert flops.total == 30 * 100 - 20 * 70
    assert flops.baseline_total == N * K * 100
    assert flops.savings == pytest.approx(1 - 1600 / 4000)


def test_an_equal_compute_baseline_saves_what_its_fewer_steps_save():
    """Its manifest was written as a baseline's own, which saves nothing."""
    fewer = manifest(steps=6, node_steps=N * 6)
    assert described(fewer, manifest()).plan.savings == 0
    record = described(fewer, manifest(), images="shared/fewer", components=[Denoiser()])
    assert (record.plan.savings, record.plan.baseline_node_steps) == (pytest.approx(0.4), N * K)
    assert record.flops.savings == pytest.approx(0.4)
