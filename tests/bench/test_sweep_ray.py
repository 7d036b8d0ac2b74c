"""`bench sweep` and `generate` on Ray's workers: the same pictures as here, whoever is killed; what is refused."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import psutil
import pytest

from common.errors import UserError
from generators.sharing.parts import parts
from generators.sharing.plan import SharingPlan
from sweeps.executors.ray import checked_devices
from sweeps.record import load_records

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'reusebench[ray]'")
PROMPTS = ("a red ball", "a red cube", "a blue ball", "a blue cube", "a green fish", "a green boat")
MINIATURE = (
    *("sweep", "--model", "mini-kandinsky", "--steps", 6, "--prior-steps", 3, "--tau", "0.6,1", "--metric", "vqa"),
    *("--batch-size", 1, "--no-mlflow", "--no-seed-control", "--out", "runs"),
    *(argument for prompt in PROMPTS for argument in ("--prompt", prompt)),
)
WORKERS = ("--executor", "ray", "--workers", 2)
GENERATE = ("generate", "--model", "mini-sd", "--dataset", "mini_templates", "--limit", 12, "--steps", 6, "--tau", 1)
GENERATE += ("--batch-size", 1, "--wave", 2)
ROOT = Path(__file__).parents[2]


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
    (rows,) = set(json.loads((far / "groups.json").read_text())["rows"].values())
    plans = [SharingPlan.load(record.folder(far) / "plan.npz") for record in load_records(far)]
    assert any((parts(plan, rows).waits >= 0).any() for plan in plans), "some was handed from worker to worker"
    (stored,) = (tmp_path / "store").iterdir()
    assert stored.name.endswith(".safetensors"), "what workers read, whole and alone"


def interrupted(run: Path) -> None:
    """Start `bench generate` with two workers, and kill it, the driver, when a few pictures are there."""
    command = [sys.executable, "-m", "bench.main", *map(str, GENERATE), "--name", run.name, "--devices", "cpu,cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while started.poll() is None and len(list(run.glob("images/*.png"))) < 3:
        time.sleep(0.02)
    started.kill()
    assert started.wait() == -signal.SIGKILL, "it was killed before its end"


@needs_ray
def test_generate_on_two_devices_goes_on_after_its_driver_was_killed_and_says_what_fails_on_a_worker(bench):
    far, here = Path("generated/far"), Path("generated/here")
    interrupted(far)
    kept = {path: path.stat().st_mtime_ns for path in (far / "images").iterdir()}
    noted = (far / "states").glob("group-*.jsonl")
    known = {json.loads(line)[1] for path in noted for line in path.read_text().splitlines() if line.startswith("[")}
    result = bench(*GENERATE, "--name", "far", "--devices", "cpu,cpu")
    assert result.exit_code == 0, result.output
    assert known, "pictures are noted as they come back"
    for prompt in known:
        path = far / "images" / f"{prompt:05d}.png"
        assert path.stat().st_mtime_ns == kept[path], "a picture that was there is not made again"
    assert not (far / "states").exists()
    assert bench(*GENERATE, "--name", "here").exit_code == 0
    assert pictures(far) == pictures(here)
    lost = bench(*GENERATE, "--name", "lost", "--devices", "cpu,cpu", "--store", "memory://of-this-process")
    assert lost.exit_code == 2
    assert "memory://of-this-process" in " ".join(lost.output.split())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--workers", 2), "--workers means nothing to this process"),
        (("--address", "auto"), "--address means nothing to this process"),
        (("--executor", "rai"), "did you mean 'ray'?"),
        (("--devices", "cuda:0,cpu"), "name devices of one kind"),
        pytest.param(("--devices", "gpu,gpu"), "there is no device 'gpu'", marks=needs_ray),
        pytest.param(("--devices", "cuda:777"), "there is no cuda:777", marks=needs_ray),
        (("--devices", "cpu,cpu", "--workers", 2), "--workers was given"),
        (("--devices", "cpu,cpu", "--device", "cpu"), "both say where to compute"),
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


def test_a_gpu_is_named_once(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert checked_devices(["cuda:1", "cuda:0"]) == "6,4", "as the machine counts them"
    assert checked_devices(["cpu", "cpu"]) is None
    with pytest.raises(UserError, match="cuda:1 twice"):
        checked_devices(["cuda:1", "cuda:1"])


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
