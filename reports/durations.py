"""Seconds of a run, stage by stage: from its timeline or, where it has none, from its records."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sweeps.record import CellConfig, Record
from sweeps.timeline import Log, Span, walls, whole

K = TypeVar("K", bound=Hashable)

REST = "the rest"
UNITS = {"encode": "prompts", "denoise": "denoiser evaluations", "decode": "pictures", "score": "scores"}
REUSED = "reused"  # no stage: the seconds that reused baseline pictures had taken


@dataclass(frozen=True)
class Duration:
    """A stage, over one attempt or over all.

    Attributes:
        stage: its name; `REST` for the seconds outside every stage.
        seconds: seconds that it added to the whole (`walls`).
        beside: further seconds that it ran while another stage did.
        calls: how often it ran; None where that is not known.
        units: how many units it finished.
    """

    stage: str
    seconds: float
    beside: float = 0.0
    calls: int | None = None
    units: int = 0

    @property
    def rate(self) -> float | None:
        """Units a second while the stage ran."""
        busy = self.seconds + self.beside
        return self.units / busy if self.units and busy else None


@dataclass(frozen=True)
class Pace:
    """A model's stage: the seconds to its first units, the first time that it ran, and those of later units.

    Attributes:
        model: the model's name; None for a stage without a model.
        first: seconds to the first units, loading left out.
        first_units: how many units were finished by then.
        steady: mean seconds of a later unit, each call's first ones left out; None if there was none.
    """

    model: str | None
    stage: str
    first: float
    first_units: int
    steady: float | None


def durations(spans: Sequence[Span]) -> list[Duration]:
    """Return one row for each stage, in the order in which they first ran, and one for the rest."""
    seconds = walls(spans)
    rows = []
    for stage, stage_spans in _by(spans, lambda span: span.stage).items():
        busy = sum(span.seconds for span in stage_spans)
        rows.append(
            Duration(
                stage,
                seconds[stage],
                beside=max(0.0, busy - seconds[stage]) if any(span.beside for span in stage_spans) else 0.0,
                calls=sum(span.calls for span in stage_spans),
                units=sum(span.units for span in stage_spans) if stage in UNITS else 0,
            )
        )
    return [*rows, Duration(REST, max(0.0, whole(spans) - sum(seconds.values())))]


def attempts(log: Log) -> dict[int, list[Span]]:
    """Return the spans of every attempt that ended a stage, by the attempt's number."""
    return dict(sorted(_by(log.spans, lambda span: span.attempt).items()))


def paces(spans: Iterable[Span]) -> list[Pace]:
    """Return the pace of every model's stages that count units."""
    counted = [span for span in spans if span.first is not None and span.stage in UNITS]
    model_paces = []
    for (model, stage), stage_spans in _by(counted, lambda span: (span.model, span.stage)).items():
        units = sum(span.units - span.first_units for span in stage_spans)
        steady = sum(span.rest for span in stage_spans) / units if units else None
        model_paces.append(Pace(model, stage, stage_spans[0].first or 0.0, stage_spans[0].first_units, steady))
    return sorted(model_paces, key=lambda pace: (pace.model is None, pace.model or ""))


def recorded(records: Sequence[Record]) -> list[Duration]:
    """Return the durations that records know: without loading, reports, and attempts that were cut off.

    Seconds that several records have in common, of baseline images and of one clustering, are counted once.
    """
    by_folder: dict[str, dict[str, float]] = {}
    clustered: dict[CellConfig, float] = {}
    for record in records:
        if record.baseline:
            by_folder[record.baseline] = dict(record.baseline_timings)
    for record in records:
        by_folder.setdefault(record.images or record.id, dict(record.timings))
        if clustering := by_folder[record.images or record.id].pop("cluster", None):
            clustered[record.config.model_copy(update={"tau": 0, "schedule": "", "combiner": ""})] = clustering
    seconds = {"cluster": sum(clustered.values())} if clustered else {}
    for timings in by_folder.values():
        for stage, clustering in timings.items():
            seconds[stage] = seconds.get(stage, 0.0) + clustering
    return [Duration(stage, clustering) for stage, clustering in seconds.items() if stage != REUSED]


def _by(spans: Iterable[Span], key: Callable[[Span], K]) -> dict[K, list[Span]]:
    """Group the spans by a key, in the order in which they began."""
    groups: dict[K, list[Span]] = {}
    for span in sorted(spans, key=lambda span: (span.attempt, span.start)):
        groups.setdefault(key(span), []).append(span)
    return groups
