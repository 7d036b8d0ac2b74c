"""Plug-ins: one class a file, found by name; other packages add theirs through entry points.

The idea of "one class a file, no registry to edit" is benchopt's.
"""

import importlib
import inspect
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, ClassVar, TypeGuard, TypeVar, cast

from common.errors import UserError, nearest


class Plugin:
    """Something found by name: a strategy, schedule, family, combiner, metric or figure."""

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1

    @classmethod
    def unavailable(cls) -> str | None:
        """Why this cannot run here (a missing extra, weights, GPU) and what to do; None if it can."""
        return None

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]


P = TypeVar("P", bound=Plugin)


def discover(package: str, base: type[P], group: str | tuple[str, ...]) -> dict[str, type[P]]:
    """Every named subclass of `base`, by name.

    Args:
        package: the package whose modules hold one plug-in each, e.g. ``"generators.strategies"``.
        base: the class they derive from.
        group: the entry-point group of other packages' plug-ins, e.g. ``"reusebench.strategies"``;
            several, where it had another name before.

    Raises:
        UserError: two plug-ins have one name, one cannot be imported, or an entry point is not a subclass of `base`.
    """
    found: dict[str, type[P]] = _discover(package, cast(Any, base), group)
    return found


@cache
def _discover(package: str, base: Any, group: str | tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def named(value: Any) -> TypeGuard[type[Plugin]]:
        return isinstance(value, type) and issubclass(value, base) and bool(getattr(value, "name", ""))

    def add(plugin: type[Plugin], where: str) -> None:
        if plugin.name in found and found[plugin.name] is not plugin:
            raise UserError(f"two plug-ins are called {plugin.name!r}: the second is in {where}", "rename one of them")
        found[plugin.name] = plugin

    for module_info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = _imported(f"{package}.{module_info.name}")
        for value in vars(module).values():
            if named(value) and value.__module__ == module.__name__:
                add(value, module.__name__)
    groups = (group,) if isinstance(group, str) else group
    for point in (point for name in groups for point in entry_points(group=name)):
        plugin = loaded(point)
        if not named(plugin):
            raise UserError(f"the entry point {point.value!r} of {point.group} is not a named {base.__name__} class")
        add(plugin, point.value)
    return dict(sorted(found.items()))


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a module may raise anything
        raise UserError(f"cannot import the plug-in {name}: {_said(error)}", "mend or remove it") from error


def loaded(point: EntryPoint) -> Any:
    """What an entry point of another package names.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        return point.load()
    except Exception as error:  # a module may raise anything
        where = f"{point.value!r} ({point.group})"
        raise UserError(
            f"cannot load the plug-in {where}: {_said(error)}", "update or uninstall its package"
        ) from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def find(name: str, package: str, base: type[P], group: str) -> type[P]:
    """The plug-in called `name`.

    Raises:
        UserError: there is none; the nearest name is in the hint.
    """
    known = discover(package, base, group)
    if name not in known:
        raise UserError(f"unknown {base.__name__.lower()} {name!r}", nearest(name, known))
    return known[name]
