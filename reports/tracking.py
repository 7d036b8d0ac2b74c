"""Log a sweep to MLflow while it runs, or afterwards; the run folder stays the truth.

No trouble with tracking reaches the sweep: the first one becomes a warning, and nothing more is tried.
"""

import errno
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from common.addresses import escaped, shown, without_secrets
from common.errors import UserError
from common.logs import errors_alone
from reports.mlflow_database import database_of, prepare
from sweeps.record import Record, load_records

if TYPE_CHECKING:
    from reports.session import Session

EXPERIMENT = "reusebench"
PATIENCE = 30.0
LOCK = ".tracking.lock"
LOCKLESS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSYS, errno.ENOTSUP}  # where no lock can be had
NO_ANSWER = {"ConnectionError", "ConnectionRefusedError", "ConnectTimeout", "NewConnectionError", "NameResolutionError"}
SLOW = {"ReadTimeout", "ReadTimeoutError"}
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
        warn: is given one line when tracking has failed, or something was mended; standard error unless given.
        patience: seconds that logging one event may take before tracking is given up.
        system_metrics: log what processor, memory, disk and accelerator do, by MLflow's own monitor.
        experiment: of MLflow, by name; unless given, that of `default_experiment`.

    Attributes:
        worked: whether MLflow has all of the sweep that has finished.
    """

    def __init__(
        self,
        uri: str,
        warn: Callable[[str], None] | None = None,
        patience: float = PATIENCE,
        system_metrics: bool = False,
        experiment: str | None = None,
    ) -> None:
        self.uri, self.patience, self.system_metrics, self.experiment = uri, patience, system_metrics, experiment
        self.worked = False
        self.warn = warn or _warning
        self._session: Session | None = None
        self._ready = False
        self._monitor, self._lock = ExitStack(), ExitStack()

    def sweep_started(self, spec: Mapping[str, Any], prompts: Mapping[str, Sequence[str]], run: Path) -> None:
        """Find or make the sweep's parent run, with the spec as parameters and every prompt set as a dataset.

        Args:
            spec: the sweep's spec as plain values.
            prompts: by prompt set, its prompts.
            run: the run folder.
        """
        if self.system_metrics:
            self._monitor.enter_context(_quiet())  # it warns from a thread of its own
        with self._guarded(limited=False):  # making a database takes what it takes
            database = database_of(self.uri)
            self._lock.enter_context(_held(run))
            if database:
                prepare(database, self.warn)
            self._ready = True
        if not self._ready:
            return
        with self._guarded():
            from reports.session import Session

            session = Session(self.uri, self.experiment or default_experiment(), run, spec, prompts)
            session.start()
            if self.system_metrics:
                self._monitor.enter_context(_monitored(escaped(self.uri), session.parent_id))
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
            with self._guarded(limited=False):
                session.finish(records)
                self.worked = True
        self._lock.close()

    @contextmanager
    def _guarded(self, limited: bool = True) -> Iterator[None]:
        start = time.monotonic()
        try:
            with _quiet():
                yield
        except Exception as error:  # whatever a server, a database or a network raises
            self._give_up(str(error) if isinstance(error, UserError) else _reason(error))
        else:
            if limited and time.monotonic() - start > self.patience:
                self._give_up(f"it is slow: one event took more than {self.patience:g} seconds to log")

    def _give_up(self, reason: str) -> None:
        self._session = None
        self._monitor.close()
        self._lock.close()
        again = "Nothing is lost: mend it, then run the same command again, or `bench track` the run"
        self.warn(f"tracking at {shown(self.uri)} stopped: {reason}. {again}")


def default_experiment() -> str | int:
    """Return the experiment that is meant where none is named: MLflow's own variables say, else `EXPERIMENT`."""
    if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        return name
    number = os.environ.get("MLFLOW_EXPERIMENT_ID", "")
    return int(number) if number.isdecimal() else EXPERIMENT


def track(
    run: Path, uri: str, experiment: str | None = None, say: Callable[[str], None] | None = None
) -> tuple[int, int]:
    """Log an existing run folder, its report included; what MLflow already has is left as it is.

    Args:
        run: a run folder; nobody else sends it meanwhile.
        uri: as for `MlflowTracker`.
        experiment: likewise.
        say: is given one line on what was mended; standard error unless given.

    Returns:
        How many cells were sent, and how many the run has.

    Raises:
        UserError: the folder is no run, a record in it is damaged, another process sends it, or MLflow cannot be
            reached.
    """
    from common.bounded_yaml import parse_yaml
    from reports.render import damaged_report

    records = load_records(run)
    if damaged := damaged_report(run):
        raise UserError(f"the report is not what was written: {'; '.join(damaged)}", f"run bench report {run} first")
    prompts = {record.config.dataset: record.prompts(run) for record in records if record.baseline}
    try:
        spec = dict(parse_yaml((run / "sweep.yaml").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot read {run / 'sweep.yaml'}: {error}", "run the same sweep again") from error
    spec.pop("schema_version", None)
    try:
        database = database_of(uri)
        with _quiet(), _held(run):
            from reports.session import Session

            if database:
                prepare(database, say or _warning)
            session = Session(uri, experiment or default_experiment(), run, spec, prompts)
            session.finish(records)
    except Exception as error:  # whatever a server, a database or a network raises
        hint = (isinstance(error, UserError) and error.hint) or "mend it, then run the same command again"
        raise UserError(
            f"tracking at {shown(uri)} stopped: {_reason(error)}", f"what was sent stays; {hint}"
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
    if isinstance(error, UserError):
        return error.message
    names = {type(cause).__name__ for cause in _causes(error)}
    if names & SLOW:  # before the next: one library tells slowness as a failed connection
        seconds = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", ENVIRONMENT["MLFLOW_HTTP_REQUEST_TIMEOUT"])
        return f"the server is slow: no answer in {seconds} s (MLFLOW_HTTP_REQUEST_TIMEOUT)"
    if names & NO_ANSWER or any(isinstance(cause, ConnectionError) for cause in _causes(error)):
        return "no server answers there"
    return without_secrets(" ".join(str(error).split()))[:LONGEST] or type(error).__name__


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and all that it was raised from, what libraries keep in its arguments and `reason` included."""
    causes: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and one not in causes:
            causes.append(one)
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return causes


@contextmanager
def _held(run: Path) -> Iterator[None]:
    """Let one process at a time send a run folder: two would each make the runs that they do not find.

    Raises:
        UserError: another one does, for longer than `PATIENCE`.
    """
    lock = FileLock(run / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise UserError(f"another process sends {run} to MLflow", "wait until it ends") from None
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
    try:
        yield
    finally:
        lock.release()


def _warning(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


@contextmanager
def _quiet() -> Iterator[None]:
    """Run MLflow with short timeouts and without its own log; the caller's settings win."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401  # sets its loggers' levels when first imported

    with errors_alone(*CHATTY, least=logging.CRITICAL):
        yield
