"""Sweeps of a tiny model, in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeps.events import Event
from sweeps.grid import cells
from sweeps.record import Record
from sweeps.runner import run_sweep
from sweeps.spec import SweepSpec, make_spec

PROMPTS = ["a red fox", "a red wolf", "a blue car", "a blue van"]

Sweep = Callable[..., list[Record]]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small matrices are slower on several."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests leave the user's cache alone."""
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tiny_spec(tiny) -> Callable[..., SweepSpec]:
    """The spec of four prompts, three steps, two taus, unless said otherwise."""
    defaults: dict[str, Any] = {
        "model": str(tiny.model),
        "prompt": PROMPTS,
        "steps": "3",
        "prior_steps": 2,
        "tau": "0,0.6",
        "metric": "none",
    }
    return lambda **settings: make_spec([defaults, settings])


@pytest.fixture
def sweep(tiny_spec) -> Sweep:
    """Run a sweep of the tiny model into a folder; `events` collects what happened."""

    def run(
        folder: Path, *, events: list[Event] | None = None, emit: Any = None, rescore: bool = False, **settings: Any
    ) -> list[Record]:
        spec = tiny_spec(**settings)
        heard = emit or ([] if events is None else events).append
        return run_sweep(spec, cells(spec, "cpu"), folder, device="cpu", emit=heard, rescore=rescore)

    return run
