"""References that sharing is held against besides its baseline: seed control (an A/A test), equal-compute baseline.

Both are baselines of other settings, compared with the cell's own baseline as its pictures are.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Any, ClassVar

from generators.guidance import WHOLE, GuidanceInterval
from generators.settings import GenerationSettings
from generators.sharing.evaluations import Evaluations
from sweeps.cost import rows_of
from sweeps.grid import Cell, Source, short_hash
from sweeps.record import CellConfig, Role

LARGEST_SEED = 2**63 - 1
DIGITS = 10**5
FREE = GuidanceInterval(0.25, 1).text  # guidance left out of the first quarter: it costs nothing that was seen


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
    """A baseline that spends as many denoiser evaluations as a cell, without sharing.

    In a sweep with denoiser caches the cell is one without.
    """

    @property
    def identity(self) -> dict[str, Any]:
        return {**self.cell.identity, self.role: True}

    def source(self, made: Evaluations, K: Callable[[GenerationSettings], int]) -> Source | None:
        """Return the source whose baseline costs nearest to what the cell's plan evaluates; None where none is near.

        Args:
            made: what the cell's plan evaluates.
            K: returns how many evaluations a scheduler makes with these settings.
        """
        source = self.cell.source
        guided, unguided = rows_of(source)
        budget = made.rows(guided, unguided) / len(source.prompts)

        def off(candidate: Source) -> float:
            return abs(_rows_of_one(candidate, guided) - budget)

        tried = [replace(source, settings=settings, steps=K(settings)) for settings in self._candidates(budget, guided)]
        nearest = min(tried, key=off, default=None)
        most = 0.5 * guided  # half a step
        return nearest if nearest is not None and (off(nearest) <= most or self.role == "fewer-steps") else None

    @abstractmethod
    def _candidates(self, budget: float, guided: float) -> list[GenerationSettings]:
        """Return settings whose baselines may cost `budget` rows a prompt, where a guided step costs `guided`."""


class FewerSteps(EqualCompute):
    """The baseline with as many steps as the evaluations allow every prompt (the paper's fixed budget)."""

    role: ClassVar[Role] = "fewer-steps"

    def _candidates(self, budget: float, guided: float) -> list[GenerationSettings]:
        """Return the settings with the steps around a guess: a scheduler need not evaluate once a step (K)."""
        return _with_steps(self.cell.source, self.cell.source.settings, budget)


class LessGuidance(EqualCompute):
    """The baseline with guidance left out of its first steps."""

    role: ClassVar[Role] = "less-guidance"

    def _candidates(self, budget: float, guided: float) -> list[GenerationSettings]:
        source = self.cell.source
        return [_from(source, first) for first in range(1, source.steps)] if _leaves_out(source, guided) else []


class LessGuidanceAndSteps(EqualCompute):
    """The baseline with guidance left out of the first quarter of its steps, and with fewer of them."""

    role: ClassVar[Role] = "less-guidance-and-steps"

    def _candidates(self, budget: float, guided: float) -> list[GenerationSettings]:
        source = self.cell.source
        if not _leaves_out(source, guided):
            return []
        quarter = source.settings.model_copy(update={"guidance_interval": FREE})
        return _with_steps(source, quarter, budget)


def _leaves_out(source: Source, guided: float) -> bool:
    """Return whether there is guidance to leave out of some steps, and the source leaves it out of none."""
    return guided > 1 and source.settings.guidance_interval == WHOLE


def _with_steps(source: Source, settings: GenerationSettings, budget: float) -> list[GenerationSettings]:
    of_all = _rows_of_one(replace(source, settings=settings), rows_of(source)[0])
    guess = round(settings.steps * budget / of_all)
    return [settings.model_copy(update={"steps": steps}) for steps in range(max(1, guess - 1), guess + 2)]


def _from(source: Source, first: int) -> GenerationSettings:
    """Return the source's settings with guidance from this step on."""
    return source.settings.model_copy(update={"guidance_interval": interval_from(first, source.steps).text})


def interval_from(first: int, steps: int) -> GuidanceInterval:
    """Return the guidance interval from this step to the end, in few digits: products of shares round either way.

    Examples:
        >>> interval_from(1, 4).text, interval_from(29, 50).text
        ('0.25..1', '0.58001..1')
    """
    share = math.ceil(first / steps * DIGITS)
    tried = (GuidanceInterval(number / DIGITS, 1) for number in (share, share + 1))
    return next(interval for interval in tried if interval.steps(steps).start == first)


def _rows_of_one(source: Source, guided: float) -> float:
    """Return the rows that the denoiser evaluates of one of the source's prompts alone."""
    on = int(source.settings.guided(source.steps).sum())
    return Evaluations(on, source.steps - on).rows(guided)


EVERY_KIND: tuple[type[EqualCompute], ...] = (FewerSteps, LessGuidance, LessGuidanceAndSteps)


def equal_compute(cells: Sequence[Cell], kinds: Sequence[type[EqualCompute]] = (FewerSteps,)) -> list[EqualCompute]:
    """Return the equal-compute baselines of one source's cells: one a tau that shares, at the first way to share."""
    first = cells[0].config.model_copy(update={"tau": 0})
    sharing = [cell for cell in cells if cell.config.tau and cell.config.model_copy(update={"tau": 0}) == first]
    return [kind(cell) for cell in sharing for kind in kinds]


def seed_control(cells: Sequence[Cell], seeds: Sequence[int]) -> SeedControl:
    """Return the seed control of one source's cells.

    Of several `seeds` of a sweep, ascending, the next one's baseline is made anyway; else the next number is taken.
    """
    seed = cells[0].source.settings.seed
    if len(seeds) > 1:
        return SeedControl(cells[0], seeds[(seeds.index(seed) + 1) % len(seeds)])
    return SeedControl(cells[0], seed + 1 if seed < LARGEST_SEED else 0)
