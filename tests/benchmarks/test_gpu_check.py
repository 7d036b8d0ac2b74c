"""The check that runs on a GPU machine runs here, at the miniature's size and on a simulated card."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from simulated_card import NAME, simulated_card
from tiny_pipelines import save_tiny_pipeline

from benchmarks import gpu_check, random_models
from generators.catalogue import model
from generators.families.base import families, get_family, resolve_settings
from generators.families.diffusers_pipeline import DiffusersPipeline


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the check and return what it wrote."""

    def run(*asked: Any) -> dict[str, Any]:
        few = ("--prompts", 8, "--steps", 4, "--batches", 1, 4, "--out", tmp_path / "out")
        monkeypatch.setattr(sys, "argv", ["gpu_check", *map(str, (*asked, *few))])
        with torch.no_grad():
            gpu_check.main()
        return written(tmp_path / "out")

    return run


def written(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.json")
    kept: dict[str, Any] = json.loads(path.read_text())
    return kept


def test_it_runs_end_to_end_and_keeps_what_it_measured(checked, capsys: pytest.CaptureFixture[str]):
    kept = checked("--miniature", "--model", "mini-kandinsky", "--device", "cpu")
    assert "of the steps saved" in capsys.readouterr().out
    (found,) = kept["results"]
    assert kept["machine"]["device"] == "cpu"
    assert 0.2 < found["step_savings"] < 0.8
    assert 0 < found["flop_savings"] < found["step_savings"]
    assert set(found["seconds_per_row"]) == {"1", "4"}
    assert found["flops_per_call"] > 1e8
    assert found["encode_seconds_per_prompt"] > 0
    assert found["decode_seconds_per_picture"] > 0
    assert found["load_seconds"] is None, "the weights are there"


def test_the_chosen_device_is_the_one_timed_with_a_sweeps_options(checked, tiny, monkeypatch):
    waited, synchronize = [], torch.cuda.synchronize
    with simulated_card() as card:
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: waited.append(str(device)))
        kept = checked("--model", tiny.model, "--device", "cuda:0")
        monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
        assert card.live < 100_000, "the model left"
    (found,) = kept["results"]
    assert kept["machine"]["accelerator"] == NAME
    assert set(waited) == {"cuda:0"}
    assert found["load_seconds"] > 0
    assert found["options"]["channels_last"], "as a sweep's default on CUDA"
    assert found["peak_bytes"] == pytest.approx(found["planned_bytes"], rel=0.5)


def test_results_are_written_after_every_model_and_one_too_large_is_left_out(checked, tiny, tmp_path, monkeypatch):
    small = save_tiny_pipeline("StableDiffusionXLPipeline", tmp_path / "xl")
    own, small_enough = gpu_check.check, gpu_check.too_small

    def check(name: str, *rest: Any) -> gpu_check.Result:
        if name == "broken":
            raise KeyError(name)
        return own(name, *rest)

    monkeypatch.setattr(gpu_check, "check", check)
    monkeypatch.setattr(gpu_check, "too_small", lambda name, *rest: name != "broken" and small_enough(name, *rest))
    with simulated_card(0.012), pytest.raises(KeyError):
        checked("--model", "kandinsky-2.2", "--model", small, "--model", "broken", "--device", "cuda:0")
    kept = written(tmp_path / "out")
    assert [found["model"] for found in kept["results"]] == [str(small)]
    (skipped,) = kept["skipped"]
    assert skipped["model"] == "kandinsky-2.2"
    assert "GiB with a row in a batch, and cuda:0 has 0.0" in skipped["reason"]


def test_a_model_that_runs_out_of_memory_all_the_same_is_left_out(checked, tiny, monkeypatch):
    monkeypatch.setattr(gpu_check, "too_small", lambda *_: None)
    with simulated_card(0.002):
        kept = checked("--model", tiny.model, "--device", "cuda:0")
    assert not kept["results"]
    assert kept["skipped"][0]["reason"] == "its memory ran out"


@pytest.mark.parametrize(
    ("name", "widths"),
    [("kandinsky-2.2", {1280}), ("karlo", {768}), ("sd15", {768}), ("flux-dev", {4096, 768, 3})],  # FLUX's ids: 3
)
def test_conditioning_is_shaped_as_the_full_size_model_takes_it(name: str, widths: set[int]):
    entry = model(name)
    settings = resolve_settings(entry, {"dtype": "fp32"})
    family = get_family(entry.family).load(entry, "cpu", "fp32")
    if isinstance(family, DiffusersPipeline):
        made = random_models.any_conditioning(family, settings, 2).tensors
    else:
        made = random_models.random_conditioning(random_models.CASES[entry.family], entry, settings, 2).tensors
    assert {tensor.shape[-1] for key, tensor in made.items() if not key.endswith(".mask")} == widths
    assert all(len(tensor) == 2 for tensor in made.values())


def test_every_family_of_the_check_is_one():
    assert set(random_models.CASES) <= set(families())
    assert all(hasattr(get_family(name), case.pipeline) for name, case in random_models.CASES.items())
