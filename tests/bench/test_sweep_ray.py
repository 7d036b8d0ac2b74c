"""`bench sweep --executor ray`: the same pictures and tables as here, even if a worker is killed; what is refused."""

import os
import signal
import socket
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import psutil
import pytest

from generators.sharing.parts import parts
from generators.sharing.plan import SharingPlan
from sweeps.record import load_records

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'reusebench[ray]'")
PROMPTS = ("a red ball", "a red cube", "a blue ball", "a blue cube", "a green fish", "a green boat")
MINIATURE = (
    *("sweep", "--model", "mini-kandinsky", "--steps", 6, "--prior-steps", 3, "--tau", "0.6,1", "--metric", "vqa"),
    *("--batch-size", 1, "--no-mlflow", "--no-seed-control", "--out", "runs"),
    *(argument for prompt in PROMPTS for argument in ("--prompt", prompt)),
)
WORKERS = ("--executor", "ray", "--workers", 2)


class Killer(threading.Thread):
    """Kills, by SIGKILL, the first of this process's workers that is seen denoising a part of a plan."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.killed: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set() and not self.killed:
            for process in psutil.Process().children(recursive=True):
                try:
                    at_work = "ray::Worker.part" in " ".join(process.cmdline())
                except psutil.Error:
                    continue
                if at_work:
                    os.kill(process.pid, signal.SIGKILL)
                    self.killed.append(process.pid)
                    break
            time.sleep(0.02)


def tables(run: Path) -> dict[str, pd.DataFrame]:
    """All tables, but for what took how long."""
    paths = sorted((run / "report" / "tables").glob("*.csv"))
    found = {path.stem: pd.read_csv(path) for path in paths if path.stem not in ("cost", "pace", "timeline")}
    return {name: table[[c for c in table if "second" not in c and "wall" not in c]] for name, table in found.items()}


def pictures(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("images/*.png"))}


@needs_ray
def test_with_a_worker_killed_in_mid_cell_pictures_and_tables_are_those_of_one_process(bench, tmp_path):
    killer = Killer()
    killer.start()
    far = bench(*MINIATURE, "--name", "far", *WORKERS, "--store", f"file://{tmp_path}/store")
    killer.over.set()
    here = bench(*MINIATURE, "--name", "here")
    assert far.exit_code == here.exit_code == 0, far.output
    assert len(killer.killed) == 1, "a worker died"
    far, here = Path("runs/far"), Path("runs/here")
    assert pictures(far) == pictures(here)
    assert len(pictures(here)) == 3 * len(PROMPTS)
    ours, theirs = tables(here), tables(far)
    assert ours.keys() == theirs.keys() >= {"summary"}
    for name, table in ours.items():
        pd.testing.assert_frame_equal(table, theirs[name])
    for one, other in zip(load_records(here), load_records(far), strict=True):
        assert one.id == other.id
        assert one.results == other.results
        assert one.execution.rows == other.execution.rows, "nothing was counted twice"
        assert "2 Ray workers" in other.execution.notes[-1]
        plan = SharingPlan.load(other.folder(far) / "plan.npz")
        assert len(parts(plan, 2, plan.steps).trunks), "some of it was handed from worker to worker"
    (stored,) = (tmp_path / "store").iterdir()
    assert stored.name.endswith(".safetensors"), "what workers read, whole and alone"


@needs_ray
def test_what_fails_on_a_worker_is_told_as_if_it_had_failed_here(bench):
    result = bench(*MINIATURE, "--name", "lost", *WORKERS, "--store", "memory://of-this-process")
    assert result.exit_code == 1
    assert "a worker cannot read memory://of-this-process" in " ".join(result.output.split())
    for record in load_records(Path("runs/lost")):
        assert record.error.type == "UserError"
        assert "--store" in record.error.hint


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--workers", 2), "--workers means nothing to this process"),
        (("--address", "auto"), "--address means nothing to this process"),
        (("--executor", "rai"), "did you mean 'ray'?"),
    ],
)
def test_options_that_mean_nothing_are_refused(bench, tiny_sweep, options, told):
    result = bench(*tiny_sweep, "--tau", "1", *options)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())


def test_without_ray_it_says_how_to_get_it(bench, tiny_sweep, monkeypatch):
    monkeypatch.setattr("sweeps.executors.ray.find_spec", lambda name: None)
    result = bench(*tiny_sweep, "--tau", "1", "--executor", "ray")
    assert result.exit_code == 2
    assert "pip install 'reusebench[ray]'" in result.stderr


@needs_ray
def test_where_no_cluster_is_the_sweep_says_so_at_once(bench, tiny_sweep):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        result = bench(*tiny_sweep, "--tau", "1", "--executor", "ray", "--address", address)
    assert result.exit_code == 2
    assert f"no Ray at {address}" in " ".join(result.stderr.split())


@needs_ray
def test_what_one_process_alone_can_do_is_refused(bench, tiny_sweep):
    result = bench(*tiny_sweep, "--tau", "1", "--executor", "ray", "--energy")
    assert result.exit_code == 2
    assert "--energy" in result.stderr


@needs_ray
def test_workers_honour_each_prompts_own_seed_and_negative_prompt(bench, tiny, tmp_path):
    (tmp_path / "mine.csv").write_text(
        "prompt,seed,negative_prompt\na red ball,7,\na red cube,7,\na red ball,8,\na red ball,7,a tree\na blue ball,,\n"
    )
    asked = [
        "sweep",
        "--model",
        tiny.model,
        "--prompts",
        "mine.csv",
        "--tau",
        "0,100",
        "--steps",
        3,
        "--prior-steps",
        2,
    ]
    asked += ["--batch-size", 1, "--metric", "none", "--no-mlflow", "--no-seed-control"]
    far, here = bench(*asked, "--name", "far", *WORKERS), bench(*asked, "--name", "here")
    assert far.exit_code == here.exit_code == 0, far.output
    found = pictures(Path("runs/here"))
    assert pictures(Path("runs/far")) == found
    baseline = [content for name, content in found.items() if name.startswith("shared")]
    assert len(set(baseline)) == 5
