"""Recipes of workers: what is read, and what is refused by its path."""

import pytest

from common.errors import UserError
from metrics.recipes import recipe, recipes


def test_another_recipe_has_another_environment(stand_in):
    assert recipe("t2v").unavailable() is None
    stand_in.recipe.write_text(stand_in.recipe.read_text().replace("a-package==1", "a-package==2"))
    assert recipe("t2v").unavailable()


def test_the_shipped_recipe_is_read():
    shipped = recipes()["t2v"]
    assert "t2v-metrics==1.2" in shipped.requirements
    assert shipped.setup == "vqa"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("setup = ", "is no worker's recipe"),
        ('setup = "vqa"', "is no worker's recipe.*about"),
        ('colour = "red"\n', "is no worker's recipe.*colour"),
    ],
)
def test_what_is_no_recipe_is_refused_by_its_path(stand_in, text, says):
    whole = stand_in.recipe.read_text() if "colour" in text else ""
    stand_in.recipe.write_text(text + whole)
    with pytest.raises(UserError, match=f"t2v.toml {says}"):
        recipes()


def test_a_recipe_without_its_script_is_refused(stand_in):
    stand_in.script.unlink()
    with pytest.raises(UserError, match=r"has no script t2v\.py beside it"):
        recipe("t2v")


def test_an_unknown_worker_names_the_nearest(stand_in):
    with pytest.raises(UserError, match="t2v"):
        recipe("t3v")
