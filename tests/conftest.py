"""What several rooms' tests need."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tiny_kandinsky import save_tiny_kandinsky
from tiny_scorers import save_tiny_clip, save_tiny_vqa

# Time is judged by benchmarks, not by tests: a busy machine must not fail them.
settings.register_profile("bench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bench")


@pytest.fixture(scope="session")
def paper_datasets() -> Path:
    """The folder of the paper's four prompt files, ``$BENCH_DATASETS``."""
    folder = os.environ.get("BENCH_DATASETS")
    if not folder or not (Path(folder) / "animals.npy").is_file():
        pytest.skip("set BENCH_DATASETS to the folder that holds the paper's prompt files")
    return Path(folder)


@dataclass(frozen=True)
class Tiny:
    """Random-weight checkpoints that sweep in a second: a Kandinsky 2.2 and two scorers."""

    model: Path
    vqa: Path
    clip: Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("tiny")
    return Tiny(
        save_tiny_kandinsky(folder / "kandinsky", variance_type="fixed_small", clip_sample=False),
        save_tiny_vqa(folder / "vqa"),
        save_tiny_clip(folder / "clip"),
    )


@dataclass(frozen=True)
class StandIn:
    """The worker t2v, set up, and a checkpoint for it: not a scorer, see tests/metrics/workers/stand_in.py."""

    recipe: Path
    script: Path
    checkpoint: Path


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """In place of the recipes that there are, one whose script is the stand-in, and its finished environment."""
    from metrics.recipes import READY, Recipe

    here = Path(__file__).parent / "metrics" / "workers"
    recipes, checkpoint = tmp_path / "recipes", tmp_path / "checkpoint"
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("metrics.recipes.FOLDER", recipes)
    recipes.mkdir()
    checkpoint.mkdir()
    (recipes / "t2v.toml").write_bytes((here / "stand_in.toml").read_bytes())
    (recipes / "t2v.py").symlink_to(here / "stand_in.py")
    recipe = Recipe.read(recipes / "t2v.toml")
    recipe.interpreter.parent.mkdir(parents=True)
    recipe.interpreter.symlink_to(sys.executable)
    (recipe.folder / READY).write_text("{}")
    return StandIn(recipes / "t2v.toml", recipes / "t2v.py", checkpoint)


class Clock:
    """The time, and how much later a test lets it be."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read, self.later = read, 0.0

    def __call__(self) -> float:
        return self._read() + self.later


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time that a test can let pass at once."""
    there = Clock(time.perf_counter)
    monkeypatch.setattr(time, "perf_counter", there)
    return there


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pin", action="store_true", help="write what tests/bench/test_golden.py pins anew")
