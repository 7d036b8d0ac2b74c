"""How fast named accelerators are: what their makers promise, and what was measured on them."""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from common.errors import UserError, nearest

# Of a checkout; an installed package has none.
MEASURED = Path(__file__).parents[1] / "benchmarks" / "results"


class Card(BaseModel):
    """An accelerator.

    Attributes:
        called: a part of the name that its driver gives it.
        peak_flops: dense fp16 or bf16 with fp32 accumulation, a second, as `source` says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    called: str
    peak_flops: float
    source: str


def cards() -> dict[str, Card]:
    """Every known accelerator, by name."""
    return dict(_cards())


def card(name: str) -> Card:
    """The accelerator called `name`.

    Raises:
        UserError: there is none.
    """
    if name.lower() not in _cards():
        raise UserError(f"unknown accelerator {name!r}", nearest(name.lower(), _cards()))
    return _cards()[name.lower()]


def measured_seconds(of: Card, model: str, folder: Path = MEASURED) -> float | None:
    """Seconds that a node-step of this model takes on this card, at the best batch that was tried; None: not measured.

    Read from what `benchmarks.gpu_check` leaves; of several measurements the fastest.

    Raises:
        UserError: a file of measurements is damaged; it is named.
    """
    found: list[float] = []
    for path in sorted(folder.glob("*.json")):
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict) or not isinstance(content.get("results"), list):
                continue  # of another benchmark
            if of.called not in str(content.get("machine", {}).get("accelerator", "")):
                continue
            for result in content["results"]:
                if result.get("model") == model:
                    found += [float(seconds) for seconds in result.get("seconds_per_row", {}).values()]
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise UserError(f"cannot read the measurements {path}: {error}", "measure again, or remove it") from error
    return min(found, default=None)


@cache
def _cards() -> dict[str, Card]:
    content = yaml.safe_load(files("sweeps").joinpath("accelerators.yaml").read_text(encoding="utf-8"))
    return {name: Card(name=name, **about) for name, about in content.items()}
