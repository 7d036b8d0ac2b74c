"""Recipes of workers: the environment that a scorer needs that cannot live in ours, and the script that runs in it."""

import sys
import tomllib
from datetime import date
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import NotHereError, UserError
from common.files import cache_dir, canonical_json, parse_json, sha256_text
from common.plugins import loaded, skip, unknown
from metrics.worker import Worker

FOLDER = Path(__file__).parent / "workers"
GROUP = "reusebench.workers"
READY = "ready.json"


class Recipe(BaseModel):
    """A worker: ``<name>.toml`` with these fields, and its script ``<name>.py`` beside it.

    Attributes:
        name: the worker's, which is the file's.
        script: ``<name>.py``.
        setup: its name for `bench setup`.
        about: one line.
        disk_gb: gigabytes of disk that the environment takes.
        python: version of the environment's Python.
        exclude_newer: packages uploaded after this day do not exist for it, so that it can be built the same years on.
        requirements: as pip writes them.
        build_constraints: of what builds source distributions.
        check: Python that runs in the finished environment, and raises if it is no good.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    script: Path
    setup: str
    about: str
    disk_gb: float
    python: str
    exclude_newer: date
    requirements: tuple[str, ...]
    build_constraints: tuple[str, ...] = ()
    check: str

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """Return the recipe in a file.

        Raises:
            UserError: the file is no recipe, or its script is missing.
        """
        script = path.with_suffix(".py")
        try:
            recipe = cls(name=path.stem, script=script, **tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            mistake = error.errors()[0] if isinstance(error, ValidationError) else error
            raise UserError(f"{path} is no worker's recipe: {mistake}", "see docs/workers.md") from error
        if not script.is_file():
            raise UserError(f"the recipe {path} has no script {script.name} beside it", "see docs/workers.md")
        return recipe

    @property
    def folder(self) -> Path:
        """Folder of the environment, in the cache: another recipe has another, so none changes under a worker."""
        contents = self.model_dump(
            mode="json", include={"python", "exclude_newer", "requirements", "build_constraints"}
        )
        return cache_dir() / "workers" / f"{self.name}-{sha256_text(canonical_json(contents))[:12]}"

    @property
    def interpreter(self) -> Path:
        """The environment's Python."""
        return self.folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    def packages(self) -> dict[str, str] | None:
        """Return the worker's packages as of when its environment was finished; None where it is not."""
        if not self.interpreter.exists():
            return None
        try:
            packages: dict[str, Any] = parse_json((self.folder / READY).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return packages

    def unavailable(self) -> str | None:
        """Return the reason why the worker cannot run here, and what to do; None if it can."""
        if self.packages() is not None:
            return None
        return f"its environment is not set up, run `bench setup {self.setup}` ({self.disk_gb:g} GB of disk)"

    def start(self) -> Worker:
        """Return the worker, running, isolated from this environment's variables and packages.

        Raises:
            UserError: its environment is not set up, or as `Worker`.
        """
        if reason := self.unavailable():
            raise NotHereError(
                f"cannot start the worker {self.name}: {reason}", "the same command continues after that"
            )
        return self.launch()

    def launch(self) -> Worker:
        """Return the worker, running, in an environment that may be unfinished.

        Raises:
            UserError: as `Worker`.
        """
        return Worker(self.name, [str(self.interpreter), "-I", str(self.script)])


def recipes() -> dict[str, Recipe]:
    """Return every recipe by its worker's name: those here, and those whose file a package's entry point names.

    Examples:
        >>> recipes()["t2v"].setup, recipes()["t2v"].python
        ('vqa', '3.11')
    """
    known = {path.stem: Recipe.read(path) for path in FOLDER.glob("*.toml")}
    for point in entry_points(group=GROUP):
        try:
            recipe = Recipe.read(Path(str(loaded(point))))
            if recipe.name in known:
                raise UserError(f"another worker is called {recipe.name!r}")
            known[recipe.name] = recipe
        except UserError as error:
            skip(GROUP, point.name, point.value, error.message)
    return dict(sorted(known.items()))


def recipe(name: str) -> Recipe:
    """Return the recipe of the worker called `name`.

    Raises:
        UserError: there is none; the nearest name is in the hint.

    Examples:
        >>> recipe("t2v").script.name
        't2v.py'
    """
    known = recipes()
    if name not in known:
        raise unknown("worker", name, known, GROUP)
    return known[name]
