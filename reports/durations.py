"""What a run's seconds went to, stage by stage: from its time line or, where it has none, from its records."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sweeps.record import Asked, Record
from sweeps.timeline import Log, Span, walls, whole

K = TypeVar("K", bound=Hashable)

REST = "the rest"
UNITS = {"encode": "prompts", "denoise": "node-steps", "decode": "pictures", "score": "scores"}
REUSED = "reused"  # no stage: what standard's pictures had taken


@dataclass(frozen=True)
class Duration:
    """A stage, over one attempt or over all.

    Attributes:
        stage: its name; `REST` for what no stage took.
        seconds: that it added to the whole (`walls`).
        beside: that it was at work besides, while other stages were.
        calls: how often it ran; None where that is not known.
        units: what it did.
    """

    stage: str
    seconds: float
    beside: float = 0.0
    calls: int | None = None
    units: int = 0

    @property
    def rate(self) -> float | None:
        """Units a second that it was at work."""
        busy = self.seconds + self.beside
        return self.units / busy if self.units and busy else None


@dataclass(frozen=True)
class Pace:
    """A model's stage: how long until its first units were done the first time that it ran, and what others took.

    Attributes:
        model: None of a stage that is no model's.
        first: seconds, loading left out.
        first_units: how many were done by then.
        steady: mean seconds of a unit that came later, each call's first ones left out; None if there was none.
    """

    model: str | None
    stage: str
    first: float
    first_units: int
    steady: float | None


def durations(spans: Sequence[Span]) -> list[Duration]:
    """A row a stage in the order in which they first ran, and what no stage took."""
    seconds = walls(spans)
    rows = []
    for stage, own in _by(spans, lambda span: span.stage).items():
        busy = sum(span.seconds for span in own)
        rows.append(
            Duration(
                stage,
                seconds[stage],
                beside=max(0.0, busy - seconds[stage]) if any(span.beside for span in own) else 0.0,
                calls=sum(span.calls for span in own),
                units=sum(span.units for span in own) if stage in UNITS else 0,
            )
        )
    return [*rows, Duration(REST, max(0.0, whole(spans) - sum(seconds.values())))]


def attempts(log: Log) -> dict[int, list[Span]]:
    """By number, the spans of every attempt that ended a stage."""
    return dict(sorted(_by(log.spans, lambda span: span.attempt).items()))


def paces(spans: Iterable[Span]) -> list[Pace]:
    """Of every model's stages whose units have a name."""
    counted = [span for span in spans if span.first is not None and span.stage in UNITS]
    found = []
    for (model, stage), own in _by(counted, lambda span: (span.model, span.stage)).items():
        units = sum(span.units - span.first_units for span in own)
        steady = sum(span.rest for span in own) / units if units else None
        found.append(Pace(model, stage, own[0].first or 0.0, own[0].first_units, steady))
    return sorted(found, key=lambda pace: (pace.model is None, pace.model or ""))


def recorded(records: Sequence[Record]) -> list[Duration]:
    """The same as far as records tell: nothing of loading, of reports, and of attempts that were cut off.

    Seconds are counted once that several records have in common: standard images', and those of one clustering.
    """
    made: dict[str, dict[str, float]] = {}
    clustered: dict[Asked, float] = {}
    for record in records:
        if record.standard:
            made[record.standard] = dict(record.standard_timings)
    for record in records:
        made.setdefault(record.images or record.id, dict(record.timings))
        if took := made[record.images or record.id].pop("cluster", None):
            clustered[record.asked.model_copy(update={"tau": 0, "schedule": "", "combiner": ""})] = took
    seconds = {"cluster": sum(clustered.values())} if clustered else {}
    for timings in made.values():
        for stage, took in timings.items():
            seconds[stage] = seconds.get(stage, 0.0) + took
    return [Duration(stage, took) for stage, took in seconds.items() if stage != REUSED]


def _by(spans: Iterable[Span], key: Callable[[Span], K]) -> dict[K, list[Span]]:
    """The spans by their keys, in the order in which they began."""
    found: dict[K, list[Span]] = {}
    for span in sorted(spans, key=lambda span: (span.attempt, span.start)):
        found.setdefault(key(span), []).append(span)
    return found
