"""Sweeps of a tiny model, in this process."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from sweeping import surroundings, sweep, tiny_spec  # noqa: F401 - fixtures

from sweeps.record import Record


@dataclass(frozen=True)
class Whole:
    """A sweep that nothing disturbed."""

    run: Path
    records: list[Record]


@pytest.fixture(scope="session")
def whole(sweep, tmp_path_factory: pytest.TempPathFactory) -> Whole:  # noqa: F811
    """The default tiny sweep; not to be changed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return Whole(run, sweep(run))


@pytest.fixture
def copy(whole, tmp_path: Path) -> Path:
    """That sweep's folder to do harm to; links to standard's pictures are links there too."""
    subprocess.run(["cp", "-a", str(whole.run), str(tmp_path / "run")], check=True)
    return tmp_path / "run"
