"""Shells complete names; they are those that the commands know, and are read without what they name."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from bench.completion import FILES, PLUGINS, completer, names
from bench.listings import PLUGINS as LISTED
from generators.model_entry import models
from generators.prompts import prompt_sets
from generators.strategies.base import strategies
from reports.paper import items
from sweeps.spec import presets
from tasks.card import cards
from tests.bench.test_main import HEAVY

CARDS = {name.partition("/")[2]: file for name, file in cards().items()}
HERE = {
    "cards": lambda: CARDS,
    "models": models,
    "datasets": prompt_sets,
    "strategies": strategies,
    "presets": presets,
    "items": items,
}


@pytest.mark.parametrize("kind", [*PLUGINS, *FILES, "models"])
def test_the_names_are_those_that_commands_know(kind):
    known = HERE[kind]() if kind in HERE else getattr(import_module(LISTED[kind].module), LISTED[kind].function)()
    assert set(names(kind)) - {"none"} == set(known) - {"none"}


def test_of_values_with_commas_the_last_is_completed():
    assert completer("strategies")("ward-cosine,ave") == ["ward-cosine,average"]
    assert "none" in completer("metrics")("")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("bench sweep --strategy ward-", {"ward-cosine", "ward-euclidean"}),
        ("bench sweep --model mini-kan", {"mini-kandinsky"}),
        ("bench compare --dataset mini_s", {"mini_scenes", "mini_styles"}),
        ("bench plan --schedule e", {"eq7"}),
        ("bench generate --combiner med", {"medoid"}),
        ("bench sweep --denoiser-cache first", {"first-block"}),
        ("bench sweep --preset smo", {"smoke"}),
        ("bench score --metric clip_s", {"clip_score"}),
        ("bench strategies show hdb", {"hdbscan"}),
        ("bench paper run tab", {"table1"}),
        ("bench sweep --equal", {"--equal-compute", "--equal-rows"}),
        ("bench cards show mini-sd-st", {"mini-sd-styles"}),
        ("bench submit new mine --card flux", {"flux-dev-styles"}),
        ("bench pow", {"power"}),
    ],
)
def test_a_shell_is_told_the_names_without_anything_heavy(words, completed):
    script = """
import json, sys
sys.argv = ["bench"]
from bench.main import app
try:
    app()
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""
    asked = {"_BENCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **asked}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert set(done.stdout.split()) == completed, done.stderr
    assert not HEAVY & set(json.loads(done.stderr.splitlines()[-1]))
