"""Environments of workers, built by uv. An interrupted build continues where it was."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from common.errors import UserError
from common.files import atomic_write, canonical_json
from metrics.recipes import READY, Recipe

STDERR = 2
CONSTRAINTS = "build-constraints.txt"
ALIEN = ("PYTHONPATH", "PYTHONHOME")  # variables by which uv's Python would import from this environment


def uv() -> list[str]:
    """Return the command that runs uv: the one installed here, else the one on the PATH.

    Raises:
        UserError: it is not installed.
    """
    if find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    if program := shutil.which("uv"):
        return [program]
    raise UserError("uv, which builds the environments of workers, is not installed", "pip install uv")


def build(recipe: Recipe, say: Callable[[str], None]) -> dict[str, str]:
    """Build the environment of a recipe where it is not finished.

    Args:
        recipe: of the environment.
        say: called with a line for each stage; uv itself writes to standard error.

    Returns:
        The worker's packages and their versions, as it greets with them.

    Raises:
        UserError: uv is missing or fails, the disk has too little space, or what was built does not work.
    """
    if (packages := recipe.packages()) is not None:
        return packages
    command, folder = uv(), recipe.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not recipe.interpreter.exists():
        _check_space(recipe)
    say(f"building {folder}")
    constraints = folder / CONSTRAINTS
    make = [*command, "venv", "--allow-existing", "--python", recipe.python, str(folder)]
    _run("make a virtual environment", make, folder)
    atomic_write(constraints, "\n".join(recipe.build_constraints))
    options = ["--exclude-newer", recipe.exclude_newer.isoformat(), "--build-constraints", str(constraints)]
    install = [*command, "pip", "install", "--python", str(recipe.interpreter), *options, *recipe.requirements]
    _run(f"install {recipe.name}", install, folder)
    say("checking that it works")
    packages = _checked(recipe)
    atomic_write(folder / READY, canonical_json(packages))  # last: without it the environment counts as unfinished
    return packages


def _check_space(recipe: Recipe) -> None:
    free = shutil.disk_usage(recipe.folder).free / 1e9
    if free < recipe.disk_gb:
        raise UserError(
            f"{recipe.folder} needs {recipe.disk_gb:g} GB of disk, and {free:.1f} are free",
            "free some space, or set REUSEBENCH_CACHE to a folder that has it",
        )


def _run(task: str, command: Sequence[str], folder: Path) -> None:
    """Run uv in the environment's folder, where no project's settings reach it."""
    environment = {name: value for name, value in os.environ.items() if name not in ALIEN}
    if subprocess.run(command, cwd=folder, env=environment, stdout=STDERR).returncode:
        raise UserError(
            f"uv could not {task}: what it said is above",
            "mend that and run the same command again, it continues; a mirror is named by UV_DEFAULT_INDEX, and must "
            "tell when packages were uploaded",
        )


def _checked(recipe: Recipe) -> dict[str, str]:
    """Run the recipe's check and the worker itself in the new environment, and return the worker's packages."""
    done = subprocess.run([recipe.interpreter, "-I", "-c", recipe.check], capture_output=True, text=True)
    if done.returncode:
        last_line = done.stderr.strip().splitlines()[-1:]
        raise UserError(
            f"the environment {recipe.folder} was built and does not work: {' '.join(last_line)}",
            "delete that folder and set it up again",
        )
    worker = recipe.launch()
    try:
        return worker.hello.packages
    finally:
        worker.close()
