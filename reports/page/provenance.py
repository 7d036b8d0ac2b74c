"""Where a page's numbers come from: what was asked, with which versions, hashes, machines and scorers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.base import RunView
from reports.labels import title
from sweeps.record import SPEC, Record

MOST = 12  # different values of one thing that are written out


@dataclass(frozen=True)
class Part:
    """Some facts under a heading: name and values, of which there are several where cells differ."""

    heading: str
    facts: dict[str, list[str]]


@dataclass(frozen=True)
class Origin:
    """A run's spec as it was written, and the facts that its records hold."""

    name: str
    spec: str
    parts: list[Part]


def origin(view: RunView) -> Origin:
    """What a run's records say of how it was made."""
    records = [*view.records, *view.references]
    scorers = dict.fromkeys(name for record in records for name in record.scorers)
    parts = [
        Part("What was made", {"cells": [str(len(records))], **_facts([_made(record) for record in records])}),
        Part("Machine", _facts([record.machine for record in records])),
        Part("Versions", _facts([record.versions for record in records])),
        *(Part(f"Scorer: {title(name)}", _facts([_scorer(record, name) for record in records])) for name in scorers),
    ]
    return Origin(view.path.resolve().name, _spec(view.path), [part for part in parts if part.facts])


def _made(record: Record) -> dict[str, Any]:
    return {"model": record.asked.model, "dataset": record.asked.dataset, **record.identity}


def _scorer(record: Record, name: str) -> dict[str, Any]:
    return {key: value for key, value in record.scorers.get(name, {}).items() if key != "figures"}


def _spec(run: Path) -> str:
    try:
        return (run / SPEC).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _facts(parts: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By name, every different value in the order in which it is met; numbers of many cells are cut."""
    found: dict[str, dict[str, None]] = {}
    for part in parts:
        for name, value in _flat(part):
            found.setdefault(name, {})[value] = None
    return {name: _cut(list(values)) for name, values in found.items()}


def _cut(values: list[str]) -> list[str]:
    return values if len(values) <= MOST else [*values[:MOST], f"… {len(values) - MOST} more"]


def _flat(part: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in part.items():
        full = f"{above} {name}".strip()
        if isinstance(value, Mapping):
            yield from _flat(value, "" if name == "settings" else full)
        elif value not in (None, "", []):
            yield full, str(value)
