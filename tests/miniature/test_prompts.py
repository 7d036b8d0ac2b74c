from pathlib import Path

import pytest
import yaml

from miniature.prompts import SETS

FOLDER = Path(__file__).parents[2] / "generators" / "prompt_sets"


@pytest.mark.parametrize("name", SETS)
def test_the_committed_prompt_set_is_the_one_the_world_makes(name: str) -> None:
    stored = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert stored["prompts"] == SETS[name]()
    assert len(set(stored["prompts"])) == len(stored["prompts"])


def test_the_default_set_is_large_enough_to_say_something() -> None:
    assert len(SETS["mini_templates"]()) >= 96
