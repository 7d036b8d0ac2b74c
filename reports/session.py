"""What MLflow holds of one run folder: found by tags, written through its client, no global state."""

import re
import warnings
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any
from uuid import uuid4

import mlflow.data
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run

from common.files import atomic_write, canonical_json, sha256_text
from reports.base import RunView
from reports.frame import AXES, row
from sweeps.record import Record

RUN, CELL, RECORD, POINTS = "reusebench.run", "reusebench.cell", "reusebench.record", "reusebench.curves"
PARENT, NAME, NOTE = "mlflow.parentRunId", "mlflow.runName", "mlflow.note.content"
STEP = 1000
BATCH = 500
LONGEST = 500
ABOUT = f"The metrics here are curves over tau: step = {STEP} x tau. Every nested run is one cell."
CURVES = ("savings", "flop_savings")
SQLITE = "sqlite:///"
KEY_FILE = "tracking.json"


class Session:
    """A sweep's parent run and the nested runs of its cells.

    Args:
        uri: the tracking URI.
        experiment: made if it is not there.
        run: the run folder; its key, kept in ``tracking.json``, is the tag by which its runs are found again.
    """

    def __init__(self, uri: str, experiment: str, run: Path) -> None:
        artifacts = _beside(uri)
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = self.client.get_experiment_by_name(experiment)
        self.experiment = found.experiment_id if found else self.client.create_experiment(experiment, artifacts)
        self.key = run_key(run)
        query = f"tags.`{RUN}` = '{self.key}'"
        runs = self.client.search_runs([self.experiment], query, max_results=10_000)
        self.cells: dict[str, Run] = {each.data.tags[CELL]: each for each in runs if CELL in each.data.tags}
        parents = [each for each in runs if CELL not in each.data.tags]
        self.tags = {RUN: self.key, NAME: run.resolve().name, NOTE: ABOUT, "reusebench.folder": str(run.resolve())}
        self.parent = parents[0] if parents else self.client.create_run(self.experiment, tags=self.tags)
        self.spec: Mapping[str, Any] = {}
        self.prompts: dict[str, Sequence[str]] = {}
        if parents:
            self.client.update_run(self.parent_id, status="RUNNING")

    @property
    def parent_id(self) -> str:
        return str(self.parent.info.run_id)

    def log_spec(self, spec: Mapping[str, Any]) -> None:
        """The settings as parameters of the parent; parameters cannot change, so those that are there stay."""
        self.spec = spec
        known = self.parent.data.params
        parameters = [
            _param(name, value) for name, value in spec.items() if name not in known and value not in (None, [])
        ]
        self.client.log_batch(self.parent_id, params=parameters)

    def log_prompts(self, name: str, prompts: Sequence[str]) -> None:
        """A prompt set as an input dataset of the parent, and as a text file, one prompt a line."""
        self.prompts[name] = prompts
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on how the source could also be read
            source = str(self.parent.data.tags["reusebench.folder"])
            dataset = mlflow.data.from_pandas(pd.DataFrame({"prompt": list(prompts)}), source=source, name=name)
        entity = Dataset.from_dictionary(dataset.to_dict())
        self.client.log_inputs(
            self.parent_id, datasets=[DatasetInput(entity, [InputTag("mlflow.data.context", "prompts")])]
        )
        self.client.log_text(self.parent_id, "\n".join(prompts) + "\n", f"prompts/{_key(name).replace('/', '_')}.txt")

    def log_cell(self, record: Record) -> None:
        """A cell's nested run; one of an older record, or one that was cut short, is replaced."""
        digest = sha256_text(record.model_dump_json())
        if old := self.cells.get(record.id):
            if old.data.tags.get(RECORD) == digest and old.info.status != "RUNNING":
                return
            self.client.delete_run(old.info.run_id)
        name = f"tau {record.asked.tau:f}, {record.asked.strategy}, {record.asked.dataset}"
        versions = {f"version.{package}": version for package, version in record.versions.items()}
        tags = {RUN: self.key, CELL: record.id, RECORD: digest, NAME: name, PARENT: self.parent_id, **versions}
        if record.error:
            tags["error"] = f"{record.error.type}: {record.error.message}"
        run = self.client.create_run(self.experiment, tags=tags)
        identity = {f"identity.{name}": value for name, value in record.identity.items()}
        asked = record.asked.model_dump(mode="json")
        parameters = [_param(name, value) for name, value in {**asked, **identity}.items()]
        self.client.log_batch(run.info.run_id, params=parameters[:100])
        self._log(run, [(name, value, 0) for name, value in numbers(record).items()])
        self.client.log_text(run.info.run_id, record.model_dump_json(indent=1), "record.json")
        self.client.set_terminated(run.info.run_id, "FAILED" if record.error else "FINISHED")
        self.cells[record.id] = self.client.get_run(run.info.run_id)

    def finish(self, run: Path, records: Sequence[Record]) -> None:
        """Every cell, the curves, the report's files; then the parent is finished."""
        points = curves(RunView.of(run, records))
        digest = sha256_text(canonical_json(points))
        if self.parent.data.tags.get(POINTS, digest) != digest:
            self._replace_parent()
        for record in records:
            self.log_cell(record)
            if (cell := self.cells[record.id]).data.tags[PARENT] != self.parent_id:
                self.client.set_tag(cell.info.run_id, PARENT, self.parent_id)
        self.client.set_tag(self.parent_id, POINTS, digest)
        self._log(self.parent, points)
        for folder in ("tables", "figures"):
            if (run / "report" / folder).is_dir():
                self.client.log_artifacts(self.parent_id, str(run / "report" / folder), folder)
        versions = {f"version.{name}": version for record in records for name, version in record.versions.items()}
        failed = sum(record.status == "failed" for record in records)
        for tag, value in {**versions, "reusebench.failed_cells": str(failed)}.items():
            self.client.set_tag(self.parent_id, tag, value)
        self.client.set_terminated(self.parent_id, "FINISHED")

    def _replace_parent(self) -> None:
        """A point that is logged cannot be taken back: where the curves changed, they start in a run of their own."""
        old, self.parent = self.parent_id, self.client.create_run(self.experiment, tags=self.tags)
        self.log_spec(self.spec)
        for name, prompts in self.prompts.items():
            self.log_prompts(name, prompts)
        self.client.delete_run(old)

    def _log(self, run: Run, points: Sequence[tuple[str, float, int]]) -> None:
        """Times follow from the step alone: the same point logged again is the same row, not another."""
        started = run.info.start_time
        metrics = [Metric(_key(name), value, started + step, step) for name, value, step in points]
        for i in range(0, len(metrics), BATCH):
            self.client.log_batch(run.info.run_id, metrics=metrics[i : i + BATCH])


def run_key(run: Path) -> str:
    """What tells this run folder from all others, wherever it is moved: made once, kept in the folder."""
    import json

    path = run / KEY_FILE
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        key = uuid4().hex
        atomic_write(path, canonical_json({"key": key}) + "\n")
        return key


def numbers(record: Record) -> dict[str, float]:
    """Every finite number of a cell that is no axis."""
    cells = {name: value for name, value in row(record).items() if name not in (*AXES, "tau")}
    return {name: float(value) for name, value in cells.items() if isinstance(value, int | float) and isfinite(value)}


def curves(view: RunView) -> list[tuple[str, float, int]]:
    """Savings and figures of every cell as (name, value, step); of several series, ``<name>/<series>``."""
    points = []
    for series in view.series:
        suffix = f"/{series.name.replace('/', '_').replace(',', '')}" if series.name else ""
        for record in series.records:
            step = round(STEP * record.asked.tau)
            named = {
                name: value for name, value in numbers(record).items() if name.startswith((*CURVES, *record.figures))
            }
            points += [(f"{name}{suffix}", value, step) for name, value in named.items()]
    return points


def _beside(uri: str) -> str | None:
    """Where the artifacts of an SQLite file go; None leaves it to the server."""
    if not uri.startswith(SQLITE):
        return None
    database = Path(uri.removeprefix(SQLITE)).resolve()
    database.parent.mkdir(parents=True, exist_ok=True)
    return (database.parent / "mlartifacts").as_uri()


def _key(name: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:250]


def _param(name: str, value: Any) -> Param:
    if isinstance(value, list | tuple):
        value = ", ".join(str(each) for each in value)
    text = value if isinstance(value, str) else canonical_json(value)
    return Param(_key(name), text[:LONGEST])
