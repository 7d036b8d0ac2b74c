"""A strategy that asks the denoiser: what that took is in the savings, predicted and recorded, and FLOPs are priced."""

import numpy as np
import pytest
from split_aware import SplitAware

from generators.sharing.plan import SharingPlan
from generators.strategies.base import get_strategy
from sweeps.grid import cells
from sweeps.levels import levelled, ways
from sweeps.predict import predict
from sweeps.source_run import PLAN

ASKING = "split-aware:budget=0.5:at=[0.5]"


@pytest.fixture(autouse=True)
def another_package(monkeypatch):
    """It is no part of the box."""

    def found(name, **parameters):
        return SplitAware.configured(**parameters) if name == SplitAware.name else get_strategy(name, **parameters)

    monkeypatch.setattr("sweeps.grid.get_strategy", found)


def test_what_was_asked_costs_node_steps(sweep, tiny_spec, tmp_path):
    (record,) = sweep(tmp_path / "run", strategy=ASKING, tau="3")
    plan, figures = SharingPlan.load(record.folder(tmp_path / "run") / PLAN), record.plan
    assert figures.probe_rows > 0
    assert figures.node_steps == plan.node_steps + figures.probe_rows
    assert figures.savings == pytest.approx(1 - figures.node_steps / (4 * 3))
    (other,) = sweep(tmp_path / "other", tau="0.6")
    assert other.plan.probe_rows == 0
    a_row = other.flops.components["denoiser"] / other.plan.node_steps
    assert record.flops.components["denoiser"] == pytest.approx(a_row * figures.node_steps)
    spec = tiny_spec(strategy=ASKING, tau="3")
    ((_, cost),) = predict(cells(spec, "cpu"), tmp_path / "none", "cpu", lambda _: None).costs
    assert cost.node_steps == figures.node_steps


def test_the_same_seed_asks_the_same(sweep, tmp_path):
    one, two = (sweep(tmp_path / name, strategy=ASKING, tau="3")[0] for name in ("one", "two"))
    trees = [
        np.load(record.folder(tmp_path / name) / "tree.npz")["score"] for record, name in ((one, "one"), (two, "two"))
    ]
    assert np.array_equal(*trees)
    assert one.id == two.id


def test_levels_are_reached_with_what_was_asked_counted(tiny_spec, tmp_path):
    """Five prompts, three steps: all that can be shared leaves 7 of 15 evaluations, and asking takes 3."""
    prompts = ["a fox", "a wolf", "a car", "a van", "a cat"]
    spec = tiny_spec(strategy="split-aware:budget=0.2:at=[0.5]", tau=None, savings="0.333", prompt=prompts)
    (cell,) = levelled(spec, ways(spec, "cpu"), tmp_path / "run", device="cpu", emit=lambda _: None, keep=False)
    ((_, cost),) = predict([cell], tmp_path / "run", "cpu", lambda _: None).costs
    assert cost.node_steps == 10
