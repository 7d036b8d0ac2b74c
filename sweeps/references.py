"""What sharing is held against besides standard generation: its own noise, and the same compute without sharing.

Both are standard images of other settings, scored beside the standard images as a cell's are.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from itertools import groupby
from typing import Any, ClassVar

from generators.settings import GenerationSettings
from sweeps.grid import Cell, Source, short_hash
from sweeps.record import Asked, Role

LARGEST_SEED = 2**63 - 1
UNCACHED = {"denoiser_cache": "none"}  # references are standard images


@dataclass(frozen=True, eq=False)
class Reference(ABC):
    """Standard images of other settings, which are compared with those of `source`.

    Attributes:
        role: what a record calls it.
        cell: the cell beside which it stands.
    """

    role: ClassVar[Role]
    cell: Cell

    @property
    def source(self) -> Source:
        return self.cell.source

    @property
    @abstractmethod
    def asked(self) -> Asked:
        """Its place in the sweep; the strategy is its role."""

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """As a cell's."""

    @cached_property
    def id(self) -> str:
        return short_hash(self.identity)

    @abstractmethod
    def node_steps(self, of_cell: int) -> int:
        """About what it costs, where its cell costs so many."""

    @abstractmethod
    def other(self, of_cell: Callable[[], int], evaluations: Callable[[GenerationSettings], int]) -> Source:
        """Whose standard images they are.

        Args:
            of_cell: the node-steps that its cell took.
            evaluations: K of settings.
        """


@dataclass(frozen=True, eq=False)
class AnotherSeed(Reference):
    """Standard generation with another seed: the win rate and the spread that mean nothing (an A/A test)."""

    role: ClassVar[Role] = "another-seed"
    seed: int

    @property
    def asked(self) -> Asked:
        return self.cell.asked.model_copy(update={"strategy": self.role, "tau": Decimal(0), **UNCACHED})

    @property
    def identity(self) -> dict[str, Any]:
        return {**self.source.identity, self.role: self.seed}

    def node_steps(self, of_cell: int) -> int:
        return len(self.source.prompts) * self.source.steps

    def other(self, of_cell: Callable[[], int], evaluations: Callable[[GenerationSettings], int]) -> Source:
        return self.seeded

    @property
    def seeded(self) -> Source:
        """The source with the other seed."""
        return replace(self.source, settings=self.source.settings.model_copy(update={"seed": self.seed}))


@dataclass(frozen=True, eq=False)
class FewerSteps(Reference):
    """Standard generation with as many steps as the cell's node-steps allow every prompt (the paper's fixed budget)."""

    role: ClassVar[Role] = "fewer-steps"

    @property
    def asked(self) -> Asked:
        return self.cell.asked.model_copy(update={"strategy": self.role, **UNCACHED})

    @property
    def identity(self) -> dict[str, Any]:
        return {**self.cell.identity, self.role: True}  # of a cell without a denoiser cache, if the sweep has one

    def node_steps(self, of_cell: int) -> int:
        return of_cell

    def other(self, of_cell: Callable[[], int], evaluations: Callable[[GenerationSettings], int]) -> Source:
        """The nearest number of evaluations from above or below; schedulers need not make as many as steps asked."""
        source = self.source
        budget = of_cell() / len(source.prompts)
        guess = round(source.settings.steps * budget / source.steps)
        tried = [
            replace(source, settings=settings, steps=evaluations(settings))
            for steps in range(max(1, guess - 1), guess + 2)
            for settings in [source.settings.model_copy(update={"steps": steps})]
        ]
        return min(tried, key=lambda each: abs(each.steps - budget))


def with_references(cells: Sequence[Cell], *, another_seed: bool, fewer_steps: bool) -> list[Cell | Reference]:
    """The cells with what they are held against, after the cells of the same source.

    Fewer steps are tried once a tau, at the savings of the first of several ways to share.
    """
    seeds = sorted({cell.source.settings.seed for cell in cells})
    found: list[Cell | Reference] = []
    for _, group in groupby(cells, key=lambda cell: cell.source.key):
        same_source = list(group)
        found += same_source
        if fewer_steps:
            first = same_source[0].asked.model_copy(update={"tau": 0})
            found += [
                FewerSteps(cell)
                for cell in same_source
                if cell.asked.tau and cell.asked.model_copy(update={"tau": 0}) == first
            ]
        if another_seed:
            found.append(AnotherSeed(same_source[0], _another(same_source[0].source.settings.seed, seeds)))
    return found


def _another(seed: int, seeds: Sequence[int]) -> int:
    """The sweep's next seed, whose images it has anyway; else the next number."""
    if len(seeds) > 1:
        return seeds[(seeds.index(seed) + 1) % len(seeds)]
    return seed + 1 if seed < LARGEST_SEED else 0
