"""The check that runs on a GPU machine runs here, at the miniature's size."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_check, random_models
from generators.catalogue import model
from generators.families.base import families, get_family, resolve_settings


def test_it_runs_end_to_end_and_keeps_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    asked = ["--miniature", "--model", "mini-kandinsky", "--device", "cpu", "--prompts", "8", "--steps", "4"]
    monkeypatch.setattr(sys, "argv", ["gpu_check", *asked, "--batches", "1", "4", "--out", str(tmp_path)])
    gpu_check.main()
    assert "of the steps saved" in capsys.readouterr().out
    (written,) = tmp_path.glob("*.json")
    kept = json.loads(written.read_text())
    (found,) = kept["results"]
    assert kept["machine"]["device"] == "cpu"
    assert 0.2 < found["step_savings"] < 0.8
    assert 0 < found["flop_savings"] < found["step_savings"]
    assert set(found["seconds_per_row"]) == {"1", "4"}
    assert found["flops_per_call"] > 1e8


@pytest.mark.parametrize("name", gpu_check.FULL_SIZE)
def test_conditioning_is_shaped_as_the_full_size_model_takes_it(name: str):
    entry = model(name)
    settings = resolve_settings(entry, {"dtype": "fp32"})
    made = random_models.random_conditioning(random_models.CASES[entry.family], entry, settings, 2).tensors
    widths = {tensor.shape[-1] for key, tensor in made.items() if not key.endswith(".mask")}
    expected = {
        "kandinsky-2.2": {1280},
        "karlo": {768},
        "sd15": {768},
        "flux-dev": {4096, 768},
    }
    assert widths == expected[name]
    assert all(len(tensor) == 2 for tensor in made.values())


def test_every_family_of_the_check_is_one():
    assert set(random_models.CASES) <= set(families())
    assert all(hasattr(get_family(name), case.pipeline) for name, case in random_models.CASES.items())
