"""A command's options are the spec's fields: none is written twice, none is forgotten, each says what it does."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from bench.main import COMMANDS, built
from bench.options import given
from sweeps.record import load_records
from sweeps.spec import FLAGS, OLD_NAMES, SweepSpec, make_spec
from sweeps.store import saved_spec


def options(command: Any) -> dict[str, Any]:
    return {parameter.name: parameter for parameter in command.params}


def leaves() -> list[tuple[str, ...]]:
    """The path of every command that runs."""
    paths: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = built(name)
        paths += [(name, below) for below in command.commands] if hasattr(command, "commands") else [(name,)]
    return paths


def command_at(path: tuple[str, ...]) -> Any:
    command = built(path[0])
    for name in path[1:]:
        command = command.commands[name]
    return command


@pytest.mark.parametrize("name", ["sweep", "compare"])
def test_every_field_of_the_spec_is_an_option(name):
    made = options(built(name))
    assert set(FLAGS) == {*SweepSpec.model_fields, "official"} - {"settings"}, "of families: --set"
    assert set(FLAGS) <= set(made)
    for field, flag in FLAGS.items():
        assert made[field].help
        assert made[field].rich_help_panel == flag.panel


def test_compare_has_every_option_of_sweep():
    assert set(options(built("compare"))) == set(options(built("sweep")))


@pytest.mark.parametrize("name", ["generate", "plan"])
def test_what_another_command_leaves_out_it_gives_a_reason_for(name):
    command = COMMANDS[name][1]
    without = command.taken.without
    assert set(FLAGS) - set(options(built(name))) == set(without)
    assert all(without.values())


def test_former_names_are_understood_and_not_shown(bench):
    hidden = {option.name for option in options(built("sweep")).values() if option.hidden}
    assert set(OLD_NAMES) <= hidden
    shown = bench("sweep", "--help").stdout
    assert "--no-seed-control" in shown
    assert "another-seed" not in shown
    flags = given({"another_seed": False, "fewer_steps": True, "seed_control": None})
    assert (make_spec([flags]).seed_control, make_spec([flags]).equal_compute) == (False, True)


def test_a_former_name_beside_todays_is_refused(bench):
    result = bench("sweep", "--seed-control", "--no-another-seed")
    assert result.exit_code == 2
    assert "seed_control is given twice" in result.stderr


@pytest.mark.parametrize("path", leaves(), ids=" ".join)
def test_every_command_shows_an_example_that_parses(path):
    command = command_at(path)
    example = shlex.split(command.epilog.removeprefix("Example: "))
    assert example[: 1 + len(path)] == ["bench", *path]
    context = command.make_context(path[-1], example[1 + len(path) :])
    assert context.command is command


@pytest.mark.parametrize("path", leaves(), ids=" ".join)
def test_every_option_says_what_it_does_and_what_it_takes(path):
    for option in command_at(path).params:
        if option.hidden or option.name == "help":
            continue
        assert option.help, option.name
        takes_a_value = not getattr(option, "is_flag", False)
        if takes_a_value and path != ("doctor",):
            assert option.metavar, f"{option.name} would be shown by its type's name"


def test_commands_are_shown_in_four_panels(bench):
    shown = bench("--help").stdout
    places = [shown.index(f"─ {panel} ─") for panel in ("Run", "Look", "Compare", "Set up")]
    assert places == sorted(places)
    assert all(f" {name} " in shown for name in COMMANDS)
    assert "answerers" not in shown


def test_a_default_is_shown_by_value(bench):
    shown = " ".join(bench("sweep", "--help").stdout.replace("│", " ").split())
    for value in ("ward-cosine", "mini-kandinsky", "0..2", "42", "the model's", "60"):
        assert f"[default: ({value})]" in shown


def test_compare_runs_what_a_file_says_at_savings(bench, tiny_sweep, tmp_path):
    (tmp_path / "mine.yaml").write_text("tau: 0..1\nseed: 3\nequal_compute: true\n")
    _, *settings = tiny_sweep
    result = bench(
        *("compare", *settings, "--spec", "mine.yaml", "--strategy", "complete,average"),
        *("--savings", 0.17, "--name", "run", "--isolate", "--no-seed-control"),
    )
    assert result.exit_code == 0, result.output
    spec = saved_spec(tmp_path / "runs/run")
    assert (spec.tau, list(map(str, spec.savings)), spec.seed) == ((), ["0.17"], (3,))
    assert (spec.strategy, spec.isolate) == (("complete", "average"), True)
    assert {record.role for record in load_records(tmp_path / "runs/run")} == {"sharing", "fewer-steps"}


def test_a_spec_runs_from_anywhere_and_makes_the_same_cells(bench, tiny_sweep, tmp_path, monkeypatch):
    """With a file of prompts and a model folder, both named from where the first command ran."""
    (tmp_path / "mine.txt").write_text("a red fox\na red wolf\na blue car\n")
    model = Path(tiny_sweep[tiny_sweep.index("--model") + 1])
    (tmp_path / "model").symlink_to(model)
    common = ("--steps", 3, "--prior-steps", 2, "--metric", "none", "--no-mlflow")
    first = bench(
        "sweep",
        "--model",
        "./model",
        "--prompts",
        "mine.txt",
        "--tau",
        "0,0.8",
        "--no-seed-control",
        *common,
        "--name",
        "a",
    )
    assert first.exit_code == 0, first.output
    run = tmp_path / "runs/a"
    assert (run / "prompts/mine.txt").read_bytes() == (tmp_path / "mine.txt").read_bytes()
    (tmp_path / "mine.txt").unlink()
    elsewhere = tmp_path / "else/where"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    again = bench("sweep", "--spec", "../../runs/a/sweep.yaml", "--name", "b", "--no-mlflow")
    assert again.exit_code == 0, again.output
    ids = [{path.parent.name for path in root.glob("cells/*/record.json")} for root in (run, Path("runs/b"))]
    assert ids[0] == ids[1] != set()
    continued = bench("sweep", "--spec", run / "sweep.yaml", "--out", run.parent, "--name", "a", "--no-mlflow")
    assert continued.exit_code == 0, continued.output
    assert continued.stderr.count("kept") == len(ids[0])


def test_set_still_says_any_setting(bench, tmp_path):
    np_file = tmp_path / "e.npy"
    import numpy as np

    np.save(np_file, np.random.default_rng(0).normal(size=(6, 4)))
    result = bench("plan", "--embeddings", "e.npy", "--set", "steps=5", "--tau", 1, "--json")
    assert json.loads(result.stdout)[0]["steps"] == 5
