"""The MLflow runs of one run folder: found by tags, written through the client, no global state.

Every step can be cut short anywhere and done again: a cell's run that is not finished is made anew, the parent is
completed, and what an answer that was lost has left twice is found and deleted.
"""

import json
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import mlflow.data
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Run, RunTag
from mlflow.exceptions import MlflowException

from common.addresses import escaped
from common.errors import UserError
from common.files import atomic_write, canonical_json, parse_json, sha256_file, sha256_text
from reports.base import RunView
from reports.logged import (
    STEP,
    curves,
    environment,
    identity,
    key,
    numbers,
    pairs,
    param,
    plain,
    report_table,
    scores,
    shown,
)
from reports.mlflow_database import artifacts_of, database_of
from sweeps.record import RECORD, Record

# Of what is logged of a record or of a run: raised, everything is logged anew.
FORM = 3
RUN, CELL, DIGEST, POINTS = "reusebench.run", "reusebench.cell", "reusebench.record", "reusebench.curves"
CONTENT, FOLDER, FAILED = "reusebench.content", "reusebench.folder", "reusebench.failed_cells"
PARENT, NAME, NOTE, SOURCE = "mlflow.parentRunId", "mlflow.runName", "mlflow.note.content", "mlflow.source.name"
TABLES, IMAGES = "mlflow.loggedArtifacts", "mlflow.loggedImages"
EXISTS = "RESOURCE_ALREADY_EXISTS"
SYSTEM = "system/"
BATCH = 500
ABOUT = f"The metrics here are curves over tau: step = {STEP} x tau. Every nested run is one cell."
KEY_FILE = "tracking.json"


class Session:
    """A sweep's parent run and the nested runs of its cells.

    Args:
        uri: the tracking URI; an SQLite file is there (`mlflow_database.prepare`).
        experiment: the name of one, made if it is not there, or the number of one that is.
        run: the run folder; its key, kept in ``tracking.json``, is the tag by which its runs are found again.
        spec: the sweep's spec as plain values.
        prompts: by prompt set, its prompts.

    Raises:
        UserError: the experiment was deleted.
    """

    def __init__(
        self, uri: str, experiment: str | int, run: Path, spec: Mapping[str, Any], prompts: Mapping[str, Sequence[str]]
    ) -> None:
        self.client = MlflowClient(tracking_uri=escaped(uri), registry_uri=escaped(uri))
        self.experiment = _experiment(self.client, experiment, uri)
        self.run, self.key, self.spec, self.prompts = run, run_key(run), spec, prompts
        self.tags = {RUN: self.key, NAME: run.resolve().name, NOTE: ABOUT, FOLDER: str(run.resolve()), SOURCE: "bench"}
        self.sent, self._described = 0, ""
        self.cells: dict[str, Run] = {}
        self.parent = self._find() or self.client.create_run(self.experiment, tags=self.tags)

    @property
    def parent_id(self) -> str:
        return str(self.parent.info.run_id)

    def start(self) -> None:
        """Mark the parent as running, with its parameters and prompt sets."""
        if self.parent.info.status != "RUNNING":
            self.client.update_run(self.parent_id, status="RUNNING")
            self.parent = self.client.get_run(self.parent_id)
        if self._described != self.parent_id:
            self._describe()
            self._described = self.parent_id

    def log_cell(self, record: Record) -> None:
        """Log a cell's nested run; one of an older record, or one that was cut short, is replaced."""
        digest = sha256_text(f"{FORM} {record.model_dump_json()}")
        if old := self.cells.get(record.id):
            same = old.data.tags.get(DIGEST) == digest and old.info.status != "RUNNING"
            if same and self._has(old.info.run_id, _artifacts(old)):
                return
            self.client.delete_run(old.info.run_id)
            del self.cells[record.id]
        asked = record.config
        name = f"tau {asked.tau:f}, {asked.strategy}, {asked.dataset}"
        tags = {RUN: self.key, CELL: record.id, DIGEST: digest, NAME: name, PARENT: self.parent_id, SOURCE: "bench"}
        if record.error:
            tags["error"] = f"{record.error.type}: {record.error.message}"
        # The run lasts as long as the cell took, not as long as it takes to log it.
        end = round(1000 * (record.folder(self.run) / RECORD).stat().st_mtime)
        start = end - round(1000 * sum(record.timings.values()))
        tags = {**identity(record), **environment([record]), **tags}
        run = self.client.create_run(self.experiment, start_time=start, tags=tags)
        run_id = run.info.run_id
        parameters = [param(name, value) for name, value in asked.model_dump(mode="json").items()]
        self.client.log_batch(run_id, params=parameters)
        self._log(run, [(name, value, 0) for name, value in numbers(record).items()])
        if prompts := self.prompts.get(asked.dataset):
            self._log_dataset(run_id, asked.dataset, prompts)
        for name, image in pairs(self.run, record):
            self.client.log_image(run_id, image, key=name, step=0, timestamp=start)
        if (table := scores(self.run, record)) is not None:
            self.client.log_table(run_id, shown(table), "scores.json")
        self.client.log_text(run_id, record.model_dump_json(indent=1), RECORD)
        self.client.set_terminated(run_id, "FAILED" if record.error else "FINISHED", end_time=end)
        self.cells[record.id] = self.client.get_run(run_id)
        self.sent += 1

    def finish(self, records: Sequence[Record]) -> None:
        """Log every cell, the curves and the report's files, then finish the parent; logged content stays untouched."""
        points = curves(RunView.of(self.run, records))
        digest = sha256_text(canonical_json(points))
        if self.parent.data.tags.get(POINTS, digest) != digest:
            self._replace_parent()
        for record in records:
            self.log_cell(record)
            if (cell := self.cells[record.id]).data.tags[PARENT] != self.parent_id:
                self.client.set_tag(cell.info.run_id, PARENT, self.parent_id)
        content = self._content(points, records)
        if self.parent.info.status == "FINISHED" and self.parent.data.tags.get(CONTENT) == content:
            prompts = {_prompts_file(name) for name in self.prompts}
            if self._has(self.parent_id, {*prompts, *_artifacts(self.parent), *self._report_files()}):
                return
            self._described = ""  # its prompts' files may be what is missing
        self.start()
        failed = sum(record.status == "failed" for record in records)
        tags = {**environment(records), FAILED: str(failed), POINTS: digest}
        self.client.log_batch(self.parent_id, tags=[RunTag(name, value) for name, value in tags.items()])
        self._log(self.parent, points)
        self._log_report()
        self._find(self.parent)
        self.client.set_tag(self.parent_id, CONTENT, content)
        self.client.set_terminated(self.parent_id, "FINISHED")

    def _find(self, parent: Run | None = None) -> Run | None:
        """Return the parent, if there is one, and remember the cells.

        Of a run that is there twice stays the one that is known to this session, else the most complete.
        """
        query = f"tags.`{RUN}` = '{self.key}'"
        runs = self.client.search_runs([self.experiment], query, max_results=10_000)
        for run in sorted(runs, key=_completeness, reverse=True):
            if cell := run.data.tags.get(CELL):
                known = self.cells.setdefault(cell, run)
            else:
                known = parent = parent or run
            if known.info.run_id != run.info.run_id:
                self.client.delete_run(run.info.run_id)
        return parent

    def _describe(self) -> None:
        """Log prompt sets, and the settings as the parent's parameters; those that it has cannot change."""
        known = self.parent.data.params
        new = [(name, value) for name, value in self.spec.items() if name not in known and value not in (None, [])]
        self.client.log_batch(self.parent_id, params=[param(name, value) for name, value in new][:100])
        for name, texts in self.prompts.items():
            self._log_dataset(self.parent_id, name, texts)
            self.client.log_text(self.parent_id, "\n".join(texts) + "\n", _prompts_file(name))

    def _log_dataset(self, run_id: str, name: str, prompts: Sequence[str]) -> None:
        """Log a prompt set as an input dataset; the same one again is the same row."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on how the source could also be read
            source = str(self.parent.data.tags[FOLDER])
            dataset = mlflow.data.from_pandas(pd.DataFrame({"prompt": list(prompts)}), source=source, name=name)
        entity = Dataset.from_dictionary(dataset.to_dict())
        self.client.log_inputs(run_id, datasets=[DatasetInput(entity, [InputTag("mlflow.data.context", "prompts")])])

    def _log_report(self) -> None:
        """Log the folder ``report/`` as it is, and its tables in the form that MLflow compares."""
        report = self.run / "report"
        if not report.is_dir():
            return
        self.client.log_artifacts(self.parent_id, str(report))
        logged = {artifact.path for artifact in self.client.list_artifacts(self.parent_id, "tables")}
        names = []
        for path in sorted(report.glob("tables/*.csv")):
            table, name = shown(report_table(path)), f"tables/{path.stem}.json"
            if name in logged:  # to which `log_table` would add its rows
                text = table.to_json(orient="split", index=False, date_format="iso")
                self.client.log_text(self.parent_id, str(text), name)
            else:
                self.client.log_table(self.parent_id, table, name)
            names.append(name)
        tag = json.dumps([{"path": name, "type": "table"} for name in names])
        self.client.set_tag(self.parent_id, TABLES, tag)  # again, for a `log_table` that was cut short

    def _report_files(self) -> dict[str, Path]:
        """Return the report's files by their names in it."""
        report = self.run / "report"
        return {path.relative_to(report).as_posix(): path for path in report.rglob("*") if path.is_file()}

    def _has(self, run_id: str, names: Collection[str]) -> bool:
        """Return whether a run has artifacts of these names: its tags stay where their folder is lost."""
        folders = {name.rpartition("/")[0] for name in names}
        there = {one.path for folder in sorted(folders) for one in self.client.list_artifacts(run_id, folder or None)}
        return there.issuperset(names)

    def _replace_parent(self) -> None:
        """Start a new parent where the curves changed: a point that is logged cannot be taken back."""
        old = self.client.get_run(self.parent_id)
        self.parent = self.client.create_run(self.experiment, tags=self.tags)
        for name in old.data.metrics:
            if name.startswith(SYSTEM):  # measured while the sweep ran, and in no folder
                self._send(self.client.get_metric_history(old.info.run_id, name))
        self.client.delete_run(old.info.run_id)

    def _content(self, points: Sequence[Any], records: Sequence[Record]) -> str:
        """Return a digest of all that the parent holds."""
        files = {name: sha256_file(path) for name, path in self._report_files().items()}
        cells = [record.model_dump_json() for record in records]
        return sha256_text(canonical_json([FORM, dict(self.spec), dict(self.prompts), points, files, cells]))

    def _log(self, run: Run, points: Sequence[tuple[str, float, int]]) -> None:
        """Log metrics with times that follow from the step alone: the same point again is the same row, not another."""
        started = run.info.start_time
        self._send([Metric(key(name), value, started + step, step) for name, value, step in points], run)

    def _send(self, metrics: Sequence[Metric], run: Run | None = None) -> None:
        for i in range(0, len(metrics), BATCH):
            self.client.log_batch((run or self.parent).info.run_id, metrics=list(metrics[i : i + BATCH]))


def run_key(run: Path) -> str:
    """Return the key that tells this run folder from all others wherever it is moved; made once, kept in it."""
    path = run / KEY_FILE
    try:
        return str(parse_json(path.read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        new_key = uuid4().hex
        atomic_write(path, canonical_json({"key": new_key}) + "\n")
        return new_key


def _completeness(run: Run) -> tuple[bool, int, int]:
    return run.info.status != "RUNNING", len(run.data.params), run.info.start_time


def _prompts_file(name: str) -> str:
    return f"prompts/{plain(name)}.txt"


def _artifacts(run: Run) -> set[str]:
    """Return the artifacts that a run's tags say it has; of its pictures, their folder."""
    tags = run.data.tags
    tables = {str(table["path"]) for table in parse_json(tags.get(TABLES, "[]"))}
    return tables | ({RECORD} if CELL in tags else set()) | ({"images"} if IMAGES in tags else set())


def _experiment(client: MlflowClient, experiment: str | int, uri: str) -> str:
    """Return the number of an experiment, made if it is named and not there."""
    found = _found(client, experiment)
    if found is None:
        database = database_of(uri)
        try:
            return str(client.create_experiment(str(experiment), database and artifacts_of(database)))
        except MlflowException as error:
            if error.error_code != EXISTS or (found := _found(client, experiment)) is None:
                raise
    if found.lifecycle_stage != "active":
        raise UserError(
            f"the experiment {found.name!r} was deleted in MLflow",
            f"restore it with `mlflow experiments restore -x {found.experiment_id}`, or choose another --experiment",
        )
    return str(found.experiment_id)


def _found(client: MlflowClient, experiment: str | int) -> Experiment | None:
    if isinstance(experiment, int):
        return client.get_experiment(str(experiment))
    return client.get_experiment_by_name(experiment)
