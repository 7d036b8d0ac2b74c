"""Sharing between prompts and reuse inside a trajectory: each alone, and both together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from reports.base import RunView, Table
from reports.frame import figure_names, row, shared_axes, varying_axes, wall_savings
from reports.labels import MISSING, Label, axis_text, label
from reports.sheet import Column, Entry, Sheet
from reports.tables.summary import headline
from sweeps.record import Asked, Record

NONE, DENOISER = "none", "denoiser"
SHARE = Label("", "fraction")
NOTES = [
    "FLOPs are of the whole pipeline; what a denoiser cache skipped was counted as it ran, module by module",
    "if independent: the FLOPs saved by both if the cache skipped as much of a shared path as of one alone",
    "all are held against the same standard images, made with neither; under a cache no picture is standard's own",
]


@dataclass(frozen=True)
class Way:
    """One row: what is reused, its record, and what both would save if they were independent."""

    what: str
    record: Record
    expected: float | None = None


class Stacking(Table):
    """What sharing and a denoiser cache save and cost: neither, each alone, and both at the same tau."""

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
                *(Entry(axis_text(getattr(way.record.asked, axis))) for axis in axes),
                Entry(cache),
                Entry(f"{way.record.asked.tau:f}"),
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
            (way.record.asked.model_copy(update={"tau": 0, "denoiser_cache": cache}), way.record.asked.tau > 0)
            for way, cache in zip(ways, caches, strict=True)
        ]
        return Sheet(columns, rows, data, ", ".join(shared), NOTES, groups)


def stacked(records: Sequence[Record]) -> Iterator[Way]:
    """For every cache beside cells without one: neither, the cache, then at each tau sharing, and both."""
    known = {record.asked: record for record in records}
    caches = dict.fromkeys(record.asked.denoiser_cache for record in records)
    places = dict.fromkeys(_at(record.asked, 0, NONE) for record in records)
    for place in places:
        neither = known.get(place)
        if neither is None:
            continue
        for name in caches:
            alone = known.get(_at(place, 0, name))
            both = [known[at] for at in known if at.tau > 0 and at == _at(place, at.tau, name)]
            if name == NONE or alone is None:
                continue
            pairs = [(known.get(_at(place, each.asked.tau, NONE)), each) for each in both]
            if not any(sharing for sharing, _ in pairs):
                continue
            yield from (Way("neither", neither), Way("cache", alone))
            for sharing, each in pairs:
                if sharing:
                    yield Way("sharing", sharing)
                    yield Way("both", each, _independent(neither, sharing, alone, each))


def _at(asked: Asked, tau: object, cache: str) -> Asked:
    return asked.model_copy(update={"tau": tau, "denoiser_cache": cache})


def _caches(ways: Sequence[Way]) -> list[str]:
    """Of each row, the cache that it is about: rows without one stand before, or beside, those with it."""
    found = [way.record.asked.denoiser_cache for way in ways]
    return [found[i + 1] if way.what in ("neither", "sharing") else found[i] for i, way in enumerate(ways)]


def _independent(neither: Record, sharing: Record, cache: Record, both: Record) -> float | None:
    """The share of FLOPs that both would save if each left its share of the denoiser's, whatever the other does."""
    flops = [record.flops for record in (neither, sharing, cache, both)]
    if any(each is None or DENOISER not in each.components for each in flops):
        return None
    denoiser = [each.components[DENOISER] for each in flops if each]
    last = flops[3]
    assert last is not None
    total = last.total - denoiser[3] + denoiser[1] * denoiser[2] / denoiser[0]
    return 1 - total / last.standard_total


def _figures(records: Sequence[Record]) -> Iterator[tuple[str, Callable[[Way], Entry]]]:
    for name in headline(figure_names(records)):
        about = label(name, records)

        def entry(way: Way, name: str = name, about: Label = about) -> Entry:
            figure = way.record.figures.get(name)
            return Entry(about.number(figure.value), about.interval(figure)) if figure else Entry(MISSING)

        yield about.heading, entry


def _share(value: float | None) -> Entry:
    return Entry(SHARE.number(value))
