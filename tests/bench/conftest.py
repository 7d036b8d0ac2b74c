"""The command line, in this process and in others."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from bench.main import app

Bench = Callable[..., Result]
Start = Callable[..., subprocess.Popen]


@pytest.fixture(autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder and a cache of the tests' own; small matrices are slower on several threads."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("REUSEBENCH_PROGRESS_SECONDS", "0")  # lines that come with time are no test's but their own
    for name in ("TRACKING_URI", "EXPERIMENT_NAME", "EXPERIMENT_ID"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)


@pytest.fixture
def all_figures() -> None:
    """The test looks at a report's figures."""


@pytest.fixture(autouse=True)
def one_figure(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the time line alone unless `all_figures` is requested: drawing is most of a small sweep's time."""
    if "all_figures" not in request.fixturenames:
        from reports.base import figures

        monkeypatch.setattr("reports.render.figures", lambda: {"timeline": figures()["timeline"]})


@pytest.fixture
def bench() -> Bench:
    """Run `bench` with these arguments in this process."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def start() -> Start:
    """Start `bench` with these arguments in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}

    def started(*arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "bench.main", *map(str, arguments)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return started


@pytest.fixture
def tiny_sweep(tiny) -> list[object]:
    """The arguments of a sweep of four prompts on the tiny model, without taus, scores or MLflow."""
    prompts = ["a red fox", "a red wolf", "a blue car", "a blue van"]
    given = [argument for prompt in prompts for argument in ("--prompt", prompt)]
    return ["sweep", "--model", tiny.model, *given, "--steps", 3, "--prior-steps", 2, "--metric", "none", "--no-mlflow"]
