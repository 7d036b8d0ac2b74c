"""The published items, and that every item's sweep makes the cells of its rows."""

from decimal import Decimal

import pytest
import yaml

from common.errors import UserError
from generators.model_entry import models
from generators.prompts import prompt_sets
from reports.paper import A_MODELS_OWN, MINIATURE, Item, item, items
from sweeps.spec import SweepSpec, make_spec, read_preset

ITEMS = sorted(items())


def test_the_paper_s_tables_and_figures_are_there() -> None:
    assert {
        *("table1", "sd15", "flux", "clip-diversity", "fixed-compute"),
        *("coarse-to-fine", "mean-embedding", "birthday-hat", "try-on"),
    } == set(ITEMS)


def test_the_published_numbers_are_the_paper_s() -> None:
    """Spot checks by hand against the project page and the supplement."""
    table = {row.dataset: row for row in item("table1").rows}
    assert table["genai_bench"].published == {"savings": 0.5043, "vqa.win_rate_strict": 0.5075}
    assert {name: row.images for name, row in table.items()} == {
        "genai_bench": 1600,
        "prompt_templates": 2000,
        "style_variations": 100,
        "animals": 500,
    }
    assert [row.published["savings"] for row in item("sd15").rows] == [0.104, 0.2825, 0.2355, 0.117]
    assert [row.published for row in item("flux").rows] == [{"savings": 0.2373}]
    assert item("clip-diversity").rows[2].published["clip_diversity.clip_similarity"] == 0.8374


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_s_preset_makes_its_rows(name: str) -> None:
    one = item(name)
    spec = make_spec([read_preset(one.preset)])
    for row in one.rows:
        assert row.model in spec.model
        assert row.dataset in spec.dataset
        assert row.role == "sharing" or spec.equal_compute
    if one.which == "tau" and one.rows:
        assert Decimal(str(one.tau)) in spec.tau
    if one.which == "savings":
        assert len(spec.tau) > 4
    for axis, value in one.sharing.items():
        assert getattr(spec, axis) == (value,)
    assert one.source.startswith("https://arxiv.org/abs/2508.21032")


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_s_miniature_is_the_same_sweep_on_what_is_in_the_box(name: str) -> None:
    one = item(name)
    preset = read_preset(one.preset)
    mini, real = make_spec([one.mini(preset)]), make_spec([preset])
    assert mini.title == MINIATURE
    assert all(model.startswith("mini-") and model in models() for model in mini.model)
    assert all(name.startswith("mini_") and name in prompt_sets() for name in mini.dataset)
    kept = {"schedule", "strategy", "combiner", "seed", "seed_control", "equal_compute"}
    assert {axis: getattr(mini, axis) for axis in kept} == {axis: getattr(real, axis) for axis in kept}
    assert one.study or mini.noise == ("shared",), "one initial latent, as the released code"
    assert mini.guidance == mini.steps == ()
    assert mini.dtype is None


def test_a_model_s_own_settings_are_settings() -> None:
    assert set(SweepSpec.model_fields) >= A_MODELS_OWN


def test_what_has_no_miniature_is_named() -> None:
    with pytest.raises(UserError, match="'karlo' has no miniature"):
        item("table1").mini({"model": ["kandinsky-2.2", "karlo"], "dataset": "animals"})


def test_a_wrong_name_is_told_the_nearest() -> None:
    with pytest.raises(UserError, match="table1"):
        item("tabel1")


@pytest.mark.parametrize("wrong", ["tau: null", "which: steps", "miniature: {models: {}, datasets: {}}", "typo: 1"])
def test_a_description_that_cannot_be_used_is_refused(wrong: str) -> None:
    described = item("table1").model_dump() | yaml.safe_load(wrong)
    with pytest.raises(ValueError, match="validation error"):
        Item(**described)
