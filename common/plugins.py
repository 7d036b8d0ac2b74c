"""Plug-ins: one class a file, found by name; other packages add theirs through entry points.

The idea of "one class a file, no registry to edit" is benchopt's.
"""

import importlib
import inspect
import logging
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points, packages_distributions
from pathlib import Path
from typing import Any, ClassVar, TypeGuard, TypeVar, cast

from common.errors import UserError, nearest
from common.files import sha256_file

LOG = logging.getLogger("reusebench")
# Our own code is known by its commit or version, which every record has; it needs no provenance beside that.
OWN_PACKAGES = ("bench", "common", "generators", "metrics", "miniature", "reports", "reusebench", "sweeps")
MEND = "update or uninstall its package"


class Plugin:
    """Something found by name: a strategy, schedule, family, combiner, metric or figure."""

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why this cannot run here (a missing extra, weights, GPU) and what to do; None if it can."""
        return None

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]

    @classmethod
    def provenance(cls) -> dict[str, str]:
        """Return where the code of somebody else's plug-in comes from, for records; nothing for our own.

        Returns:
            ``class`` (as ``module:Class``), ``sha256`` of the source file that defines it (absent where there is
            none, as in an interactive session), and the ``distribution`` and its ``version`` where one installed it.
        """
        package = cls.__module__.partition(".")[0]
        if package in OWN_PACKAGES:
            return {}
        origin = {"class": f"{cls.__module__}:{cls.__qualname__}"}
        path = getattr(sys.modules.get(cls.__module__), "__file__", None)
        if path is None or not Path(path).is_file():
            return origin
        return origin | {"sha256": sha256_file(Path(path))} | _installed_by(package, Path(path))


P = TypeVar("P", bound=Plugin)


@dataclass(frozen=True)
class Skipped:
    """A plug-in that cannot be used.

    Attributes:
        group: the entry-point group of its kind.
        name: of its entry point or module, by which a user would ask for it.
        where: its module, or the object that its entry point names.
        reason: why it is skipped, in one line.
    """

    group: str
    name: str
    where: str
    reason: str


_skipped: dict[tuple[str, str], Skipped] = {}


def skip(group: str, name: str, where: str, reason: str) -> None:
    """Go on without a plug-in: remember why, and warn the first time in this process."""
    plugin = Skipped(group, name, where, " ".join(reason.split()))
    if _skipped.setdefault((group, where), plugin) is plugin:
        LOG.warning("the plug-in %s (%s) is skipped: %s", where, group, plugin.reason)


def skipped() -> list[Skipped]:
    """Return the plug-ins that were skipped so far, of the kinds that were looked for so far."""
    return list(_skipped.values())


def discover(package: str, base: type[P], group: str | tuple[str, ...]) -> dict[str, type[P]]:
    """Return every named subclass of `base`, by name; what cannot be loaded is skipped with a warning.

    Args:
        package: the package whose modules hold one plug-in each, e.g. ``"generators.strategies"``.
        base: the class they derive from.
        group: the entry-point group of other packages' plug-ins, e.g. ``"reusebench.strategies"``; several, where it
            had another name before.
    """
    plugins: dict[str, type[P]] = _discover(package, cast(Any, base), _several(group))
    return plugins


def _several(group: str | tuple[str, ...]) -> tuple[str, ...]:
    return (group,) if isinstance(group, str) else group


@cache
def _discover(package: str, base: Any, groups: tuple[str, ...]) -> dict[str, Any]:
    plugins: dict[str, Any] = {}

    def named(value: Any) -> TypeGuard[type[Plugin]]:
        return isinstance(value, type) and issubclass(value, base) and bool(getattr(value, "name", ""))

    def add(plugin: type[Plugin], group: str, where: str) -> None:
        first = plugins.setdefault(plugin.name, plugin)
        if first is not plugin:
            reason = f"{plugin.name!r} is the name of {first.__module__}:{first.__qualname__} already"
            skip(group, plugin.name, where, reason)

    for module_info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        where = f"{package}.{module_info.name}"
        try:
            module = importlib.import_module(where)
        except (Exception, SystemExit) as error:  # a module may raise anything
            skip(groups[0], module_info.name.replace("_", "-"), where, _first_line(error))
            continue
        for value in vars(module).values():
            if named(value) and value.__module__ == where:
                add(value, groups[0], where)
    for point in (point for group in groups for point in entry_points(group=group)):
        try:
            plugin = loaded(point)
        except UserError as error:
            skip(point.group, point.name, point.value, error.message)
            continue
        if named(plugin):
            add(plugin, point.group, point.value)
        else:
            skip(point.group, point.name, point.value, f"it is not a named {base.__name__} class")
    return dict(sorted(plugins.items()))


def loaded(point: EntryPoint) -> Any:
    """Return what an entry point of another package names.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # a module may raise anything
        raise UserError(_first_line(error), MEND) from error


@contextmanager
def no_exit() -> Iterator[None]:
    """Raise a UserError where the block ends the process: a plug-in's `sys.exit` is its failure, not the command's end.

    Examples:
        >>> try:
        ...     with no_exit():
        ...         sys.exit("no licence")
        ... except UserError as error:
        ...     print(error.message)
        a plug-in or a library tried to end the process: sys.exit('no licence')
    """
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich's answer to a reader that has gone
            raise error.__context__ from None
        what = f"a plug-in or a library tried to end the process: sys.exit({error.code!r})"
        raise UserError(what, "have it raise an error instead") from error


def imported(place: str) -> Any:
    """Return the object at ``module:Object``; its module may lie in the working folder, as for ``python -m``.

    Raises:
        UserError: it cannot be imported.
    """
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return loaded(EntryPoint(place, place, ""))
    except UserError as error:
        hint = "modules are looked for in this folder and among installed packages"
        raise UserError(f"cannot load {place}: {error.message}", hint) from error
    finally:
        sys.path.remove(here)
        if here not in sys.path:  # what its functions import later is found too, but hides no installed package
            sys.path.append(here)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def find(name: str, package: str, base: type[P], group: str | tuple[str, ...]) -> type[P]:
    """Return the plug-in called `name`; one in a module of its own name is found without importing the others.

    Raises:
        UserError: as `unknown` says.
    """
    if own := _in_its_module(name, package, base):
        return own
    known = discover(package, base, group)
    if name not in known:
        kind = re.sub(r"(?<!^)(?=[A-Z])", " ", base.__name__).lower()  # TextEncoder: a text encoder
        raise unknown(kind, name, known, group)
    return known[name]


def _in_its_module(name: str, package: str, base: type[P]) -> type[P] | None:
    """Return the plug-in that lies where its name says: ``ward-cosine`` in ``ward_cosine``."""
    where = f"{package}.{name.replace('-', '_')}"
    try:
        module = importlib.import_module(where) if name.replace("-", "_").isidentifier() else None
    except (Exception, SystemExit):  # discovery tells what is wrong with it
        return None
    values = vars(module).values() if module else ()
    return next((v for v in values if isinstance(v, type) and issubclass(v, base) and v.name == name), None)


def unknown(kind: str, name: str, known: Iterable[str], group: str | tuple[str, ...]) -> UserError:
    """Return what to raise where no plug-in has a name: why it was skipped, if it was, else the nearest name."""
    for plugin in skipped():
        if plugin.group in _several(group) and plugin.name == name:
            return UserError(f"the {kind} {name!r} ({plugin.where}) cannot be loaded: {plugin.reason}", MEND)
    return UserError(f"unknown {kind} {name!r}", nearest(name, known))


def code_change(kept: Mapping[str, str], present: Mapping[str, str], cell: str) -> str | None:
    """Return the note that a kept cell was made with other code of somebody else's plug-in; None if it was not.

    Args:
        kept: the plug-in's `Plugin.provenance` as recorded; empty of our own, and in records older than provenance.
        present: its provenance now.
        cell: the id of the kept cell.

    Examples:
        >>> old, new = {"class": "mine:Halves", "sha256": "ab"}, {"class": "mine:Halves", "sha256": "cd"}
        >>> code_change(old, new, "0123")
        'the code of mine:Halves changed since cell 0123 was made (pass --name for a new run, or bump its version)'
        >>> code_change({}, new, "0123") is None
        True
    """
    before, now = kept.get("sha256"), present.get("sha256")
    if before is None or now is None or before == now:
        return None
    what = f"the code of {present['class']} changed since cell {cell} was made"
    return f"{what} (pass --name for a new run, or bump its version)"


def _installed_by(package: str, path: Path) -> dict[str, str]:
    """Return the distribution that a module came with and its version; nothing for a module in somebody's folder."""
    for name in packages_distributions().get(package, ()):
        try:
            owner = distribution(name)
        except PackageNotFoundError:
            continue
        site = Path(str(owner.locate_file(""))).resolve()
        # pip notes in this file what it installed in editable mode, whose code lies elsewhere
        editable = '"editable": true' in (owner.read_text("direct_url.json") or "")
        if editable or path.resolve().is_relative_to(site):
            return {"distribution": name, "version": owner.version}
    return {}
