"""JSON of every command: one document on standard output, whatever numbers are in it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.documents import plain
from bench.main import COMMANDS, built


def leaves() -> Iterator[tuple[str, Any]]:
    for name in COMMANDS:
        command = built(name)
        for inner, leaf in getattr(command, "commands", {"": command}).items():
            yield f"{name} {inner}".strip(), leaf


@pytest.mark.parametrize(("name", "command"), [pytest.param(*leaf, id=leaf[0]) for leaf in leaves()])
def test_every_command_answers_in_json(name, command) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options, name


def test_there_are_as_many_commands_as_the_help_shows() -> None:
    assert len(dict(leaves())) > len(COMMANDS) > 20


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals() | st.just(Path("runs/a")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
)


@given(VALUES)
def test_whatever_a_command_answers_is_json(value: Any) -> None:
    text = json.dumps(plain(value), allow_nan=False)
    assert json.loads(text) == plain(value)


@dataclass
class One:
    tau: Decimal
    rows: Any


def test_numbers_stay_numbers_and_what_is_none_is_null() -> None:
    one = One(Decimal("0.50"), np.array([1.5, np.nan, np.inf]))
    assert plain({"a": one, 3: np.int64(4), "b": {Path("x")}}) == {
        "a": {"tau": "0.50", "rows": [1.5, None, None]},
        "3": 4,
        "b": ["x"],
    }


def test_a_mistake_leaves_standard_output_empty(bench) -> None:
    result = bench("datasets", "show", "nothing_such", "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "nothing_such" in result.stderr


def test_a_sweep_says_in_json_what_it_made_and_nothing_beside_it(bench, tiny, tiny_sweep, tmp_path) -> None:
    metric = ["--metric", f"vqa={tiny.vqa}", "--no-audit"]
    result = bench(*tiny_sweep, *metric, "--tau", "0.8", "--name", "first", "--json")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert {cell["role"] for cell in made["cells"]} == {"sharing", "another-seed"}
    assert made["run"] == "runs/first"
    assert made["failed"] == []
    assert Path(made["places"]["page"]).is_file()
    assert made["tables"]["summary"][0]["strategy"] == "ward-cosine"
    assert made["seconds"]["denoise"] > 0
    again = json.loads(bench("report", "runs/first", "--json").stdout)
    assert again["tables"]["summary"] == made["tables"]["summary"]
    assert again["answer"] == made["answer"]
    shown = json.loads(bench("show", "runs/first", "--json").stdout)
    assert shown["answer"] == made["answer"]


def test_generate_says_in_json_what_it_would_cost_and_then_what_it_made(bench, tiny) -> None:
    prompts = ["--prompt", "a red fox", "--prompt", "a red wolf", "--steps", 3, "--prior-steps", 2]
    arguments = ["generate", "--model", tiny.model, *prompts, "--tau", 1, "--name", "two", "--json"]
    planned = json.loads(bench(*arguments, "--dry-run", "--seconds-per-step", 3600, "--price", 2).stdout)
    assert not Path("generated").exists()
    assert planned["cost"]["cost"] == pytest.approx(2 * planned["cost"]["node_steps"])
    result = bench(*arguments, "--price", 2)
    made = json.loads(result.stdout)
    assert made["plan"]["node_steps"] == planned["cost"]["node_steps"]
    assert len(made["images"]) == 2
    assert f"cost: {planned['cost']['node_steps']} node-steps" in result.stderr


@pytest.mark.parametrize("arguments", [["doctor"], ["metrics", "list"], ["models", "list", "--classes"]])
def test_what_is_listed_is_a_list_of_mappings(bench, arguments) -> None:
    found = json.loads(bench(*arguments, "--json").stdout)
    assert len(found) > 3
    assert all(isinstance(one, dict) for one in found)
