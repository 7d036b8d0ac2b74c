"""Log a sweep to MLflow while it runs, or afterwards; the run folder stays the truth.

No trouble with tracking reaches the sweep: the first one becomes a warning, and nothing more is tried.
"""

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
LONGEST = 200


class MlflowTracker:
    """One parent run a sweep, one nested run a cell; logging a sweep again adds only what is missing.

    Args:
        uri: an MLflow tracking URI; for ``sqlite:///FILE`` the artifacts go into the folder ``mlartifacts`` beside it.
        warn: is given one line when tracking has failed; standard error unless given.
        patience: seconds that logging one event may take before tracking is given up.
        system_metrics: log what processor, memory, disk and accelerator do, by MLflow's own monitor.
    """

    def __init__(
        self,
        uri: str,
        warn: Callable[[str], None] | None = None,
        patience: float = PATIENCE,
        system_metrics: bool = False,
    ) -> None:
        self.uri, self.patience, self.system_metrics = uri, patience, system_metrics
        self.warn = warn or (lambda line: print(f"warning: {line}", file=sys.stderr))
        self._session: Session | None = None
        self._monitor = ExitStack()

    def sweep_started(self, spec: Mapping[str, Any], prompts: Mapping[str, Sequence[str]], run: Path) -> None:
        """Find or make the sweep's parent run, with the spec as parameters and every prompt set as a dataset.

        Args:
            spec: the sweep's spec as plain values.
            prompts: by prompt set, its prompts.
            run: the run folder.
        """
        if self.system_metrics:
            self._monitor.enter_context(_quiet())  # it warns from a thread of its own
        with self._guarded():
            from reports.session import Session

            session = Session(self.uri, EXPERIMENT, run, spec, prompts)
            session.start()
            if self.system_metrics:
                self._monitor.enter_context(_monitored(self.uri, session.parent_id))
            self._session = session

    def cell_finished(self, record: Record) -> None:
        """Log a cell's nested run, unless this very record is there."""
        if session := self._session:
            with self._guarded():
                session.log_cell(record)

    def sweep_finished(self, run: Path, records: Sequence[Record]) -> None:
        """Log cells that are missing, the curves over tau, and the files of ``report/``, which are written by then."""
        self._monitor.close()
        if session := self._session:
            with self._guarded(last=True):
                session.finish(records)

    @contextmanager
    def _guarded(self, last: bool = False) -> Iterator[None]:
        start = time.monotonic()
        try:
            with _quiet():
                yield
        except Exception as error:  # whatever a server, a database or a network raises
            self._give_up(_reason(error))
        else:
            if time.monotonic() - start > self.patience and not last:
                self._give_up(f"it took more than {self.patience:g} seconds to log one event")

    def _give_up(self, reason: str) -> None:
        self._session = None
        self._monitor.close()
        again = "Nothing is lost: mend it, then run the same command again, or `bench track` the run"
        self.warn(f"tracking at {masked(self.uri)} stopped: {reason}. {again}")


def track(run: Path, uri: str) -> tuple[int, int]:
    """Log an existing run folder, its report included; what MLflow already has is left as it is.

    Returns:
        How many cells were sent, and how many the run has.

    Raises:
        UserError: the folder is no run, a record in it is damaged, or MLflow cannot be reached.
    """
    import yaml

    from reports.render import damaged_report

    records = load_records(run)
    if damaged := damaged_report(run):
        raise UserError(f"the report is not what was written: {'; '.join(damaged)}", f"run bench report {run} first")
    prompts = {record.config.dataset: record.prompts(run) for record in records if record.baseline}
    spec = yaml.safe_load((run / "sweep.yaml").read_text(encoding="utf-8"))
    spec.pop("schema_version", None)
    try:
        with _quiet():
            from reports.session import Session

            session = Session(uri, EXPERIMENT, run, spec, prompts)
            session.finish(records)
    except Exception as error:  # whatever a server, a database or a network raises
        raise UserError(
            f"tracking at {masked(uri)} stopped: {_reason(error)}",
            "what was sent stays; mend it, then run the same command again",
        ) from error
    return session.sent, len(records)


@contextmanager
def _monitored(uri: str, run_id: str) -> Iterator[None]:
    """Log the machine's system metrics to an MLflow run; those of an earlier start are continued."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _reason(error: BaseException) -> str:
    """Return one line on what went wrong, as short as it can be said."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError) or type(cause).__name__ in ("ConnectionError", "ConnectTimeout"):
            return "no server answers there"
        if type(cause).__name__ == "ReadTimeout":
            return "the server takes too long to answer"
        cause = cause.__cause__ or cause.__context__
    return masked(" ".join(str(error).split())[:LONGEST]) or type(error).__name__


def masked(text: str) -> str:
    """Return the text without the user and password of an address."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


@contextmanager
def _quiet() -> Iterator[None]:
    """Run MLflow with short timeouts and without its own log; the caller's settings win."""
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
