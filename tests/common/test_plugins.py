import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from common.errors import UserError, nearest
from common.plugins import Plugin, discover, find


class Shape(Plugin):
    """A base for these tests."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A package of two plug-ins, one a file, and one class without a name."""
    name = f"shapes_{abs(hash(request.node.name))}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").touch()
    sys.modules["shape_base_for_tests"] = sys.modules[__name__]
    for shape in ("circle", "square"):
        (folder / f"{shape}.py").write_text(
            "from shape_base_for_tests import Shape\n\n"
            f"class {shape.title()}(Shape):\n    '''A {shape}.'''\n    name = '{shape}'\n"
        )
    (folder / "base.py").write_text("from shape_base_for_tests import Shape\n\nclass Abstract(Shape): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_one_class_a_file_is_found_by_its_name(package: str) -> None:
    known = discover(package, Shape, "reusebench.tests")
    assert list(known) == ["circle", "square"]
    assert known["circle"].summary() == "A circle."


def test_an_unknown_name_is_answered_with_the_nearest(package: str) -> None:
    with pytest.raises(UserError, match=r"unknown shape 'cirle'.*did you mean 'circle'"):
        find("cirle", package, Shape, "reusebench.tests")


def test_two_plugins_of_one_name_are_refused(package: str, tmp_path: Path) -> None:
    (tmp_path / package / "again.py").write_text(
        "from shape_base_for_tests import Shape\n\nclass Again(Shape):\n    name = 'circle'\n"
    )
    with pytest.raises(UserError, match="two plug-ins are called 'circle'"):
        discover(package, Shape, "reusebench.tests")


def test_without_a_near_name_all_are_listed() -> None:
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


def test_a_plugin_that_cannot_be_imported_is_named(package: str, tmp_path: Path) -> None:
    (tmp_path / package / "torus.py").write_text("import not_installed_here\n")
    with pytest.raises(
        UserError, match=rf"{package}\.torus: ModuleNotFoundError: No module named 'not_installed_here'"
    ):
        discover(package, Shape, "reusebench.tests")


def test_an_entry_point_that_cannot_be_loaded_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("torus", "not_installed_here:Torus", "reusebench.tests")
    monkeypatch.setattr("common.plugins.entry_points", lambda group: [point])
    with pytest.raises(UserError, match=r"'not_installed_here:Torus' \(reusebench\.tests\): ModuleNotFoundError"):
        discover(package, Shape, "reusebench.tests")
