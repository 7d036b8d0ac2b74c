"""The time line of a run: one line a stage, in ``timeline.jsonl``, written as stages end.

A line is an `Attempt` (a sweep was begun or taken up again) or a `Span` (a stage of it ran). Spans of one thread never
overlap: a stage within another, as loading is within denoising, cuts it into pieces. Those of other threads may overlap
with them and are marked; `walls` counts no second twice.
"""

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from common.files import GoneError, canonical_json, sha256_text, still_there
from common.loading import hearing_loads
from sweeps.events import Emit, Event, StageAdvanced, StageFinished, StageStarted, SweepStarted

if TYPE_CHECKING:
    from sweeps.jobs import Job

NAME = "timeline.jsonl"
CHECK = "check"  # a line's hash of what else it says
LOAD = "load"


class Line(BaseModel):
    """A line of the file; what a later version adds is no matter."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    attempt: int
    utc: str


class Attempt(Line):
    """A sweep was begun, or taken up again; `cells` are the ids of those it was to have records of in the end."""

    cells: list[str]


class Span(Line):
    """A stage, or the piece of it between two stages within it.

    Attributes:
        stage: its name.
        cell: the job that it was for, if for one alone, and `dataset` is that job's.
        model: whose stage it was, if a model's.
        start: seconds since the attempt began; `utc` is the same moment.
        seconds: how long it was.
        units: what it did, as it was announced: node-steps, pictures, prompts; 0 where nothing was counted. All of them
            are on a stage's last piece.
        calls: 1 on a stage's last piece, 0 on those before.
        beside: whether it ran beside other stages: in a thread of its own.
        first: seconds until the first units were done, loading left out; None where none was counted.
        first_units: how many those were.
        rest: seconds from then until the last were.
    """

    stage: str
    cell: str | None = None
    model: str | None = None
    dataset: str | None = None
    start: float
    seconds: float
    units: int = 0
    calls: int = 1
    beside: bool = False
    first: float | None = None
    first_units: int = 0
    rest: float = 0.0

    @property
    def end(self) -> float:
        """Return the seconds from the attempt's beginning to this one's end."""
        return self.start + self.seconds


@dataclass
class _Open:
    """A stage that runs; `since` is where its present piece began, `own` what its former pieces took."""

    stage: str
    since: float
    model: str | None
    job: "Job | None" = None
    own: float = 0.0
    units: int = 0
    first: float | None = None
    first_units: int = 0
    last: float = 0.0


class Timeline:
    """Hears what happens, from any thread, and keeps every stage's span; in a sweep's folder too, once that is known.

    Stages of other threads than that in which it was made run beside the others.

    Attributes:
        spans: all so far, in the order in which they ended; their attempt is known when their run is.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._start, self._utc = time.perf_counter(), datetime.now(UTC)
        self._open: dict[int, list[_Open]] = {}
        self._thread, self._lock = threading.get_ident(), threading.Lock()
        self._path: Path | None = None
        self._attempt = 1
        self._error: OSError | GoneError | None = None

    def __call__(self, event: Event) -> None:
        if not isinstance(event, StageFinished):
            self.check()
        now, thread = time.perf_counter(), threading.get_ident()
        with self._lock:
            stages = self._open.setdefault(thread, [])
            match event:
                case SweepStarted(run=run, jobs=jobs):
                    self._begin(run / NAME, [job.id for job in jobs])
                case StageStarted(stage=stage, model=model, job=job):
                    if stages:
                        around = stages[-1]
                        self._piece(around, now)
                        model, job = model or around.model, job or around.job
                    stages.append(_Open(stage, now, model, job))
                case StageAdvanced(done=done) if stages:
                    _advance(stages[-1], done, now)
                case StageFinished() if stages:
                    self._finish(stages.pop(), now)
                    if stages:
                        stages[-1].since = now
                case _:
                    pass

    def check(self) -> None:
        """Raise the error that a line could not be written for.

        It is not raised when a stage ends: stages also end because something else has failed, which is to be told.
        """
        if self._error:
            raise self._error

    def elapsed(self) -> float:
        """Return the seconds since this was made."""
        return time.perf_counter() - self._start

    def _begin(self, path: Path, cells: list[str]) -> None:
        """Begin an attempt in the run's file; spans from before the folder was known belong to it."""
        known = read_timeline(path.parent)
        self._attempt = 1 + max((attempt.attempt for attempt in known.attempts), default=0)
        self._path = path
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            _append(path, "\n")  # ends a torn line
        _append(path, _line(Attempt(attempt=self._attempt, utc=_utc(self._utc), cells=cells)))
        self.spans = [span.model_copy(update={"attempt": self._attempt}) for span in self.spans]
        _append(path, "".join(map(_line, self.spans)))

    def _piece(self, stage: _Open, now: float) -> None:
        stage.own += now - stage.since
        self._add(self._span(stage, now).model_copy(update={"calls": 0}))

    def _finish(self, stage: _Open, now: float) -> None:
        update: dict[str, float | None] = {"units": stage.units, "first_units": stage.first_units}
        if stage.first is not None:
            update |= {"first": round(stage.first, 6), "rest": round(stage.last - stage.first, 6)}
        self._add(self._span(stage, now).model_copy(update=update))

    def _span(self, stage: _Open, now: float) -> Span:
        since, job = stage.since - self._start, stage.job
        return Span(
            attempt=self._attempt,
            utc=_utc(self._utc + timedelta(seconds=since)),
            stage=stage.stage,
            cell=job.id if job else None,
            model=stage.model,
            dataset=job.source.prompts.name if job else None,
            start=round(since, 6),
            seconds=round(now - stage.since, 6),
            beside=threading.get_ident() != self._thread,
        )

    def _add(self, span: Span) -> None:
        self.spans.append(span)
        if self._path and not self._error:
            try:
                _append(self._path, _line(span))
            except (OSError, GoneError) as error:
                self._error = error


@dataclass(frozen=True)
class Log:
    """The lines of a run's file, by kind; none where it has no file.

    `damaged` is the number of those that are left out and were not torn by a kill.
    """

    attempts: tuple[Attempt, ...] = ()
    spans: tuple[Span, ...] = ()
    damaged: int = 0


def read_timeline(run: Path) -> Log:
    """Return the time line of a run folder; lines that were torn by a kill, or are damaged, are left out.

    Raises:
        OSError: it cannot be read.
    """
    path = run / NAME
    if os.path.lexists(path) and not path.is_file():
        return Log(damaged=1)
    lines = path.read_bytes().splitlines() if path.is_file() else []
    entries = [_parsed(line) for line in lines]
    # a kill tears the last line of an attempt, and no other; at the end of the file, nobody knows whether it was one
    ends = [*(isinstance(after, Attempt) for after in entries[1:]), False]
    return Log(
        tuple(entry for entry in entries if isinstance(entry, Attempt)),
        tuple(entry for entry in entries if isinstance(entry, Span)),
        sum(entry is None and not torn for entry, torn in zip(entries, ends, strict=False)),
    )


def walls(spans: Iterable[Span]) -> dict[str, float]:
    """Return by stage the seconds that it adds to a run; of one that runs beside others, those in which no other runs.

    No second is counted twice, within a stage or between two; attempts may be several.

    Examples:
        >>> denoise = Span(attempt=1, utc="", stage="denoise", start=0, seconds=10)
        >>> write = Span(attempt=1, utc="", stage="write", start=8, seconds=4, beside=True)
        >>> walls([denoise, write])
        {'denoise': 10.0, 'write': 2.0}
    """
    seconds: dict[str, float] = {}
    attempts: dict[int, dict[tuple[bool, str], list[tuple[float, float]]]] = {}
    for span in spans:
        seconds.setdefault(span.stage, 0.0)
        stages = attempts.setdefault(span.attempt, {})
        stages.setdefault((span.beside, span.stage), []).append((span.start, span.end))
    for stages in attempts.values():
        covered: list[tuple[float, float]] = []
        for (_, stage), intervals in sorted(stages.items(), key=lambda item: item[0][0]):
            wider = merged([*covered, *intervals])
            seconds[stage] += _length(wider) - _length(covered)
            covered = wider
    return seconds


def merged(intervals: Iterable[tuple[float, float]], gap: float = 0.0) -> list[tuple[float, float]]:
    """Return the same moments in ascending intervals, of which none touch; those nearer than `gap` become one.

    Examples:
        >>> merged([(0, 2), (5, 6), (1, 3)])
        [(0, 3), (5, 6)]
        >>> merged([(0, 2), (2.5, 3)], gap=1)
        [(0, 3)]
    """
    apart: list[tuple[float, float]] = []
    for low, high in sorted(intervals):
        if apart and low <= apart[-1][1] + gap:
            apart[-1] = apart[-1][0], max(apart[-1][1], high)
        else:
            apart.append((low, high))
    return apart


def whole(spans: Sequence[Span]) -> float:
    """Return the seconds of the attempts that the spans are of, from their beginnings to the ends of their last spans.

    Examples:
        >>> whole([Span(attempt=n, utc="", stage="score", start=3, seconds=4) for n in (1, 2)])
        14.0
    """
    ends: dict[int, float] = {}
    for span in spans:
        ends[span.attempt] = max(ends.get(span.attempt, 0.0), span.end)
    return sum(ends.values())


@contextmanager
def loads_told(emit: Emit) -> Iterator[None]:
    """Announce whatever is loaded within the block as a stage, `LOAD`."""
    with hearing_loads(lambda begins: emit(StageStarted(LOAD, 1) if begins else StageFinished())):
        yield


def _advance(stage: _Open, done: int, now: float) -> None:
    stage.units += done
    stage.last = stage.own + now - stage.since
    if stage.first is None:
        stage.first, stage.first_units = stage.last, done


def _length(intervals: Iterable[tuple[float, float]]) -> float:
    return sum(high - low for low, high in intervals)


def _parsed(line: bytes) -> Attempt | Span | None:
    """Return what a line says; None where it was torn, or is not what was written."""
    try:
        content = json.loads(line)
        told = content.pop(CHECK, None)
        if told not in (None, _check(content)):  # those of earlier versions have none
            return None
        kind: type[Attempt] | type[Span] = Span if "stage" in content else Attempt
        return kind.model_validate(content)
    except (ValidationError, ValueError, AttributeError, TypeError, RecursionError):
        return None


def _line(line: Line) -> str:
    content = json.loads(line.model_dump_json(exclude_defaults=True))
    return json.dumps({**content, CHECK: _check(content)}, separators=(",", ":")) + "\n"


def _check(content: dict[str, Any]) -> str:
    return sha256_text(canonical_json(content))[:16]


def _append(path: Path, text: str) -> None:
    still_there(path)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
