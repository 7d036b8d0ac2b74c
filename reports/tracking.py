"""Logs a sweep to MLflow while it runs, or afterwards; the run folder stays the truth.

No trouble with tracking reaches the sweep: the first one becomes a warning, and nothing more is tried.
"""

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from sweeps.record import Record, load_records

if TYPE_CHECKING:
    from reports.session import Session

EXPERIMENT = "reusebench"
PATIENCE = 30.0
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
CHATTY = ("mlflow", "alembic", "urllib3")


class MlflowTracker:
    """One parent run a sweep, one nested run a cell; logging a sweep again adds only what is missing.

    Args:
        uri: an MLflow tracking URI; for ``sqlite:///FILE`` the artifacts go into the folder ``mlartifacts`` beside it.
        warn: is given one line when tracking has failed; standard error unless given.
        patience: seconds that logging one event may take before tracking is given up.
    """

    def __init__(self, uri: str, warn: Callable[[str], None] | None = None, patience: float = PATIENCE) -> None:
        self.uri, self.patience = uri, patience
        self.warn = warn or (lambda line: print(f"warning: {line}", file=sys.stderr))
        self._session: Session | None = None

    def sweep_started(self, spec: Mapping[str, Any], prompts: Mapping[str, Sequence[str]], run: Path) -> None:
        """Find or make the sweep's parent run, with the spec as parameters and every prompt set as a dataset.

        Args:
            spec: the sweep's spec as plain values.
            prompts: by prompt set, its prompts.
            run: the run folder.
        """
        with self._guarded():
            from reports.session import Session

            session = Session(self.uri, EXPERIMENT, run)
            session.log_spec(spec)
            for name, texts in prompts.items():
                session.log_prompts(name, texts)
            self._session = session

    def cell_finished(self, record: Record) -> None:
        """Log a cell's nested run, unless this very record is there."""
        if session := self._session:
            with self._guarded():
                session.log_cell(record)

    def sweep_finished(self, run: Path, records: Sequence[Record]) -> None:
        """Log cells that are missing, the curves over tau, and the files of ``report/``, which are written by then."""
        if session := self._session:
            with self._guarded():
                session.finish(run, records)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        start = time.monotonic()
        try:
            with _quiet():
                yield
        except Exception as error:  # whatever a server, a database or a network raises
            self._give_up(" ".join(str(error).split())[:200] or type(error).__name__)
        else:
            if time.monotonic() - start > self.patience:
                self._give_up(f"it took more than {self.patience:g} seconds to log one event")

    def _give_up(self, reason: str) -> None:
        self._session = None
        line = f"tracking at {self.uri} stopped: {reason}. Nothing is lost: mend it and run the same command again"
        self.warn(re.sub(r"//[^/@\s]+@", "//***@", line))


def track(run: Path, uri: str) -> None:
    """Log an existing run folder, its report included; what MLflow already has is left as it is.

    Raises:
        UserError: the folder is no run, a record in it is damaged, or MLflow cannot be reached.
    """
    import yaml

    records = load_records(run)
    prompts = {record.asked.dataset: record.prompts(run) for record in records if record.standard}
    lines: list[str] = []
    tracker = MlflowTracker(uri, lines.append, patience=float("inf"))
    tracker.sweep_started(yaml.safe_load((run / "sweep.yaml").read_text(encoding="utf-8")), prompts, run)
    tracker.sweep_finished(run, records)
    if lines:
        raise UserError(lines[0], "see `bench doctor`")


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow with short timeouts, and without what it logs about itself; the caller's settings win."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    loggers = [logging.getLogger(name) for name in CHATTY]
    import mlflow  # noqa: F401  # sets its loggers' levels when first imported

    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
