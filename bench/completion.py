"""The names that shells complete values with: of models, strategies, prompt sets, read without importing them."""

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

NAME = re.compile(r'^    name(?:: ClassVar\[str\])? = "([^"]+)"', re.MULTILINE)
MODELS = re.compile(r"^  ([\w.-]+):$", re.MULTILINE)
# Of every kind of plug-in, the package whose modules hold one each, and the entry-point group of others'.
PLUGINS = {
    "strategies": ("generators.strategies", "reusebench.strategies"),
    "schedules": ("generators.sharing.schedules", "reusebench.schedules"),
    "combiners": ("generators.combiners", "reusebench.combiners"),
    "denoiser-caches": ("generators.denoiser_caches", "reusebench.denoiser_caches"),
    "encoders": ("generators.text_encoders", "reusebench.text_encoders"),
    "metrics": ("metrics", "reusebench.metrics"),
    "executors": ("sweeps.executors", "reusebench.executors"),
}
# Of what one YAML file each describes, the folder of these, and the entry-point group of others'.
FILES = {
    "datasets": ("generators", "prompt_sets", "reusebench.datasets"),
    "presets": ("sweeps", "presets", None),
    "items": ("reports", "published", None),
    "cards": ("tasks", "cards", None),
}
NONE = {"denoiser-caches", "metrics"}  # of which `none` is a name too


def names(kind: str) -> list[str]:
    """Return the names of a kind of thing, in order: of `PLUGINS`, `FILES`, or ``models``."""
    return sorted(set(_names(kind)))


def completer(kind: str) -> Callable[[str], list[str]]:
    """Return what completes an option's value with names of a kind; of values with commas, the last one."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in names(kind) if name.startswith(last)]

    return complete


def _names(kind: str) -> Iterator[str]:
    if kind == "models":
        catalogue = (_folder("generators") / "catalogue.yaml").read_text(encoding="utf-8")
        yield from MODELS.findall(catalogue.partition("\nmodels:\n")[2])
        return
    if kind in NONE:
        yield "none"
    if kind in FILES:
        package, folder, group = FILES[kind]
        yield from (path.stem for path in (_folder(package) / folder).glob("**/*.yaml"))
    else:
        package, group = PLUGINS[kind]
        for path in _folder(package).glob("*.py"):
            yield from NAME.findall(path.read_text(encoding="utf-8"))
    if group:
        from importlib.metadata import entry_points

        yield from (point.name for point in entry_points(group=group))


def _folder(package: str) -> Path:
    """Return where a package lies; of a package in another, without importing that either."""
    outer, *inner = package.split(".")
    spec = find_spec(outer)
    return Path(next(iter((spec and spec.submodule_search_locations) or ())), *inner)
