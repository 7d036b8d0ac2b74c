"""docs/strategies.md names what there is."""

import re
from pathlib import Path

import pytest

from generators.combiners.base import combiners
from generators.sharing.schedule import schedules
from generators.strategies.base import strategies

PAGE = (Path(__file__).parents[3] / "docs" / "strategies.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(("title", "found"), [("Strategies", strategies), ("Combiners", combiners)])
def test_the_first_table_of_a_section_names_all_there_are(title: str, found) -> None:
    table = re.search(r"(?:^\|.*\n)+", section(title), flags=re.M)
    ours = {name for name, kind in found().items() if kind.__module__.startswith("generators.")}
    assert set(re.findall(r"^\| `([^`]+)`", table.group(), flags=re.M)) == ours


def test_schedules_are_named() -> None:
    assert set(re.findall(r"`([a-z0-9]+)` (?:is|the)", section("Schedules"))) >= set(schedules())
