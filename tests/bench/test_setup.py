"""`bench setup`, and what other commands say of what is not set up."""

import re

import pytest


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    monkeypatch.setattr("generators.model_entry.ModelEntry.unavailable", lambda _: None)


def test_what_is_set_up_is_said_and_not_built_again(bench, stand_in):
    result = bench("setup", "vqa")
    assert result.exit_code == 0
    assert re.match(r"vqa: ready in .*/workers/t2v-[0-9a-f]{12}\n", result.stdout)
    assert re.search(r"ok +worker t2v", bench("doctor").stdout)


def test_a_name_that_nothing_has_is_one_line(bench, stand_in):
    result = bench("setup", "vqas")
    assert result.exit_code == 2
    assert result.stderr == "error: there is nothing to set up for 'vqas'\nhint: did you mean 'vqa'?\n"


def test_doctor_and_listing_say_what_is_not_set_up(bench):
    doctor = bench("doctor").stdout
    assert re.search(r"warn +worker t2v +not set up +-> .*bench setup vqa \(7 GB", doctor)
    assert "not set up" in bench("vqa-backends", "list", "--json").stdout
    assert bench("answerers", "list", "--json").stdout == bench("vqa-backends", "list", "--json").stdout


def test_a_sweep_that_needs_it_is_refused_before_anything_is_made(bench, tiny_sweep, tmp_path):
    asked = [argument if argument != "none" else "vqa=t2v:clip-flant5-xxl" for argument in tiny_sweep]
    result = bench(*asked, "--tau", "0")
    assert result.exit_code == 2
    error, hint = result.stderr.splitlines()
    assert error.startswith("error: VQAScore cannot ask t2v:clip-flant5-xxl here: ")
    assert "bench setup vqa" in error
    assert "--metric clip_diversity" in hint
    planned = bench(*asked, "--tau", "0", "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert "VQAScore cannot ask t2v:clip-flant5-xxl here: " in planned.stderr
    assert not (tmp_path / "runs").exists()
