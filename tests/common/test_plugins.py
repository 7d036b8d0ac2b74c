import sys
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
