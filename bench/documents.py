"""JSON on standard output: one document of a command's answer, and nothing beside it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.record import Record

# of a record, in the documents of commands
CELL = {"id", "role", "status", "config", "plan", "flops", "results", "scorers", "timings", "error"}


def print_json(answer: Any) -> None:
    """Print an answer as one JSON document: numbers that are none are null, what is no plain value is text.

    Args:
        answer: mappings, sequences, dataclasses, records, and what they hold.
    """
    import typer

    typer.echo(json.dumps(plain(answer), allow_nan=False))


def plain(value: Any) -> Any:
    """Return a value as JSON has it.

    Examples:
        >>> from decimal import Decimal
        >>> from pathlib import Path
        >>> plain({"tau": Decimal("0.50"), "n": (1, float("nan")), "run": Path("runs/a")})
        {'tau': '0.50', 'n': [1, None], 'run': 'runs/a'}
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if callable(dump := getattr(value, "model_dump", None)):
        return plain(dump(mode="python"))
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if callable(as_list := getattr(value, "tolist", None)):  # NumPy's numbers and arrays
        return plain(as_list())
    return str(value)


def cell(record: "Record") -> dict[str, Any]:
    """Return what is told of a cell: its place on the axes, what it cost and gave, why it failed."""
    return record.model_dump(mode="python", include=CELL)
