"""Accelerators by name, and what was measured on them."""

import json
from pathlib import Path

import pytest

from common.errors import UserError
from sweeps.accelerators import accelerator, accelerators, measured_seconds


def results(folder: Path, name: str, accelerator: str, model: str, seconds: dict[str, float]) -> None:
    content = {"machine": {"accelerator": accelerator}, "results": [{"model": model, "seconds_per_row": seconds}]}
    (folder / name).write_text(json.dumps(content))


def test_an_accelerator_has_a_peak_and_says_from_where() -> None:
    assert {"h100", "h200", "a100"} <= set(accelerators())
    for known in accelerators().values():
        assert 1e14 < known.peak_flops < 1e16
        assert known.source
    assert accelerator("H100").peak_flops == pytest.approx(1979e12 / 2, rel=1e-3), "the datasheet's, without sparsity"


def test_a_wrong_accelerator_is_told_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'h100'"):
        accelerator("h101")


def test_what_was_measured_on_that_accelerator_for_that_model_is_found(tmp_path: Path) -> None:
    results(tmp_path, "a.json", "NVIDIA H200", "sd15", {"1": 0.05, "8": 0.02, "32": 0.03})
    results(tmp_path, "b.json", "NVIDIA H100 80GB HBM3", "sd15", {"1": 0.001})
    (tmp_path / "c.json").write_text(json.dumps([{"of": "another benchmark"}]))
    assert measured_seconds(accelerator("h200"), "sd15", tmp_path) == 0.02
    assert measured_seconds(accelerator("h100"), "sd15", tmp_path) == 0.001
    assert measured_seconds(accelerator("h100-pcie"), "sd15", tmp_path) is None
    assert measured_seconds(accelerator("h200"), "karlo", tmp_path) is None
    assert measured_seconds(accelerator("h200"), "sd15", tmp_path / "nowhere") is None


def test_damaged_measurements_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json"):
        measured_seconds(accelerator("h200"), "sd15", tmp_path)
