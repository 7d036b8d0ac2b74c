"""`bench track`, and a server that dies in mid-sweep: real `mlflow server` processes on loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import list_artifacts
from run_folders import make_run

from sweeps.record import load_records
from sweeps.timeline import read_timeline

PATIENCE = 180
VOLATILE = ("mlflow.parentRunId", "reusebench.folder")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Server:
    """An `mlflow server` with its own SQLite database and artifacts."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def kill(self) -> None:
        """As a power cut would: no request that is under way is answered."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two of them; their databases are copies of one, since making one takes MLflow seconds."""
    made = []
    empty = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{empty}", f"sqlite:///{empty}").search_experiments()
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        shutil.copy(empty, folder / "mlflow.db")
        made.append(Server(folder))
    try:
        for server in made:
            server.start()
        for server in made:
            server.wait()
        yield made[0], made[1]
    finally:
        for server in made:
            server.kill()


def held(uri: str, key: str) -> list[dict[str, Any]]:
    """All that a server holds of a run folder, but for ids and when: a run each, the parent first."""
    client = MlflowClient(uri, uri)
    found = client.get_experiment_by_name("reusebench")
    runs = client.search_runs([found.experiment_id], f"tags.`reusebench.run` = '{key}'")
    content = []
    for run in runs:
        run_id = run.info.run_id
        history = {
            name: sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))
            for name in run.data.metrics
        }
        content.append(
            {
                "cell": run.data.tags.get("reusebench.cell", ""),
                "status": run.info.status,
                "nested in": run.data.tags.get("mlflow.parentRunId"),
                "params": run.data.params,
                "tags": {name: value for name, value in run.data.tags.items() if name not in VOLATILE},
                "metrics": history,
                "datasets": sorted((each.dataset.name, each.dataset.digest) for each in run.inputs.dataset_inputs),
                "artifacts": sorted(named(path) for path in artifacts(uri, run_id)),
            }
        )
    assert len({each["nested in"] for each in content}) == 2
    assert {each["nested in"] for each in content if each["cell"]} == {
        run.info.run_id for run in runs if "reusebench.cell" not in run.data.tags
    }
    return sorted(({**each, "nested in": bool(each["nested in"])} for each in content), key=lambda each: each["cell"])


def artifacts(uri: str, run_id: str, below: str | None = None) -> list[str]:
    paths = []
    for each in list_artifacts(run_id=run_id, artifact_path=below, tracking_uri=uri):
        paths += artifacts(uri, run_id, each.path) if each.is_dir else [each.path]
    return paths


def named(path: str) -> str:
    """Of an image's file, what is no chance: MLflow ends its name with a random part."""
    stem, chance, _ = path.partition("+timestamp+")
    return stem + Path(path).suffix if chance else path


def times(uri: str) -> list[tuple[str, int, int]]:
    client = MlflowClient(uri, uri)
    runs = client.search_runs([client.get_experiment_by_name("reusebench").experiment_id])
    return sorted((run.info.run_id, run.info.start_time, run.info.end_time) for run in runs)


def key_of(run: Path) -> str:
    return str(json.loads((run / "tracking.json").read_text())["key"])


@pytest.mark.usefixtures("all_figures")
def test_a_server_that_dies_in_mid_sweep_misses_nothing(servers, bench, start, tiny, tiny_sweep, tmp_path):
    one, two = servers
    sweep = [*tiny_sweep[: tiny_sweep.index("--metric")], "--metric", f"vqa={tiny.vqa}", "--tau", "0,0.6,1.2"]
    sweep += ["--name", "run", "--device", "cpu", "--tracking-uri", one.uri]
    run = tmp_path / "runs" / "run"

    process = start(*sweep)
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("done: ") and one.process:  # the first cell's run is being made at this moment, or soon
            one.kill()
    assert process.wait() == 0, "".join(said)
    warnings = [line for line in said if "tracking at" in line]
    assert len(warnings) == 1
    assert one.uri in warnings[0]
    assert "bench track" in warnings[0]
    records = load_records(run)
    assert len(records) == 4
    assert all(record.status == "done" for record in records)

    one.start()
    one.wait()
    partly = MlflowClient(one.uri, one.uri)
    (experiment,) = [each for each in partly.search_experiments() if each.name == "reusebench"]
    assert partly.search_runs([experiment.experiment_id])
    assert len(partly.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'")) < len(records)

    result = bench("track", run, "--tracking-uri", one.uri)
    assert result.exit_code == 0, result.output
    complete = held(one.uri, key_of(run))
    parent, *cells = complete
    assert parent["cell"] == ""
    assert [each["cell"] for each in cells] == sorted(record.id for record in records)
    assert {each["status"] for each in complete} == {"FINISHED"}
    sharing = sorted(1000 * record.config.tau for record in records if record.role == "sharing")
    assert [step for step, _ in parent["metrics"]["vqa.win_rate"]] == sharing
    assert all(len(points) == 1 for each in cells for points in each["metrics"].values())
    assert all(len(each["datasets"]) == 1 for each in complete)
    report = [str(path.relative_to(run / "report")) for path in (run / "report").rglob("*") if path.is_file()]
    tables = [name.replace(".csv", ".json") for name in report if name.endswith(".csv")]
    assert parent["artifacts"] == sorted([*report, *tables, "prompts/prompts.txt"])
    for each in cells:
        assert len(each["artifacts"]) == 2 + 2 * 4  # record and scores; of each pair the picture and its small copy
        assert len([name for name in each["artifacts"] if name.startswith("images/") and name.endswith(".png")]) == 4

    before = times(one.uri)
    result = bench("track", run, "--tracking-uri", one.uri)
    assert "0 of 4 cells sent" in result.stdout
    assert (held(one.uri, key_of(run)), times(one.uri)) == (complete, before)

    again = bench(*sweep)
    assert again.exit_code == 0, again.output
    assert "tracking at" not in again.stderr
    assert without_content(held(one.uri, key_of(run))) == without_content(complete)

    assert bench("track", run, "--tracking-uri", two.uri).exit_code == 0
    assert without_content(held(two.uri, key_of(run))) == without_content(complete)
    assert bench("track", run, "--tracking-uri", two.uri).stdout.startswith(f"{run}: 0 of 4 cells sent to {two.uri}")


def without_content(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Apart from the digest of the report's files: figures that are drawn again are other bytes."""
    for each in content:
        each["tags"].pop("reusebench.content", None)
    return content


@pytest.mark.parametrize("password", ["p@ss/secret", "secret" * 100])
def test_a_server_that_cannot_be_reached_is_one_line_without_its_password(bench, tmp_path, monkeypatch, password):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = f"http://user:{password}@127.0.0.1:9"
    run = make_run(tmp_path / "run", n=2, taus=["0"])
    result = bench("track", run, "--tracking-uri", address)
    assert result.exit_code == 2
    error, hint = result.stderr.splitlines()
    assert error == "error: tracking at http://***@127.0.0.1:9 stopped: no server answers there"
    assert hint.startswith("hint: ")
    assert result.stdout == ""
    debug = bench("--debug", "track", run, "--tracking-uri", address)
    assert "Traceback" in debug.stderr
    assert "secret" not in debug.stderr
    assert "secret" not in bench("doctor", "--tracking-uri", address).output


def test_a_sweep_that_tracked_nothing_ends_without_mlflows_line(bench, tiny_sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:sec/ret@127.0.0.1:9")
    sweep = [*tiny_sweep, "--tau", "0", "--no-seed-control", "--name", "run"]
    result = bench(*sweep, "--mlflow")
    assert result.exit_code == 0, result.output
    assert "tracking at http://***@127.0.0.1:9 stopped: no server answers there" in result.stderr
    assert "sec/ret" not in result.output
    assert "MLflow" not in result.stdout
    spans = [span.stage for span in read_timeline(tmp_path / "runs" / "run").spans]
    assert spans.count("track") == 3  # when it began, its cell, and when it ended
    result = bench(*sweep, "--mlflow", "--tracking-uri", "sqlite:///")
    assert result.exit_code == 0, result.output
    assert "is a database in memory" in result.stderr
    assert "MLflow" not in result.stdout


def test_track_goes_beside_the_run_and_refuses_what_is_no_run(bench, tiny_sweep, tmp_path):
    sweep = [*tiny_sweep, "--tau", "0,1", "--no-seed-control", "--name", "run"]
    assert bench(*sweep).exit_code == 0
    result = bench("track", "runs/run")
    assert result.exit_code == 0, result.output
    assert "2 of 2 cells sent to sqlite:///" in result.stdout
    assert (tmp_path / "runs/mlflow.db").is_file()
    assert "0 of 2 cells sent" in bench("track", "runs/run").stdout
    assert "2 of 2 cells sent" in bench("track", "runs/run", "--experiment", "another").stdout
    assert (
        f"MLflow   mlflow ui --backend-store-uri sqlite:///{tmp_path}/runs/mlflow.db"
        in bench(*sweep, "--mlflow").stdout
    )
    result = bench("track", "runs/run", "runs")
    assert result.exit_code == 2
    assert "runs is not a run folder" in result.stderr
