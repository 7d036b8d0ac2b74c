"""Variations of a sweep: every cell with one setting changed against the others."""

from itertools import groupby

import pytest

from common.errors import UserError
from sweeps.grid import cells
from sweeps.record import BASE, CellConfig
from sweeps.spec import SweepSpec, make_spec

GIVEN = {"model": "mini-sd", "prompt": ["a red circle", "a blue square"], "steps": 4, "tau": "0,1", "seed": "1,2"}
WITH = "guidance-interval=0.5..1,denoiser_cache=pyramid-attention,dtype=bf16"


def test_each_changes_one_setting_and_has_none_of_the_others() -> None:
    spec = make_spec([{**GIVEN, "variations": WITH}])
    varied = dict(spec.varied())
    assert list(varied) == [BASE, "guidance-interval=0.5..1", "denoiser-cache=pyramid-attention", "dtype=bf16"]
    base = varied[BASE].model_dump()
    for text, one in varied.items():
        differs = {name for name, value in one.model_dump().items() if value != base[name]}
        assert differs == ({text.partition("=")[0].replace("-", "_")} if text != BASE else set())


def test_a_file_of_the_spec_makes_it_again_and_a_spec_without_is_named_as_before() -> None:
    spec = make_spec([{**GIVEN, "variations": WITH}])
    assert SweepSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert "variations" not in make_spec([GIVEN]).changes_result()
    assert spec.default_name() != make_spec([GIVEN]).default_name()


def test_cells_of_one_source_stand_together_and_none_is_made_twice() -> None:
    found = cells(make_spec([{**GIVEN, "variations": WITH}]), "cpu")
    assert len({cell.id for cell in found}) == len(found) == 4 * 2 * 2
    sources = [key for key, _ in groupby(cell.source.key for cell in found)]
    assert len(sources) == len(set(sources)) == 3 * 2, "a denoiser cache has the base's"
    assert {cell.config.variation for cell in found} == {text for text, _ in make_spec([{"variations": WITH}]).varied()}
    plain = cells(make_spec([GIVEN]), "cpu")
    assert {cell.id for cell in plain} == {cell.id for cell in found if cell.config.variation == BASE}


def test_what_changes_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="steps=4 changes nothing"):
        cells(make_spec([{**GIVEN, "variations": "steps=4"}]), "cpu")


def test_records_say_it_only_where_there_is_one() -> None:
    (cell, *_) = cells(make_spec([GIVEN]), "cpu")
    assert "variation" not in cell.config.model_dump(mode="json")
    varied = cell.config.model_copy(update={"variation": "dtype=bf16"})
    assert CellConfig.model_validate(varied.model_dump(mode="json")) == varied
    assert CellConfig.model_validate(cell.config.model_dump(mode="json")).variation == BASE
