"""A sweep that is killed while it denoises goes on from its last state, through the command line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rounding import same_but_for_rounding
from typer.testing import CliRunner

from bench.main import app

SUPPORT = Path(__file__).parents[1] / "support"
SWEEP = (
    "sweep", "--model", "mini-sd", "--limit", "4", "--tau", "0,0.6,1.2", "--steps", "6", "--metric", "none",
    "--no-mlflow", "--no-seed-control", "--save-every", "0", "--name", "run",
)  # fmt: skip


def sweep(out: Path, *more: str) -> str:
    result = CliRunner().invoke(app, [*SWEEP, *more, "--out", str(out)])
    assert result.exit_code == 0, result.output
    return result.stderr


def killed(out: Path, when: str, last: int, *more: str) -> None:
    command = [sys.executable, str(SUPPORT / "killed_bench.py"), when, str(last), *SWEEP, *more, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    assert subprocess.run(command, env=environment, capture_output=True).returncode == -signal.SIGKILL


def pictures(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("[0-9]*.png"))}


def states(out: Path) -> list[Path]:
    return sorted(out.rglob("state-*.safetensors"))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As the killed ones have: other numbers of threads may round otherwise."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed")
    sweep(out)
    assert states(out) == [], "states go when the pictures are there"
    return pictures(out)


def test_killed_between_two_states(tmp_path, undisturbed):
    killed(tmp_path, "between", 3)
    assert pictures(tmp_path) == {}
    assert [path.stem[-5:] for path in states(tmp_path)] == ["00002", "00003"]
    assert "resumed after step 3 of 7" in sweep(tmp_path)
    assert pictures(tmp_path) == undisturbed
    assert states(tmp_path) == []


def test_killed_inside_a_state(tmp_path, undisturbed):
    killed(tmp_path, "inside", 4)
    assert list(tmp_path.rglob(".state-*.tmp*")), "half a file is there, under another name"
    assert "resumed after step 3 of 7" in sweep(tmp_path)
    assert pictures(tmp_path) == undisturbed


def test_killed_with_everything_denoised_and_nothing_decoded(tmp_path, undisturbed):
    killed(tmp_path, "between", 7)
    assert "resumed after step 7 of 7" in sweep(tmp_path)
    assert pictures(tmp_path) == undisturbed


def test_a_damaged_state_is_noticed_and_the_one_before_used(tmp_path, undisturbed):
    killed(tmp_path, "between", 3)
    latest = states(tmp_path)[-1]
    content = bytearray(latest.read_bytes())
    content[-1] ^= 1
    latest.write_bytes(content)
    heard = sweep(tmp_path)
    assert f"{latest.name} cannot be used" in heard
    assert "resumed after step 2 of 7" in heard
    assert pictures(tmp_path) == undisturbed


def test_a_cell_by_itself_goes_on_too_and_is_what_it_is_with_others(tmp_path, undisturbed):
    killed(tmp_path, "between", 9, "--isolate")
    assert "resumed after step 2 of 7" in sweep(tmp_path, "--isolate"), "the second set of pictures"
    sweep(tmp_path / "undisturbed", "--isolate")
    ours, alone = pictures(tmp_path / "run"), pictures(tmp_path / "undisturbed/run")
    assert ours == alone
    together = {name.removeprefix("run/"): file for name, file in undisturbed.items()}
    assert together.keys() == alone.keys()
    assert same_but_for_rounding(together.values(), alone.values()), "denoised as one, or one by one"
