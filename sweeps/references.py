"""References that sharing is held against besides its baseline: seed control (an A/A test), equal-compute baseline.

Both are baselines of other settings, compared with the cell's own baseline as its pictures are.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Any, ClassVar

from generators.settings import GenerationSettings
from sweeps.grid import Cell, Source, short_hash
from sweeps.record import CellConfig, Role

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Reference(ABC):
    """A record of a baseline of other settings, beside a cell whose place on the axes it has.

    Attributes:
        cell: any of its source; of an equal-compute baseline, the one whose compute it spends.
    """

    role: ClassVar[Role]
    cell: Cell

    @property
    def config(self) -> CellConfig:
        """Return its place on the axes, the role standing for the strategy; it is made without a denoiser cache."""
        return self.cell.config.model_copy(update={"strategy": self.role, "denoiser_cache": "none"})

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return all that changes the result and nothing else."""

    @cached_property
    def id(self) -> str:
        """Return the hash of the identity, which names the record's folder."""
        return short_hash(self.identity)


@dataclass(frozen=True, eq=False)
class SeedControl(Reference):
    """The baseline with another seed: the win rate and the spread that noise alone gives (an A/A test)."""

    role: ClassVar[Role] = "another-seed"
    seed: int

    @property
    def config(self) -> CellConfig:
        return super().config.model_copy(update={"tau": Decimal(0)})

    @property
    def identity(self) -> dict[str, Any]:
        return {**self.cell.source.identity, self.role: self.seed}

    @property
    def source(self) -> Source:
        """Return the source with the other seed, whose baseline it is; prompts' own are as far from theirs."""
        source = self.cell.source
        seed = source.settings.seed
        prompts = source.prompts.reseeded(lambda own: (own + self.seed - seed) % (LARGEST_SEED + 1))
        return replace(source, prompts=prompts, settings=source.settings.model_copy(update={"seed": self.seed}))


@dataclass(frozen=True, eq=False)
class EqualCompute(Reference):
    """The baseline with as many steps as a cell's denoiser evaluations allow every prompt (the paper's fixed budget).

    In a sweep with denoiser caches the cell is one without.
    """

    role: ClassVar[Role] = "fewer-steps"

    @property
    def identity(self) -> dict[str, Any]:
        return {**self.cell.identity, self.role: True}

    def source(self, node_steps: int, evaluations: Callable[[GenerationSettings], int]) -> Source:
        """Return the source whose baseline costs the cell's `node_steps`, to the nearest number of evaluations.

        A scheduler need not make as many evaluations (K) as it is given steps, so the steps around the guess are tried.
        """
        source = self.cell.source
        budget = node_steps / len(source.prompts)
        guess = round(source.settings.steps * budget / source.steps)
        tried = [
            replace(source, settings=settings, steps=evaluations(settings))
            for steps in range(max(1, guess - 1), guess + 2)
            for settings in [source.settings.model_copy(update={"steps": steps})]
        ]
        return min(tried, key=lambda candidate: abs(candidate.steps - budget))


def equal_compute(cells: Sequence[Cell]) -> list[EqualCompute]:
    """Return the equal-compute baselines of one source's cells: one a tau that shares, at the first way to share."""
    first = cells[0].config.model_copy(update={"tau": 0})
    return [
        EqualCompute(cell) for cell in cells if cell.config.tau and cell.config.model_copy(update={"tau": 0}) == first
    ]


def seed_control(cells: Sequence[Cell], seeds: Sequence[int]) -> SeedControl:
    """Return the seed control of one source's cells.

    Of several `seeds` of a sweep, ascending, the next one's baseline is made anyway; else the next number is taken.
    """
    seed = cells[0].source.settings.seed
    if len(seeds) > 1:
        return SeedControl(cells[0], seeds[(seeds.index(seed) + 1) % len(seeds)])
    return SeedControl(cells[0], seed + 1 if seed < LARGEST_SEED else 0)
