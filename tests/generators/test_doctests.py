"""Examples in docstrings run, and the public functions of the sharing core have one."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARING = sorted(
    f"generators.sharing.{path.stem}"
    for path in (ROOT / "generators" / "sharing").glob("*.py")
    if path.stem != "__init__"
)
OTHERS = [
    "generators.batching",
    "generators.combiners.base",
    "generators.combiners.mean",
    "generators.combiners.medoid",
    "generators.combiners.restored_mean",
    "generators.conditioning",
    "generators.noise",
    "generators.prompts",
    "generators.strategies.contents",
    "generators.strategies.distances",
    "generators.strategies.growth",
]
WITHOUT = {"write_npz", "read_npz", "schedules"}  # files; what is installed


@pytest.mark.parametrize("name", [*SHARING, *OTHERS])
def test_examples_say_what_is_so(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    modules = [importlib.import_module(name) for name in [*SHARING, *OTHERS]]
    assert sum(bool(test.examples) for module in modules for test in finder.find(module)) > 40


@pytest.mark.parametrize("name", SHARING)
def test_a_public_function_of_the_sharing_core_has_an_example(name: str) -> None:
    module = ast.parse((ROOT / (name.replace(".", "/") + ".py")).read_text(encoding="utf-8"))
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    bare = {node.name for node in functions if ">>>" not in (ast.get_docstring(node) or "")}
    assert bare <= WITHOUT
