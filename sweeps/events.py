"""The events of a sweep as one stream: the command line shows it, a tracker logs it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from common.errors import UserError
from sweeps.record import Record

if TYPE_CHECKING:
    from sweeps.jobs import Job
    from sweeps.spec import SweepSpec


@dataclass(frozen=True)
class SweepStarted:
    """The run folder is held and the jobs that will have records are known."""

    run: Path
    spec: "SweepSpec"
    jobs: Sequence["Job"]


@dataclass(frozen=True)
class StageStarted:
    """A stage with a known amount of work: ``encode``, ``cluster``, ``denoise``, ``decode``, ``write``, ``score``.

    Stages are those of the thread that tells of them, and one may begin within another, as ``load`` does.

    Attributes:
        model: whose stage it is, where it is a model's.
        job: for whose pictures alone it is, where it is not for several jobs'.
        before: units of the total that were done before, by a process that was interrupted.
    """

    stage: str
    total: int
    model: str | None = None
    job: "Job | None" = None
    before: int = 0


@dataclass(frozen=True)
class StageAdvanced:
    """`done` more units of the running stage of this thread."""

    done: int


@dataclass(frozen=True)
class StageFinished:
    """The stage of this thread that began last is over."""


@dataclass(frozen=True)
class Note:
    """Something a person should know: a damaged file made again, a smaller batch, other library versions."""

    text: str


@dataclass(frozen=True)
class CellFinished:
    """A record is on disk; `kept` if it was there before and nothing had to be done."""

    record: Record
    kept: bool


@dataclass(frozen=True)
class CellScored:
    """A finished cell's pictures were scored, the `number`-th of `total`; with an error they could not be."""

    record: Record
    number: int
    total: int
    error: UserError | None = None


Event: TypeAlias = SweepStarted | StageStarted | StageAdvanced | StageFinished | Note | CellFinished | CellScored
Emit: TypeAlias = Callable[[Event], None]


@contextmanager
def stage(emit: Emit, name: str) -> Iterator[None]:
    """Announce the block as a stage of one unit, which ends with it."""
    emit(StageStarted(name, 1))
    try:
        yield
    finally:
        emit(StageFinished())
