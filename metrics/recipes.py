"""Recipes of workers: which environment a scorer that cannot live in ours needs, and the script that runs in it."""

import json
import sys
import tomllib
from datetime import date
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import UserError
from common.files import cache_dir, canonical_json, sha256_text
from common.plugins import loaded, skip, unknown
from metrics.worker import Worker

FOLDER = Path(__file__).parent / "workers"
GROUP = "reusebench.workers"
READY = "ready.json"


class Recipe(BaseModel):
    """A worker: ``<name>.toml`` with these fields, and its script ``<name>.py`` beside it.

    Attributes:
        setup: what `bench setup` calls it.
        about: one line.
        disk_gb: what the environment takes on disk.
        python: version of the environment's Python.
        exclude_newer: what packages were uploaded after this day do not exist for it.
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
        """Raises UserError if the file is no recipe, or its script is missing."""
        script = path.with_suffix(".py")
        try:
            recipe = cls(name=path.stem, script=script, **tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            said = error.errors()[0] if isinstance(error, ValidationError) else error
            raise UserError(f"{path} is no worker's recipe: {said}", "see docs/workers.md") from error
        if not script.is_file():
            raise UserError(f"the recipe {path} has no script {script.name} beside it", "see docs/workers.md")
        return recipe

    @property
    def folder(self) -> Path:
        """Of the environment, in the cache: another recipe has another folder."""
        decides = self.model_dump(mode="json", include={"python", "exclude_newer", "requirements", "build_constraints"})
        return cache_dir() / "workers" / f"{self.name}-{sha256_text(canonical_json(decides))[:12]}"

    @property
    def interpreter(self) -> Path:
        return self.folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    def packages(self) -> dict[str, str] | None:
        """What the worker said of its packages when its environment was finished; None where that is not so."""
        if not self.interpreter.exists():
            return None
        try:
            found: dict[str, Any] = json.loads((self.folder / READY).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found

    def unavailable(self) -> str | None:
        """Why the worker cannot run here, and what to do; None if it can."""
        if self.packages() is not None:
            return None
        return f"its environment is not set up, run `bench setup {self.setup}` ({self.disk_gb:g} GB of disk)"

    def start(self) -> Worker:
        """The worker, running: isolated from this environment's variables and packages.

        Raises:
            UserError: its environment is not set up, or as `Worker`.
        """
        if reason := self.unavailable():
            raise UserError(f"cannot start the worker {self.name}: {reason}", "the same command continues after that")
        return self.launch()

    def launch(self) -> Worker:
        """As `start`, in an environment that may be unfinished."""
        return Worker(self.name, [str(self.interpreter), "-I", str(self.script)])


def recipes() -> dict[str, Recipe]:
    """Return every recipe by its worker's name: those here, and those whose file a package's entry point names."""
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
        UserError: there is none.
    """
    known = recipes()
    if name not in known:
        raise unknown("worker", name, known, GROUP)
    return known[name]
