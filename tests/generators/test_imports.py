"""Who imports whom: nothing in a circle, and nothing that few runs need where every run comes by."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "generators").rglob("*.py")
}


def imported(name: str, *, at_once: bool = False) -> Iterator[str]:
    """The modules of the room that a module imports: anywhere in it, or `at_once`, when it is imported itself."""
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                target = f"{node.module}.{alias.name}"
                yield target if target in FILES else node.module


def reach(name: str) -> set[str]:
    found, waiting = set[str](), [name]
    while waiting:
        new = {target for target in imported(waiting.pop()) if target in FILES} - found
        found |= new
        waiting += new
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    reached = {name: reach(name) for name in FILES}
    circles = {frozenset(b for b in FILES if b in reached[a] and a in reached[b]) for a in FILES if a in reached[a]}
    assert circles == set()


ONLINE = ("arriving", "cache", "cachegenius", "chorus", "modm")  # strategies of prompts that arrive one after another


@pytest.mark.parametrize(
    ("rare", "may"),
    [
        (
            "generators.sharing.stream",
            {"generators.sharing.requests", *(f"generators.strategies.{name}" for name in ONLINE)},
        ),
        ("generators.strategies.cache", set()),
        ("generators.denoiser_caches.hooked", set()),
    ],
)
def test_what_few_runs_need_is_imported_by_none_of_the_others(rare: str, may: set[str]) -> None:
    assert {name for name in FILES if rare in imported(name, at_once=True)} == may
