"""The benchmarks of speed run end to end, show that what they compare is the same, and keep what they measured.

How fast anything is is not asserted: see benchmarks/results.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import against_stock, measuring, models, overheads, plain_loop, tables, united_sweep, wall_savings
from benchmarks.stock import CALLS, Stock
from common.errors import UserError
from generators.catalogue import model

RUNS = {
    "against_stock": (against_stock.main, ["--batches", "2"]),
    "plain_loop": (plain_loop.main, []),
    "wall_savings": (wall_savings.main, ["--model", "mini-kandinsky"]),
    "united_sweep": (united_sweep.main, []),
    "overheads": (overheads.main, []),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of every benchmark's results."""
    folder = tmp_path_factory.mktemp("results")
    for run, options in RUNS.values():
        run(["--quick", "--device", "cpu", "--out", str(folder), *options])
    return folder


def read(results: Path, name: str) -> dict:
    return json.loads((results / f"{name}.json").read_text())


@pytest.mark.parametrize("name", RUNS)
def test_results_have_ratios_and_what_made_them(results: Path, name: str):
    kept = read(results, name)
    assert kept["benchmark"] == name
    assert kept["command"].startswith(f"python -m benchmarks.{name} --quick")
    assert kept["quick"] is True
    assert kept["machine"]["device"] == "cpu"
    assert kept["machine"]["cores"] >= 1
    assert {"python", "torch", "diffusers"} <= kept["versions"].keys()
    assert kept["results"]
    for found in kept["results"]:
        assert np.isfinite(found["ratio"]["value"])
        assert found["ratio"]["turns"] == 1
        assert found["ratio"]["low"] is None, "one turn has no interval"


def test_every_embedded_family_was_held_against_its_stock_pipeline_and_its_pictures_are_the_same(results: Path):
    found = read(results, "against_stock")["results"]
    assert [each["model"] for each in found] == list(models.EMBEDDED)
    assert [each["levels_apart"] for each in found] == [0.0] * len(found)
    assert {model(name).family for name in models.EMBEDDED} == set(CALLS)


def test_pictures_that_differ_are_not_timed():
    picture = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    assert against_stock.same(picture, picture, "fp32") == 0
    with pytest.raises(AssertionError, match="levels apart"):
        against_stock.same(picture, picture + 1, "fp32")


def test_flop_savings_are_of_what_was_timed(results: Path):
    (found,) = read(results, "wall_savings")["results"]
    assert 0.3 < found["step_savings"] < 0.7
    assert 0 < found["flop_savings"] < found["step_savings"], "decoding is not saved"
    taken = found["seconds"]["shared"][0] / found["seconds"]["baseline"][0]
    assert found["wall_savings"] == pytest.approx(1 - taken)
    assert found["ratio"]["value"] == pytest.approx(found["wall_savings"] / found["flop_savings"])


def test_the_union_denoises_less_than_its_runs(results: Path):
    (found,) = read(results, "united_sweep")["results"]
    steps = found["node_steps"]
    assert steps["united"] < steps["separate"]
    assert found["node_steps_ratio"] == pytest.approx(steps["separate"] / steps["united"])


def test_parts_of_a_cell_make_up_its_time(results: Path):
    (found,) = read(results, "overheads")["results"]
    seconds = {name: taken for name, taken in found["seconds"].items() if name != overheads.ENCODE}
    assert {overheads.DENOISER, "denoise: noise", "denoise: scheduler", "cluster", "decode", "score"} <= seconds.keys()
    assert all(taken >= 0 for taken in seconds.values())
    assert found["with_scoring"]["value"] == pytest.approx(1 - seconds[overheads.DENOISER] / sum(seconds.values()))
    assert found["ratio"]["value"] < found["with_scoring"]["value"] < found["with_scoring_and_encoding"]["value"]


def test_nested_parts_count_no_second_twice(monkeypatch: pytest.MonkeyPatch):
    now = iter([0.0, 1.0, 4.0, 10.0])  # outer begins, inner begins, inner ends, outer ends
    monkeypatch.setattr(overheads.time, "perf_counter", lambda: next(now))
    clock = overheads.Clock("cpu")
    with clock.part("outer"):
        clock.timed("inner", lambda: None)()
    assert clock.seconds == {"inner": 3.0, "outer": 7.0}


def test_a_ratio_is_of_medians_and_its_interval_of_turns():
    found = measuring.ratio([2.0, 2.2, 20.0], [1.0, 1.1, 1.0])
    assert found.value == pytest.approx(2.2)
    assert found.low < 2.2 < found.high
    assert measuring.ratio([2.0, 4.0], [1.0, 2.0]).low == pytest.approx(2.0), "turns that agree leave no doubt"
    halved = found.mapped(lambda value: 1 - value / 2)
    assert halved.low < halved.value < halved.high
    assert str(measuring.ratio([1.0], [2.0])) == "0.500 (one turn)"


def test_ways_take_turns_and_the_order_is_turned_round():
    called: list[str] = []
    ways = {name: (lambda name=name: called.append(name)) for name in "ab"}
    seconds = measuring.in_turns(ways, 2)
    assert called == ["a", "b", "a", "b", "b", "a"]
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 2, "b": 2}


def test_prompts_go_on_where_the_demos_end_and_none_comes_twice():
    many = models.prompts(500)
    assert len(set(many)) == 500
    assert many[:100] == models.prompts(100)


def test_tables_stand_in_their_places_with_the_command_that_made_them(results: Path, tmp_path: Path):
    readme = tmp_path / "README.md"
    readme.write_text(
        "before\n<!-- report:begin benchmarks against_stock -->\nold\n<!-- report:end -->\n"
        "between\n<!-- report:begin benchmarks -->\n<!-- report:end -->\nafter\n"
    )
    tables.main(["--embed", str(readme), "--results", str(results)])
    first, rest = readme.read_text().split("between")
    assert first.count("python -m benchmarks.") == 1
    assert "| mini-flux | 2 |" in first
    assert "old" not in first
    assert all(f"`python -m benchmarks.{name} --quick" in rest for name in RUNS)
    assert "a trial, no measurement" in rest
    assert rest.endswith("after\n")
    kept = readme.read_text()
    tables.main(["--embed", str(readme), "--results", str(results)])
    assert readme.read_text() == kept


def test_results_that_are_not_there_are_named(results: Path, tmp_path: Path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- report:begin benchmarks overhead -->\n<!-- report:end -->\n")
    with pytest.raises(UserError, match="no results 'overhead'") as told:
        tables.main(["--embed", str(readme), "--results", str(results)])
    assert "overheads" in str(told.value)


def test_other_results_in_the_folder_are_passed_over(results: Path, tmp_path: Path):
    (tmp_path / "ray.json").write_text('{"runs": {}}')
    (tmp_path / "list.json").write_text("[]")
    assert tables.tables(tmp_path) == {}


def test_a_sweep_that_fails_says_why():
    with pytest.raises(UserError, match=r"(?s)the sweep failed.*-1"):
        overheads.main(["--quick", "--device", "cpu", "--tau", "-1"])


def test_an_error_of_the_users_is_a_sentence():
    def mistaken() -> None:
        raise UserError("there is no such thing", "take another")

    with pytest.raises(SystemExit, match="there is no such thing: take another"):
        measuring.told(mistaken)


@pytest.mark.parametrize("name", ["mini-kandinsky", "mini-sd", "mini-flux"])
def test_random_weights_are_held_against_stock_as_trained_ones_are(name: str):
    """What runs at full size on a GPU, at the miniature's size."""
    part = models.full_size(name, 3, "cpu", 2).first(2)
    assert not part.prompts
    made, stock = against_stock.ours(part), Stock(part)
    assert against_stock.same(made, stock.same_pictures(slice(None)), "fp32") == 0
    assert stock.pictures(slice(None)).shape == made.shape
    assert part.tree().n_leaves == 2


def test_a_plain_loop_runs_on_random_weights_too():
    model = models.full_size("mini-kandinsky", 6, "cpu", 3)
    mine, theirs = plain_loop.ours(model, 0.5, 4), plain_loop.plain(model, 0.5)
    assert np.abs(mine.astype(int) - theirs).mean() <= plain_loop.APART["fp32"]
