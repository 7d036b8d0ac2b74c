"""Sharing between prompts and a denoiser cache within a picture: each alone, and both together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from reports.base import RunView, Table
from reports.frame import result_names, row, shared_axes, varying_axes, wall_savings
from reports.labels import MISSING, Label, axis_text, label
from reports.sheet import Column, Entry, Sheet
from reports.tables.summary import headline
from sweeps.record import CellConfig, Record

NONE, DENOISER = "none", "denoiser"
SHARE = Label("", "fraction")
NOTES = [
    "FLOPs are of the whole pipeline; modules that a denoiser cache skipped were counted as it ran",
    "if independent: the FLOPs that both would save if the cache skipped the same share of shared and other paths",
    "all are compared with the same baseline images, made with neither; under a cache no picture is the baseline's own",
]


@dataclass(frozen=True)
class Way:
    """One row: the kind of reuse, its record, and the savings of both if they were independent."""

    what: str
    record: Record
    expected: float | None = None


class Stacking(Table):
    """Savings and cost of sharing and a denoiser cache: neither, each alone, and both at the same tau."""

    name = "stacking"
    rank: ClassVar[int] = 3

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        ways = list(stacked(run.records))
        if not ways:
            return None
        records = [way.record for way in ways]
        axes = [axis for axis in varying_axes(records) if axis != "denoiser_cache"]
        caches = _caches(ways)
        measured: dict[str, Callable[[Way], Entry]] = {
            "steps saved, %": lambda way: _share(way.record.plan.savings if way.record.plan else None),
            "FLOPs saved, %": lambda way: _share(way.record.flops.savings if way.record.flops else None),
            "if independent, %": lambda way: _share(way.expected),
            "wall time saved, %": lambda way: _share(wall_savings(way.record)),
            **dict(_figures(records)),
        }
        columns = [
            *(Column(axis, numeric=False, key=True) for axis in axes),
            Column("denoiser cache", numeric=False, key=True),
            Column("tau", key=True),
            Column("reuse", numeric=False, key=True),
            *map(Column, measured),
        ]
        rows = [
            [
                *(Entry(axis_text(getattr(way.record.config, axis))) for axis in axes),
                Entry(cache),
                Entry(f"{way.record.config.tau:f}"),
                Entry(way.what),
                *(entry(way) for entry in measured.values()),
            ]
            for way, cache in zip(ways, caches, strict=True)
        ]
        data = pd.DataFrame(
            [
                {"reuse": way.what, "stacked_cache": cache, "flop_savings_if_independent": way.expected}
                | row(way.record)
                for way, cache in zip(ways, caches, strict=True)
            ]
        )
        shared = [f"{name} {axis_text(value)}" for name, value in shared_axes(records).items()]
        groups = [
            (way.record.config.model_copy(update={"tau": 0, "denoiser_cache": cache}), way.record.config.tau > 0)
            for way, cache in zip(ways, caches, strict=True)
        ]
        return Sheet(columns, rows, data, ", ".join(shared), NOTES, groups)


def stacked(records: Sequence[Record]) -> Iterator[Way]:
    """Yield, for every cache with cells without one beside it: neither, cache, then at each tau sharing and both."""
    known = {record.config: record for record in records}
    caches = dict.fromkeys(record.config.denoiser_cache for record in records)
    places = dict.fromkeys(_at(record.config, 0, NONE) for record in records)
    for place in places:
        neither = known.get(place)
        if neither is None:
            continue
        for name in caches:
            alone = known.get(_at(place, 0, name))
            both = [known[at] for at in known if at.tau > 0 and at == _at(place, at.tau, name)]
            if name == NONE or alone is None:
                continue
            with_sharing = [(known.get(_at(place, cell.config.tau, NONE)), cell) for cell in both]
            if not any(sharing for sharing, _ in with_sharing):
                continue
            yield from (Way("neither", neither), Way("cache", alone))
            for sharing, cell in with_sharing:
                if sharing:
                    yield Way("sharing", sharing)
                    yield Way("both", cell, _independent(neither, sharing, alone, cell))


def _at(asked: CellConfig, tau: object, cache: str) -> CellConfig:
    return asked.model_copy(update={"tau": tau, "denoiser_cache": cache})


def _caches(ways: Sequence[Way]) -> list[str]:
    """Return the cache that each row is about: rows without one stand before, or beside, those with it."""
    names = [way.record.config.denoiser_cache for way in ways]
    return [names[i + 1] if way.what in ("neither", "sharing") else names[i] for i, way in enumerate(ways)]


def _independent(neither: Record, sharing: Record, cache: Record, both: Record) -> float | None:
    """Return the share of FLOPs saved if sharing and the cache cut the denoiser's FLOPs independently."""
    flops = [record.flops for record in (neither, sharing, cache, both)]
    if any(count is None or DENOISER not in count.components for count in flops):
        return None
    denoiser = [count.components[DENOISER] for count in flops if count]
    last = flops[3]
    assert last is not None
    total = last.total - denoiser[3] + denoiser[1] * denoiser[2] / denoiser[0]
    return 1 - total / last.baseline_total


def _figures(records: Sequence[Record]) -> Iterator[tuple[str, Callable[[Way], Entry]]]:
    for name in headline(result_names(records), records):
        result_label = label(name, records)

        def entry(way: Way, name: str = name, result_label: Label = result_label) -> Entry:
            figure = way.record.results.get(name)
            return Entry(result_label.number(figure.value), result_label.interval(figure)) if figure else Entry(MISSING)

        yield result_label.heading, entry


def _share(value: float | None) -> Entry:
    return Entry(SHARE.number(value))
