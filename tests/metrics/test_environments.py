"""What is built from a recipe: with a script in place of uv that records how it was called."""

import json
import os
import sys
from pathlib import Path

import pytest

from common.errors import UserError
from metrics import environments
from metrics.environments import build, uv
from metrics.recipes import Recipe, recipe

# Makes an interpreter where uv makes one, and fails to install while the file `broken` is beside it.
UV = """#!{python}
import json, os, sys
from pathlib import Path
here = Path(__file__).parent
with (here / "calls").open("a") as calls:
    calls.write(json.dumps({{"said": sys.argv[1:], "in": os.getcwd(), "path": os.environ.get("PYTHONPATH")}}) + "\\n")
if sys.argv[1] == "venv":
    interpreter = Path(sys.argv[-1]) / "bin" / "python"
    interpreter.parent.mkdir(exist_ok=True)
    interpreter.unlink(missing_ok=True)
    interpreter.symlink_to("{python}")
elif (here / "broken").exists():
    sys.exit(2)
"""


@pytest.fixture
def tools(tmp_path, monkeypatch) -> Path:
    """The folder with that script, the first and only place where uv is found."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "uv").write_text(UV.format(python=sys.executable))
    (folder / "uv").chmod(0o755)
    monkeypatch.setattr(environments, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("PYTHONPATH", "of the harness")
    return folder


@pytest.fixture
def wanted(stand_in, monkeypatch) -> Recipe:
    """The stand-in's recipe, with no environment yet."""
    monkeypatch.setenv("REUSEBENCH_CACHE", os.environ["REUSEBENCH_CACHE"] + "-new")
    return recipe("t2v")


def calls(tools: Path) -> list[dict]:
    path = tools / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_an_environment_is_built_from_the_recipe_checked_and_kept(wanted, tools):
    said = []
    assert wanted.unavailable() == "its environment is not set up, run `bench setup vqa` (0.001 GB of disk)"
    assert build(wanted, said.append) == {}
    assert said == [f"building {wanted.folder}", "checking that it works"]
    made, installed = calls(tools)
    assert made["said"] == ["venv", "--allow-existing", "--python", "3.11", str(wanted.folder)]
    assert installed["said"] == [
        *("pip", "install", "--python", str(wanted.interpreter), "--exclude-newer", "2024-12-31"),
        *("--build-constraints", str(wanted.folder / "build-constraints.txt"), "a-package==1", "another<2"),
    ]
    assert (wanted.folder / "build-constraints.txt").read_text() == "a-builder<3"
    assert (made["in"], made["path"]) == (str(wanted.folder), None), "no settings of the harness reach uv"
    assert wanted.unavailable() is None
    assert build(wanted, said.append) == {}
    assert len(calls(tools)) == len(said) == 2, "a second time nothing is done"


def test_what_was_interrupted_is_continued(wanted, tools):
    (tools / "broken").touch()
    with pytest.raises(UserError, match="uv could not install t2v: what it said is above") as error:
        build(wanted, print)
    assert "UV_DEFAULT_INDEX" in error.value.hint
    assert wanted.unavailable()
    (tools / "broken").unlink()
    build(wanted, print)
    assert wanted.unavailable() is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('check = "import json"', 'check = "assert False, 5"', "does not work: AssertionError: 5"),
        ("disk_gb = 0.001", "disk_gb = 1e6", "needs 1e+06 GB of disk"),
    ],
)
def test_an_environment_that_is_no_good_is_not_called_ready(wanted, stand_in, tools, old, new, says):
    stand_in.recipe.write_text(stand_in.recipe.read_text().replace(old, new))
    with pytest.raises(UserError, match=says.replace("+", r"\+")):
        build(recipe("t2v"), print)
    assert wanted.unavailable()


def test_without_uv_it_says_how_to_get_it(wanted, tools):
    (tools / "uv").unlink()
    with pytest.raises(UserError, match=r"uv, .*, is not installed") as error:
        build(wanted, print)
    assert error.value.hint == "pip install uv"
    assert not wanted.folder.exists()


def test_uv_of_this_environment_comes_first(tools, monkeypatch):
    monkeypatch.setattr(environments, "find_spec", lambda name: name == "uv" or None)
    assert uv() == [sys.executable, "-m", "uv"]
