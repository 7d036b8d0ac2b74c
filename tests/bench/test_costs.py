"""What pictures cost before they are made, and what that rests on."""

import json
import re
from pathlib import Path

import pytest

from bench.costs import Priced, asked
from common.errors import UserError
from sweeps.accelerators import accelerator
from sweeps.estimate import Estimate
from sweeps.measured import Measured

ONE = Estimate("m", "d", 10, 20, 10, 200, 200e12, 50e12, 0, 0, "", encoded=10)


def test_seconds_rest_on_what_is_known_best(monkeypatch) -> None:
    h100 = accelerator("h100")
    seconds, why = Priced(h100, 1.0, 0.5).of_estimate(ONE)
    assert seconds == pytest.approx(250e12 / (h100.peak_flops / 2))
    assert "50% of the peak" in why
    monkeypatch.setattr("sweeps.accelerators.measured_seconds", lambda accelerator, model: 0.1)
    seconds, why = Priced(h100, 1.0, 0.5).of_estimate(ONE)
    assert seconds == pytest.approx(200 * 0.1 + 50e12 / (h100.peak_flops / 2))
    assert "measured on h100" in why
    own = Measured(Path("runs/first"), "NVIDIA H100 80GB HBM3", 0.2)
    assert Priced(h100, 1.0, 0.5).of_estimate(ONE, own)[0] == pytest.approx(seconds + 200 * 0.1)
    assert Priced(h100, 1.0, 0.5, 0.3).of_estimate(ONE, own)[0] == pytest.approx(seconds + 200 * 0.2)


def test_of_this_machine_nothing_is_known_but_what_was_measured_or_given() -> None:
    assert Priced().of_estimate(ONE) is None
    own = Measured(Path("runs/first"), "", node_step=0.5, prompt=0.1, picture=0.2)
    assert Priced().of_estimate(ONE, own) == (
        pytest.approx(200 * 0.5 + 10 * 0.1 + 10 * 0.2),
        "seconds as runs/first took",
    )
    assert Priced(seconds_per_step=2).of_estimate(ONE) == (400, "seconds a step as given, of denoising alone")
    assert Priced(seconds_per_step=2).of_estimate(ONE, own)[0] == pytest.approx(403)


@pytest.mark.parametrize(
    ("options", "says"), [({"utilisation": 0.3}, "add --gpu"), ({"gpu": "h1000"}, "did you mean 'h100'")]
)
def test_options_that_mean_nothing_are_refused(options, says) -> None:
    with pytest.raises(UserError, match=says):
        asked(**options)


def test_a_dry_run_of_a_sweep_costs_its_baselines_controls_and_scores_too(bench, tiny, tiny_sweep) -> None:
    arguments = [*tiny_sweep, "--tau", "0,0.8", "--metric", f"vqa={tiny.vqa}", "--dry-run", "--no-audit"]
    unknown = bench(*arguments)
    assert unknown.exit_code == 0, unknown.output
    assert "no seconds of a step are known here" in unknown.stdout
    priced = json.loads(bench(*arguments, "--seconds-per-step", 9, "--price", 4, "--json").stdout)
    cost = priced["cost"]
    assert cost["node_steps"] == priced["together"]["together"]
    by_role = cost["node_steps_by_role"]
    assert by_role["baselines"] == by_role["seed control"] == 12, "four prompts of three steps"
    assert sum(by_role.values()) == priced["together"]["one_by_one"]
    assert cost["images"] >= 8
    assert cost["scores"] == cost["images"]
    assert cost["gpu_hours"] == pytest.approx(9 * cost["node_steps"] / 3600)
    assert cost["cost"] == pytest.approx(4 * cost["gpu_hours"])
    assert "as given" in cost["gpu_hours_rest_on"]
    on_card = json.loads(bench(*arguments, "--gpu", "h100", "--json").stdout)["cost"]
    assert on_card["gpu_hours"] == pytest.approx(on_card["flops"] / (0.4 * 989.4e12) / 3600)
    assert on_card["price"] == 2.5


def test_what_a_run_took_here_is_what_the_next_is_told_to_take(bench, tiny, tiny_sweep) -> None:
    """The seconds are those of the finished run's time line and manifests, for the same model alone."""
    first = bench(*tiny_sweep, "--tau", "0,0.8", "--metric", f"vqa={tiny.vqa}", "--no-audit", "--name", "first")
    assert first.exit_code == 0, first.output
    assert "cost: " in first.stderr
    assert "node-steps" in first.stderr
    again = bench(*tiny_sweep, "--tau", "0.4,0.8", "--seed", 5, "--dry-run", "--price", 3, "--json")
    cost = json.loads(again.stdout)["cost"]
    assert cost["gpu_hours_rest_on"] == "seconds as runs/first took"
    assert cost["gpu_hours"] > 0
    assert cost["cost"] == pytest.approx(3 * cost["gpu_hours"])
    scored = bench(*tiny_sweep, "--tau", "0.8", "--seed", 5, "--metric", f"vqa={tiny.vqa}", "--no-audit", "--dry-run")
    assert re.search(r"\d+ scores of pictures, [\d.e-]+ (s|min) of them", scored.stdout)
    made = bench("generate", *tiny_sweep[1:-3], "--tau", "0.8", "--name", "one")
    assert "seconds as runs/first took" in made.stderr
    newest = bench(*tiny_sweep, "--tau", "0.8", "--seed", 5, "--metric", f"vqa={tiny.vqa}", "--no-audit", "--dry-run")
    assert "seconds as generated/one took" in newest.stdout
    assert "scores of pictures, not" not in newest.stdout, "the newest run that has scored says what scores take"
    other = bench(*tiny_sweep, "--tau", "0.8", "--guidance", 1, "--dry-run")
    assert "no seconds of a step are known here" in other.stdout, "without guidance a step is another"
    planned = bench("plan", *tiny_sweep[1:-3], "--tau", "0.8", "--json")
    (row,) = json.loads(planned.stdout)
    assert row["gpu_hours_rest_on"] == "seconds as generated/one took"
    assert "cost" not in row, "no hour has a price"
