import io
import json
import logging
import shutil
import socket
import threading
from collections import OrderedDict
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from PIL import Image

from common.errors import UserError
from reports import tracking
from reports.base import figures
from reports.frame import frame
from reports.logged import environment, pairs, report_table
from reports.mlflow_database import prepare
from reports.render import write_report
from reports.tracking import MlflowTracker, track
from sweeps.record import load_records

SPEC = {"model": ["mini-kandinsky"], "tau": ["0", "0.5", "1"], "limit": None, "seed": [42]}


@pytest.fixture(scope="session")
def first_run(tmp_path_factory) -> tuple[str, str]:
    """A new database in a folder that was not there, which takes MLflow seconds, and what was printed meanwhile."""
    folder = tmp_path_factory.mktemp("mlflow") / "new" / "folder"
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(said), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "EXPERIMENT", "first")
        MlflowTracker(f"sqlite:///{folder}/mlflow.db").sweep_started({}, {}, folder.parent)
    return f"sqlite:///{folder}/mlflow.db", said.getvalue()


@pytest.fixture
def uri(first_run, tmp_path) -> str:
    """A database of the test's own, in which the project's experiment is not there yet."""
    folder = tmp_path / "tracking"
    folder.mkdir()
    for name in ("mlflow.db", "empty.db"):
        shutil.copy(first_run[0].removeprefix("sqlite:///"), folder / name)
        prepare(folder / name, say=lambda line: None)  # it was moved
    return f"sqlite:///{folder}/mlflow.db"


def logged(uri: str, experiment: str = "reusebench"):
    """The parents, and the nested runs by cell."""
    client = MlflowClient(uri, uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id]) if found else []
    cells = {run.data.tags["reusebench.cell"]: run for run in runs if "reusebench.cell" in run.data.tags}
    assert len(cells) == sum("reusebench.cell" in run.data.tags for run in runs)
    return [run for run in runs if "reusebench.cell" not in run.data.tags], cells


def run_sweep(tracker: MlflowTracker, folder: Path, cells: int | None = None) -> None:
    """The events of a sweep; killed after some cells if `cells` is given."""
    records = load_records(folder)
    tracker.sweep_started(SPEC, {"mini_templates": records[0].prompts(folder)}, folder)
    for record in records[:cells]:
        tracker.cell_finished(record)
    if cells is None:
        tracker.sweep_finished(folder, records)


def test_a_sweep_is_a_parent_with_a_nested_run_a_cell(run_folder, uri) -> None:
    small_report(run_folder)
    run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder)
    (parent,), cells = logged(uri)
    records = load_records(run_folder)
    assert set(cells) == {record.id for record in records}
    assert {run.data.tags["mlflow.parentRunId"] for run in cells.values()} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"model": "mini-kandinsky", "tau": "0, 0.5, 1", "seed": "42"}
    assert parent.data.tags["version.torch"] == records[0].versions["torch"]

    run, record = cells[records[1].id], records[1]
    assert run.info.status == "FINISHED"
    assert run.data.params["tau"] == "0.5"
    assert run.data.params["strategy"] == "ward-cosine"
    assert set(run.data.params) == set(record.config.model_dump())
    assert run.data.tags["identity.weights"] == record.identity["weights"]
    assert run.data.metrics["vqa.win_rate"] == record.results["vqa.win_rate"].value
    assert run.data.metrics["vqa.win_rate_low"] == record.results["vqa.win_rate"].low
    assert run.data.metrics["flop_savings"] == record.flops.savings
    assert run.data.tags["version.torch"] == record.versions["torch"]


def test_the_parent_has_curves_the_prompts_and_the_report(run_folder, uri, monkeypatch) -> None:
    monkeypatch.setattr("reports.render.figures", lambda: {"quality_savings": figures()["quality_savings"]})
    report = write_report(run_folder)
    assert [path.suffix for path in report.figures] == [".png", ".svg", ".pdf"]
    run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder)
    (parent,), _ = logged(uri)
    client = MlflowClient(uri, uri)
    history = client.get_metric_history(parent.info.run_id, "vqa.win_rate")
    expected = [(round(1000 * r.config.tau), r.results["vqa.win_rate"].value) for r in load_records(run_folder)]
    assert sorted((point.step, point.value) for point in history) == expected
    assert "1000 x tau" in parent.data.tags["mlflow.note.content"]
    (dataset,) = parent.inputs.dataset_inputs
    assert dataset.dataset.name == "mini_templates"
    artifacts = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts" / parent.info.run_id / "artifacts"
    assert (artifacts / "tables" / "summary.csv").read_bytes() == report.tables[0].read_bytes()
    assert {path.name for path in (artifacts / "figures").iterdir()} == {path.name for path in report.figures}
    assert (artifacts / "prompts" / "mini_templates.txt").read_text().splitlines() == load_records(run_folder)[
        0
    ].prompts(run_folder)


def artifacts_of(uri: str, run) -> Path:
    return Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts" / run.info.run_id / "artifacts"


def small_report(folder: Path) -> None:
    """A page and a table as a report has them, without the seconds that drawing one takes."""
    (folder / "report" / "tables").mkdir(parents=True)
    (folder / "report" / "index.html").write_text("<p>a page</p>")
    (folder / "report" / "report.md").write_text("a page")
    frame(load_records(folder)).to_csv(folder / "report" / "tables" / "summary.csv", index=False)


def test_tables_are_mlflows_own_on_the_parent_and_on_cells(run_folder, uri) -> None:
    small_report(run_folder)
    for _ in range(2):  # MLflow would append the second time
        run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder)
    (parent,), cells = logged(uri)
    summary = pd.read_json(artifacts_of(uri, parent) / "tables/summary.json", orient="split")
    written = pd.read_csv(run_folder / "report/tables/summary.csv")
    written.columns = [name.replace(".", "/") for name in written]  # MLflow's pages leave columns with dots empty
    pd.testing.assert_frame_equal(summary, written, check_dtype=False)
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == [{"path": "tables/summary.json", "type": "table"}]
    assert (artifacts_of(uri, parent) / "index.html").read_text() == "<p>a page</p>"
    assert (artifacts_of(uri, parent) / "report.md").is_file()

    record = load_records(run_folder)[1]
    scored = pd.read_json(artifacts_of(uri, cells[record.id]) / "scores.json", orient="split")
    assert list(scored.columns) == ["prompt", "vqa/vqa", "vqa/vqa, baseline"]
    assert scored["prompt"].tolist() == record.prompts(run_folder)
    wins = (scored["vqa/vqa"] > scored["vqa/vqa, baseline"]).sum()
    assert wins == record.results["vqa.wins"].value


def test_a_cell_has_four_pairs_of_pictures_by_the_browsers_convention(run_folder, uri) -> None:
    run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder)
    _, cells = logged(uri)
    record = load_records(run_folder)[2]
    images = sorted(path.name for path in (artifacts_of(uri, cells[record.id]) / "images").glob("*.png"))
    prefixes = [f"mini_templates 0000{i}+step+0+timestamp+" for i in (0, 3, 6, 9)]
    assert [name[: len(prefix)] for name, prefix in zip(images, prefixes, strict=True)] == prefixes
    assert cells[record.id].data.tags["mlflow.loggedImages"] == "True"
    with Image.open(artifacts_of(uri, cells[record.id]) / "images" / images[1]) as opened:
        pair = np.asarray(opened)
    standard = np.asarray(Image.open(record.baseline_pictures(run_folder)[3]))
    ours = np.asarray(Image.open(record.pictures(run_folder)[3]))
    assert (pair[:, :16] == standard).all()
    assert (pair[:, -16:] == ours).all()
    assert not (standard == ours).all()


def test_large_pictures_are_sent_small_and_missing_ones_left_out(new_run) -> None:
    folder = new_run(n=2, side=1024, taus=["1"])
    (record,) = load_records(folder)
    record.pictures(folder)[0].unlink()
    ((name, pair),) = pairs(folder, record)
    assert name == "mini_templates 00001"
    assert pair.size == (2 * 512 + 8, 512)


def test_what_ran_is_in_tags(new_record) -> None:
    versions = {"torch": "2.13.0", "commit": "0123abc-dirty"}
    one = new_record("0.5").model_copy(update={"versions": versions, "machine": {"system": "Linux", "cores": 2}})
    assert environment([one]) == {
        "version.torch": "2.13.0",
        "version.commit": "0123abc-dirty",
        "machine.system": "Linux",
        "machine.cores": "2",
        "mlflow.source.git.commit": "0123abc",
    }
    other = one.model_copy(update={"versions": {"torch": "2.14.0", "commit": "4567def"}})
    both = environment([one, other, one])
    assert both["version.torch"] == "2.13.0, 2.14.0"
    assert "mlflow.source.git.commit" not in both


def test_a_nested_run_lasts_as_long_as_its_cell_took(run_folder, uri) -> None:
    track(run_folder, uri)
    _, cells = logged(uri)
    for record in load_records(run_folder):
        info = cells[record.id].info
        assert info.end_time - info.start_time == pytest.approx(1000 * sum(record.timings.values()), abs=1)


def state(uri: str) -> list[dict]:
    """All that is held, but for ids and when."""
    client, found = MlflowClient(uri, uri), []
    parents, cells = logged(uri)
    for run in [*parents, *cells.values()]:
        history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        points = {name: sorted((point.step, point.value) for point in every) for name, every in history.items()}
        files = sorted(path for path in artifacts_of(uri, run).rglob("*") if path.is_file())
        texts = [path.read_bytes() for path in files if path.suffix in (".json", ".csv", ".txt")]
        names = sorted(path.name.partition("+timestamp+")[0] + path.suffix for path in files)
        datasets = [(each.dataset.name, each.dataset.digest) for each in run.inputs.dataset_inputs]
        tags = {name: value for name, value in run.data.tags.items() if name != "mlflow.parentRunId"}
        found.append(
            {
                "status": run.info.status,
                "params": run.data.params,
                "tags": tags,
                "metrics": points,
                "files": names,
                "texts": texts,
                "datasets": datasets,
            }
        )
    assert {run.data.tags["mlflow.parentRunId"] for run in cells.values()} == {run.info.run_id for run in parents}
    return sorted(found, key=lambda each: each["tags"].get("reusebench.cell", ""))


class Cut(MlflowClient):
    """A client whose server dies at its n-th request, before it is carried out or before it is answered."""

    left, answered = 0, False

    def __getattribute__(self, name: str):
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found):
            return found

        def call(*arguments, **options):
            Cut.left -= 1
            if Cut.left == 0 and not Cut.answered:
                raise ConnectionResetError("cut")
            result = found(*arguments, **options)
            if Cut.left == 0:
                raise ConnectionResetError("cut")
            return result

        return call


@pytest.mark.parametrize("answered", [False, True])
def test_wherever_sending_is_cut_sending_again_completes_it(new_run, uri, monkeypatch, answered, tmp_path) -> None:
    """Every request of the parent's and of a cell's would take minutes; of all there are, every seventh."""
    folder = new_run(n=2, taus=["1"])
    small_report(folder)
    track(folder, uri)
    expected = state(uri)
    n, last = 2 + 3 * answered, False
    while not last:
        fresh = tmp_path / f"cut-{n}"
        fresh.mkdir()
        shutil.copy(Path(uri.removeprefix("sqlite:///")).with_name("empty.db"), fresh / "mlflow.db")
        address = f"sqlite:///{fresh}/mlflow.db"
        with monkeypatch.context() as patch:
            patch.setattr("reports.session.MlflowClient", Cut)
            Cut.left, Cut.answered = n, answered
            try:
                track(folder, address)
            except UserError:
                assert Cut.left <= 0
            else:
                last = True
        track(folder, address)
        for run, wanted in zip(state(address), expected, strict=True):
            for what, value in wanted.items():
                assert run[what] == value, f"cut at request {n}: {what}"
        n += 7
    assert n > 30


def test_system_metrics_are_logged_on_request_and_stay_when_the_curves_change(
    run_folder, uri, monkeypatch, new_record, capfd
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    published, publish = threading.Semaphore(0), SystemMetricsMonitor.publish_metrics

    def counted(monitor, metrics):
        publish(monitor, metrics)
        published.release()

    monkeypatch.setattr(SystemMetricsMonitor, "publish_metrics", counted)
    level = logging.getLogger("mlflow").level
    records = load_records(run_folder)
    tracker = MlflowTracker(uri, warn=pytest.fail, system_metrics=True)
    tracker.sweep_started(SPEC, {}, run_folder)
    client, name = MlflowClient(uri, uri), "system/cpu_utilization_percentage"
    (parent,), _ = logged(uri)
    for _ in range(2):
        assert published.acquire(timeout=60), "nothing was published"
    tracker.sweep_finished(run_folder, records)
    measured = client.get_metric_history(parent.info.run_id, name)
    assert [point.step for point in measured] == list(range(len(measured)))
    assert measured
    assert logging.getLogger("mlflow").level == level
    assert capfd.readouterr() == ("", "")

    other = records[1].model_copy(update={"results": new_record("1.5").results})
    (other.folder(run_folder) / "record.json").write_text(other.model_dump_json())
    run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder)
    (after,), _ = logged(uri)
    assert after.info.run_id != parent.info.run_id
    kept = client.get_metric_history(after.info.run_id, name)
    assert [(point.step, point.value) for point in kept] == [(point.step, point.value) for point in measured]


def test_without_a_request_there_are_no_system_metrics(run_folder, uri) -> None:
    run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder)
    (parent,), _ = logged(uri)
    assert not [name for name in parent.data.metrics if name.startswith("system/")]


def test_logging_again_doubles_nothing(run_folder, uri) -> None:
    for _ in range(2):
        run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder)
    (parent,), cells = logged(uri)
    assert len(cells) == 3
    assert len(MlflowClient(uri, uri).get_metric_history(parent.info.run_id, "savings")) == 3
    assert len(parent.inputs.dataset_inputs) == 1


def test_a_killed_sweep_goes_on_in_its_parent(run_folder, uri) -> None:
    run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder, cells=2)
    (parent,), cells = logged(uri)
    assert (parent.info.status, len(cells)) == ("RUNNING", 2)
    MlflowClient(uri, uri).set_terminated(next(iter(cells.values())).info.run_id, "RUNNING")
    run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder)
    (after,), finished = logged(uri)
    assert after.info.run_id == parent.info.run_id
    assert {run.info.status for run in [after, *finished.values()]} == {"FINISHED"}
    assert len(finished) == 3


def test_a_cell_that_was_scored_again_replaces_its_run(run_folder, uri, new_record) -> None:
    run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder)
    record = load_records(run_folder)[1]
    other = record.model_copy(update={"results": new_record("1.5").results})
    (other.folder(run_folder) / "record.json").write_text(other.model_dump_json())
    run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder)
    (parent,), cells = logged(uri)
    assert len(cells) == 3
    assert cells[record.id].data.metrics["vqa.win_rate"] == other.results["vqa.win_rate"].value
    history = MlflowClient(uri, uri).get_metric_history(parent.info.run_id, "vqa.win_rate")
    assert sorted((point.step, point.value) for point in history) == [
        (round(1000 * each.config.tau), each.results["vqa.win_rate"].value) for each in load_records(run_folder)
    ]
    assert {run.data.tags["mlflow.parentRunId"] for run in cells.values()} == {parent.info.run_id}
    assert parent.data.params["seed"] == "42"
    assert len(parent.inputs.dataset_inputs) == 1


def test_other_seconds_are_no_other_curves(run_folder, uri) -> None:
    run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder)
    (before,), _ = logged(uri)
    for record in load_records(run_folder):
        slower = record.model_copy(update={"timings": {"denoise": 99.0}})
        (record.folder(run_folder) / "record.json").write_text(slower.model_dump_json())
    run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder)
    (after,), _ = logged(uri)
    assert after.info.run_id == before.info.run_id
    assert not [name for name in after.data.metrics if "seconds" in name]


def test_a_moved_run_folder_is_the_same_run_and_another_is_another(new_run, uri) -> None:
    first = new_run("a", n=2, taus=["0"])
    run_sweep(MlflowTracker(uri, warn=pytest.fail), first)
    moved = first.rename(first.with_name("moved"))
    run_sweep(MlflowTracker(uri, warn=pytest.fail), moved)
    assert len(logged(uri)[0]) == 1
    track(new_run("b", n=2, taus=["0"], series=[{"seed": 5}]), uri)
    assert len(logged(uri)[0]) == 2


def test_a_failed_cell_is_a_failed_run_that_says_why(new_run, uri) -> None:
    folder = new_run(n=2, fail=["0.5"])
    track(folder, uri)
    (parent,), cells = logged(uri)
    failed = next(run for run in cells.values() if run.info.status == "FAILED")
    assert "00003.png" in failed.data.tags["error"]
    assert parent.data.tags["reusebench.failed_cells"] == "1"


def test_several_series_are_several_curves(new_run, uri) -> None:
    track(new_run(n=2, taus=["0", "1"], series=[{"strategy": "none"}, {"strategy": "ward-cosine"}]), uri)
    (parent,), _ = logged(uri)
    assert {"savings/none", "savings/ward-cosine"} <= set(parent.data.metrics)


def test_odd_names_and_long_values_are_no_trouble(new_run, uri) -> None:
    folder = new_run(n=2, taus=["1"], series=[{"model": "hub/a:b?é (1)"}, {"model": "m" * 700}])
    track(folder, uri)
    _, cells = logged(uri)
    assert len(cells) == 2


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_dead_server_costs_one_warning_and_no_cell(run_folder, monkeypatch, capfd) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = {path: path.read_bytes() for path in run_folder.rglob("*.json")}
    lines: list[str] = []
    address = f"http://user:secret@127.0.0.1:{closed_port()}"
    run_sweep(MlflowTracker(address, lines.append), run_folder)
    (line,) = lines
    assert "run the same command again" in line
    assert "secret" not in line
    assert "\n" not in line
    assert capfd.readouterr() == ("", "")
    assert {path: path.read_bytes() for path in before} == before


def test_a_server_that_never_answers_is_given_up(run_folder, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    lines: list[str] = []
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        run_sweep(MlflowTracker(f"http://127.0.0.1:{silent.getsockname()[1]}", lines.append), run_folder)
    (line,) = lines
    assert "stopped: the server is slow: no answer in 1 s (MLFLOW_HTTP_REQUEST_TIMEOUT)" in line


def test_a_slow_server_is_given_up_after_one_event(run_folder, uri, monkeypatch) -> None:
    times = iter(range(0, 10_000, 40))
    monkeypatch.setattr(tracking.time, "monotonic", lambda: next(times))
    lines: list[str] = []
    run_sweep(MlflowTracker(uri, lines.append), run_folder)
    assert len(lines) == 1
    assert "it is slow: one event took more than 30 seconds" in lines[0]
    assert logged(uri)[1] == {}


def test_what_a_lost_server_missed_is_logged_the_next_time(run_folder, uri) -> None:
    run_sweep(MlflowTracker(f"http://127.0.0.1:{closed_port()}", lambda line: None), run_folder, cells=1)
    track(run_folder, uri)
    assert len(logged(uri)[1]) == 3


def test_timeouts_are_short_unless_the_user_chose_others(run_folder, uri, monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    run_sweep(MlflowTracker(uri, warn=pytest.fail), run_folder, cells=0)
    assert mlflow.environment_variables.MLFLOW_HTTP_REQUEST_TIMEOUT.get() <= 10
    assert mlflow.environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() == 3


def test_a_new_database_is_made_without_noise(first_run) -> None:
    where, said = first_run
    assert said == ""
    assert len(logged(where, "first")[0]) == 1


def test_mlflow_makes_no_noise_and_its_log_level_stays(run_folder, uri, capfd) -> None:
    level = logging.getLogger("mlflow").level
    run_sweep(MlflowTracker(uri), run_folder)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("mlflow").level == level


@pytest.mark.parametrize("address", ["ftp://nowhere", "sqlite:////proc/nothing/mlflow.db"])
def test_an_impossible_address_is_a_warning_in_a_sweep_and_an_error_by_hand(run_folder, address, capfd) -> None:
    run_sweep(MlflowTracker(address), run_folder)
    warning = capfd.readouterr().err
    assert warning.startswith("warning: tracking at ")
    assert warning.count("\n") == 1
    with pytest.raises(UserError, match="tracking at"):
        track(run_folder, address)


@pytest.mark.parametrize("address", ["sqlite:///", "sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused_by_name_and_no_success(run_folder, address) -> None:
    lines: list[str] = []
    tracker = MlflowTracker(address, lines.append)
    run_sweep(tracker, run_folder)
    (line,) = lines
    assert f"tracking at {address} stopped: {address} is a database in memory" in line
    assert not tracker.worked
    with pytest.raises(UserError, match="is a database in memory") as refused:
        track(run_folder, address)
    assert "sqlite:///runs/mlflow.db" in refused.value.hint


def test_a_deleted_experiment_is_refused_by_name(run_folder, uri) -> None:
    client = MlflowClient(uri, uri)
    number = client.create_experiment("mine")
    client.delete_experiment(number)
    lines: list[str] = []
    tracker = MlflowTracker(uri, lines.append, experiment="mine")
    run_sweep(tracker, run_folder)
    restore = f"mlflow experiments restore -x {number}"
    assert f"the experiment 'mine' was deleted in MLflow (restore it with `{restore}`" in lines[0]
    assert (len(lines), tracker.worked) == (1, False)
    with pytest.raises(UserError, match="was deleted in MLflow") as refused:
        track(run_folder, uri, "mine")
    assert restore in refused.value.hint


def test_the_experiment_is_the_one_that_is_named_here_or_in_mlflows_variables(new_run, uri, monkeypatch) -> None:
    folder = new_run(n=2, taus=["0"])
    number = MlflowClient(uri, uri).create_experiment("numbered")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", number)
    track(folder, uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "from a variable")
    track(folder, uri)
    track(folder, uri, "named")
    for name in ("numbered", "from a variable", "named"):
        parents, cells = logged(uri, name)
        assert (len(parents), len(cells)) == (1, 1)
    assert logged(uri) == ([], {})


def test_an_experiment_that_another_makes_at_this_moment_is_used(new_run, uri, monkeypatch) -> None:
    folder, find = new_run(n=2, taus=["0"]), MlflowClient.get_experiment_by_name

    def late(client, name):
        found = find(client, name)
        monkeypatch.setattr(MlflowClient, "get_experiment_by_name", find)
        client.create_experiment(name)
        return found

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", late)
    track(folder, uri)
    assert len(logged(uri)[1]) == 1


def test_two_who_send_a_run_at_once_double_nothing(run_folder, uri) -> None:
    small_report(run_folder)
    sent: list[tuple[int, int]] = []
    threads = [threading.Thread(target=lambda: sent.append(track(run_folder, uri))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    parents, cells = logged(uri)
    assert (len(parents), len(cells)) == (1, 3)
    assert sorted(sent) == [(0, 3), (3, 3)]


def test_who_waits_too_long_for_another_to_send_is_told(run_folder, uri, monkeypatch) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 0.1)
    tracker = MlflowTracker(uri, pytest.fail)
    tracker.sweep_started(SPEC, {}, run_folder)
    with pytest.raises(UserError, match="another process sends"):
        track(run_folder, uri)
    tracker.sweep_finished(run_folder, load_records(run_folder))
    assert tracker.worked
    assert track(run_folder, uri) == (0, 3)


def test_artifacts_that_are_lost_are_sent_again_to_where_the_folder_is_now(run_folder, uri, monkeypatch) -> None:
    small_report(run_folder)
    track(run_folder, uri)
    expected, was = state(uri), Path(uri.removeprefix("sqlite:///")).parent
    here = was.rename(was.with_name("elsewhere"))
    another_process = OrderedDict()  # remembers no place of the first one's
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._artifact_repos_cache", another_process)
    address, lines = f"sqlite:///{here}/mlflow.db", []
    assert track(run_folder, address, say=lines.append) == (0, 3)
    assert [f"looked for in {here / 'mlartifacts'}" in line for line in lines] == [True]
    assert not was.exists()
    assert state(address) == expected

    shutil.rmtree(here / "mlartifacts")
    assert track(run_folder, address) == (3, 3)
    assert state(address) == expected
    (parent,), cells = logged(address)
    (artifacts_of(address, parent) / "prompts" / "mini_templates.txt").unlink()
    (artifacts_of(address, next(iter(cells.values()))) / "scores.json").unlink()
    assert track(run_folder, address) == (1, 3)
    assert state(address) == expected
    assert not was.exists()


def test_curves_of_names_that_clean_alike_or_are_cut_alike_stay_apart(new_run, uri) -> None:
    names = ["模型", "型模", "x/" + "m" * 300 + "1", "x/" + "m" * 300 + "2", "a_b", "a/b"]
    track(new_run(n=2, taus=["1"], series=[{"model": name} for name in names]), uri)
    (parent,), _ = logged(uri)
    client = MlflowClient(uri, uri)
    curves = [name for name in parent.data.metrics if name.startswith("savings/")]
    assert len(curves) == len(names)
    assert "savings/a_b" in curves
    assert all(len(client.get_metric_history(parent.info.run_id, name)) == 1 for name in curves)
    assert max(map(len, curves)) <= 250


def test_pictures_and_prompts_of_sets_that_clean_alike_stay_apart(new_run, uri) -> None:
    folder = new_run(n=2, taus=["1"], series=[{"dataset": "模型"}, {"dataset": "型模"}])
    track(folder, uri)
    (parent,), cells = logged(uri)
    images = {path.name for run in cells.values() for path in (artifacts_of(uri, run) / "images").glob("*.png")}
    assert len({name.partition(" ")[0] for name in images}) == 2
    assert len(list((artifacts_of(uri, parent) / "prompts").iterdir())) == 2


def test_passwords_are_masked_before_anything_is_cut(run_folder, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for password in ("se/cr@et", "s" * 400):
        lines: list[str] = []
        run_sweep(MlflowTracker(f"ftp://user:{password}@server/path", lines.append), run_folder)
        (line,) = lines
        assert line.startswith("tracking at ftp://***@server/path stopped: ")
        assert not {"cr@et", "sssss"} & {part for part in ("cr@et", "sssss") if part in line}
        with pytest.raises(UserError) as refused:
            track(run_folder, f"postgresql://user:{password}@127.0.0.1:{closed_port()}/db")
        assert "cr@et" not in str(refused.value)
        assert "sssss" not in str(refused.value)


def test_a_prompt_set_called_na_is_a_name_and_an_empty_cell_is_none(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("dataset,value\nNA,1.5\nnan,\n")
    table = report_table(tmp_path / "t.csv")
    assert table["dataset"].tolist() == ["NA", "nan"]
    assert table["value"].isna().tolist() == [False, True]
