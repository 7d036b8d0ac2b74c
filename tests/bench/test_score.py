"""`bench score`: pictures that exist, scored by several scorers; none is made."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="session")
def other_vqa(tiny, tmp_path_factory) -> Path:
    """A scorer of other opinions than `tiny.vqa`."""
    folder = tmp_path_factory.mktemp("scorers") / "Other.VQA"
    shutil.copytree(tiny.vqa, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: value * 1.3 for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def swept(bench, tiny, tiny_sweep):
    """Sweep the tiny model into `runs/run` with these further arguments; its arguments, to sweep again."""
    def sweep(*more):
        arguments = [*tiny_sweep[: tiny_sweep.index("--metric")], "--no-mlflow", "--tau", "0,0.6", "--name", "run", *more]
        result = bench(*arguments)
        assert result.exit_code == 0, result.output
        return arguments
    return sweep


def test_first(bench, swept, tiny, other_vqa, tmp_path):
    arguments = swept("--metric", f"vqa={tiny.vqa}")
    result = bench("score", "runs/run", "--metric", f"vqa={other_vqa}", "--metric", f"clip_diversity={tiny.clip}")
    print(result.output)
    assert result.exit_code == 0, result.output
    again = bench(*arguments)
    print(again.stderr)
    assert 0
