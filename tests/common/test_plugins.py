import sys
from importlib.metadata import EntryPoint, version
from pathlib import Path

import pytest

from common.errors import UserError, nearest
from common.plugins import Plugin, code_change, discover, find, skipped


class Shape(Plugin):
    """A base for these tests."""


class Hexagon(Shape):
    """Of another package."""

    name = "hexagon"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A package of two plug-ins, one a file, and one class without a name; nothing was skipped yet."""
    monkeypatch.setattr("common.plugins._skipped", {})
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


def test_the_second_of_two_plugins_of_one_name_is_skipped(package: str, tmp_path: Path, caplog) -> None:
    (tmp_path / package / "zoo.py").write_text(
        "from shape_base_for_tests import Shape\n\nclass Again(Shape):\n    name = 'circle'\n"
    )
    assert discover(package, Shape, "reusebench.tests")["circle"].summary() == "A circle."
    assert "'circle' is the name of" in caplog.text


def test_without_a_near_name_all_are_listed() -> None:
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


def test_a_module_that_raises_is_skipped_with_one_warning_and_its_reason_told_to_who_asks(
    package: str, tmp_path: Path, caplog
) -> None:
    (tmp_path / package / "flat_torus.py").write_text("import not_installed_here\n")
    for _ in range(2):
        assert list(discover(package, Shape, "reusebench.tests")) == ["circle", "square"]
    assert caplog.messages == [
        f"the plug-in {package}.flat_torus (reusebench.tests) is skipped: "
        "ModuleNotFoundError: No module named 'not_installed_here'"
    ]
    with pytest.raises(UserError, match=r"the shape 'flat-torus' .* cannot be loaded: ModuleNotFoundError"):
        find("flat-torus", package, Shape, "reusebench.tests")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("not_installed_here:Torus", "No module named 'not_installed_here'"),
        ("shape_base_for_tests:Torus", "has no attribute 'Torus'"),
        ("pathlib:Path", "it is not a named Shape class"),
        ("shape_that_exits:Torus", "SystemExit: 3"),
    ],
)
def test_an_entry_point_that_names_no_plugin_is_skipped(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog, value: str, reason: str
) -> None:
    (tmp_path / "shape_that_exits.py").write_text("raise SystemExit(3)")
    point = EntryPoint("torus", value, "reusebench.tests")
    monkeypatch.setattr("common.plugins.entry_points", lambda group: [point])
    assert list(discover(package, Shape, "reusebench.tests")) == ["circle", "square"]
    assert reason in caplog.text
    with pytest.raises(UserError, match=r"'torus'.* cannot be loaded") as error:
        find("torus", package, Shape, "reusebench.tests")
    assert reason in error.value.message
    assert [plugin.where for plugin in skipped()] == [value]


def test_a_kind_that_was_renamed_keeps_its_former_group(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {"reusebench.former": [EntryPoint("shape", f"{__name__}:Hexagon", "reusebench.former")]}
    monkeypatch.setitem(sys.modules, __name__, sys.modules["shape_base_for_tests"])
    monkeypatch.setattr("common.plugins.entry_points", lambda group: points.get(group, []))
    assert "hexagon" in discover(package, Shape, ("reusebench.tests", "reusebench.former"))


def test_the_code_of_a_foreign_plugin_has_a_provenance_that_follows_its_file(package: str, tmp_path: Path) -> None:
    circle = discover(package, Shape, "reusebench.tests")["circle"]
    first = circle.provenance()
    assert first["class"] == f"{package}.circle:Circle"
    assert "distribution" not in first, "it lies in a folder that nobody installed"
    path = tmp_path / package / "circle.py"
    path.write_text(path.read_text() + "# edited\n")
    note = code_change(first, circle.provenance(), "0123")
    assert note is not None
    assert note.startswith(f"the code of {package}.circle:Circle changed since cell 0123 was made")
    assert code_change(first, first, "0123") is None
    assert code_change({}, first, "0123") is None, "records older than provenance say nothing"


def test_our_own_plugins_are_known_by_the_commit_and_others_by_their_distribution() -> None:
    from generators.strategies.none import NoSharing

    assert NoSharing.provenance() == {}
    installed = type("Installed", (Shape,), {"__module__": "yaml", "name": "installed"}).provenance()
    assert (installed["distribution"].lower(), installed["version"]) == ("pyyaml", version("pyyaml"))
