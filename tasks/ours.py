"""The methods in the box, run on a card: the first rows of its leaderboard, made and scored as a stranger's are."""

from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict

from common.bounded_yaml import parse_yaml
from common.files import canonical_json
from sweeps.spec import SweepSpec
from tasks.card import Card
from tasks.row import Kind, Method

METHODS = files("tasks") / "methods.yaml"
ALONE = {"metric": "none", "seed_control": False, "audit": False}  # the card's judge scores, not the sweep


class Ours(BaseModel):
    """A method in the box.

    Attributes:
        name: as on the leaderboard.
        kind: as there.
        description: as there.
        url: of a paper.
        settings: of a sweep, beside the card's.
        savings: shares of node-steps to save, where they are not the card's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    description: str
    url: str = ""
    settings: dict[str, Any]
    savings: tuple[Decimal, ...] = ()

    @property
    def method(self) -> Method:
        """Return what its row says of it."""
        about = {"name": self.name, "kind": self.kind, "description": self.description, "url": self.url}
        return Method(**about, authors="ReuseBench", settings=self.settings)


@cache
def ours() -> tuple[Ours, ...]:
    """Return the methods of ``tasks/methods.yaml``, in order."""
    return tuple(Ours.model_validate(entry) for entry in parse_yaml(METHODS.read_text(encoding="utf-8")))


def sweeps(card: Card, methods: Sequence[Ours], savings: Sequence[Decimal]) -> list[tuple[SweepSpec, list[Ours]]]:
    """Return the sweeps that make the methods' pictures, each with its methods."""
    groups: dict[str, list[Ours]] = {}
    for one in methods:
        alike = {name: value for name, value in one.settings.items() if name != "strategy"}
        groups.setdefault(canonical_json([alike, [str(share) for share in one.savings]]), []).append(one)
    made = []
    for alike in groups.values():
        first = alike[0]
        strategies = [one.settings["strategy"] for one in alike if "strategy" in one.settings]
        shared = {"savings": list(first.savings or savings)} if "tau" not in first.settings else {}
        settings = {**first.settings, **({"strategy": strategies} if strategies else {})}
        made.append((card.spec(**ALONE, **shared, **settings), alike))
    return made
