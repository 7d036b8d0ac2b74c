import re
from pathlib import Path

import pytest

from scripts.plant_faults import FAULTS, ROOT, Fault, check, failing


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_faults_text_is_in_one_place_and_its_tests_are_there(fault: Fault) -> None:
    assert (ROOT / fault.file).read_text(encoding="utf-8").count(fault.old) == 1
    assert fault.new != fault.old
    assert fault.tests
    for test in fault.tests:
        file, name = re.sub(r"\[.*", "", test).split("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_every_fault_has_a_name_of_its_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "adding.py").write_text("def add(a, b):\n    return a + b\n")
    (tmp_path / "test_adding.py").write_text(
        "import pytest\nfrom adding import add\n\n"
        "def test_sum():\n    assert add(2, 3) == 5\n\n"
        "@pytest.mark.parametrize('b', [0, 1])\ndef test_zero(b):\n    assert add(0, b) == b\n"
    )
    return tmp_path


def test_faults_are_told_as_caught_survived_or_stale_and_the_checkout_is_left_alone(checkout: Path) -> None:
    def fault(old: str, new: str, *tests: str) -> Fault:
        return Fault(new, "adding.py", old, new, tuple(f"test_adding.py::{test}" for test in tests))

    before = {path: path.read_bytes() for path in checkout.iterdir()}
    outcomes = check(
        [
            fault("a + b", "a * b", "test_sum", "test_zero"),
            fault("a + b", "a | b + 1 - 1", "test_sum"),
            fault("a + b", "a - -b", "test_sum"),
            fault("a + b", "2 * a + b", "test_sum", "test_zero"),
            fault("a + c", "a", "test_sum"),
        ],
        checkout,
        preloaded=["pytest"],
    )
    told = [(outcome.result, outcome.reason) for outcome in outcomes]
    assert [result for result, _ in told] == ["caught", "caught", "SURVIVED", "SURVIVED", "stale"]
    assert "assert 6 == 5" in told[0][1]
    assert told[3][1] == "test_adding.py::test_zero", "though its other test fails"
    assert {path: path.read_bytes() for path in checkout.iterdir()} == before


def test_what_fails_with_nothing_planted_and_what_cannot_run_is_told(checkout: Path) -> None:
    (checkout / "test_adding.py").write_text("def test_sum():\n    assert 1 == 2\n")
    assert failing(["test_adding.py::test_sum"], checkout, ["pytest"]) == {"test_adding.py::test_sum": "assert 1 == 2"}
    with pytest.raises(RuntimeError, match="cannot run"):
        failing(["test_adding.py::test_gone"], checkout, ["pytest"])
