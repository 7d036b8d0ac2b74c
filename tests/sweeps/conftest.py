"""Sweeps of a tiny model, in this process."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sweeping import surroundings, tiny_spec  # noqa: F401 - fixtures

from sweeps.events import Event
from sweeps.passes import sweep as run_sweep
from sweeps.record import Record

Sweep = Callable[..., list[Record]]


@pytest.fixture(scope="session")
def sweep(tiny_spec) -> Sweep:  # noqa: F811
    """Run a sweep of the tiny model into a folder; `events` collects what happened."""

    def run(
        folder: Path, *, events: list[Event] | None = None, emit: Any = None, rescore: bool = False, **settings: Any
    ) -> list[Record]:
        spec = tiny_spec(**settings)
        heard = emit or ([] if events is None else events).append
        return run_sweep(spec, folder, device="cpu", emit=heard, rescore=rescore)

    return run


@dataclass(frozen=True)
class Whole:
    """A sweep that nothing disturbed."""

    run: Path
    records: list[Record]


@pytest.fixture(scope="session")
def whole(sweep, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The default tiny sweep; not to be changed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return Whole(run, sweep(run))


@pytest.fixture
def copy(whole, tmp_path: Path) -> Path:
    """That sweep's folder to do harm to; links to standard's pictures are links there too."""
    subprocess.run(["cp", "-a", str(whole.run), str(tmp_path / "run")], check=True)
    return tmp_path / "run"
