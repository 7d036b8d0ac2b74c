"""The provenance of a page's numbers: settings, versions, hashes, machines and scorers."""

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
    """Facts under a heading: a name and its values, of which there are several where cells differ."""

    heading: str
    facts: dict[str, list[str]]


@dataclass(frozen=True)
class Origin:
    """A run's spec as it was written, and the facts in its records."""

    name: str
    spec: str
    parts: list[Part]


def origin(view: RunView) -> Origin:
    """Return how a run was made, from its records."""
    records = [*view.records, *view.references]
    scorers = dict.fromkeys(name for record in records for name in record.scorers)
    parts = [
        Part("Cells", {"cells": [str(len(records))], **_facts([_made(record) for record in records])}),
        Part("Machine", _facts([record.machine for record in records])),
        Part("Versions", _facts([record.versions for record in records])),
        *(Part(f"Scorer: {title(name)}", _facts([_scorer(record, name) for record in records])) for name in scorers),
    ]
    return Origin(view.path.resolve().name, _spec(view.path), [part for part in parts if part.facts])


def _made(record: Record) -> dict[str, Any]:
    return {"model": record.config.model, "hub": record.hub, "dataset": record.config.dataset, **record.identity}


def _scorer(record: Record, name: str) -> dict[str, Any]:
    return {key: value for key, value in record.scorers.get(name, {}).items() if key != "figures"}


def _spec(run: Path) -> str:
    try:
        return (run / SPEC).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _facts(parts: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return every different value by name, in the order of the records; long lists are cut."""
    values_by_name: dict[str, dict[str, None]] = {}
    for part in parts:
        for name, value in _flat(part):
            values_by_name.setdefault(name, {})[value] = None
    return {name: _cut(list(values)) for name, values in values_by_name.items()}


def _cut(values: list[str]) -> list[str]:
    return values if len(values) <= MOST else [*values[:MOST], f"… {len(values) - MOST} more"]


def _flat(part: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in part.items():
        full = f"{above} {name}".strip()
        if isinstance(value, Mapping):
            yield from _flat(value, "" if name == "settings" else full)
        elif value not in (None, "", []):
            yield full, str(value)
