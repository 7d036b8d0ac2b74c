"""From savings to taus: tau is in each strategy's own units, so ways to share are compared at equal node-steps.

Which tau saves how much is known from the tree, so prompts are encoded and clustered; no image is made. A tree may
depend on the seed (a model's prior draws, a random control does), so each has a tau of its own.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby
from pathlib import Path

from common.errors import UserError
from generators.batch_search import BATCH_SIZE, resolved
from generators.sharing.savings import tau_near_savings
from sweeps.axes import canonical
from sweeps.events import Emit, Note
from sweeps.families import Families
from sweeps.grid import Cell, cells
from sweeps.making import Maker
from sweeps.record import NEAR
from sweeps.spec import SweepSpec
from sweeps.store import open_store


@dataclass(frozen=True)
class Reach:
    """How near one cell comes to a level.

    Attributes:
        cell: with the tau that saves nearest to it.
        level: the share of denoiser steps to save.
        savings: what that tau does save.
    """

    cell: Cell
    level: Decimal
    savings: float

    @property
    def near(self) -> bool:
        """Near enough to be compared with others at this level."""
        return abs(self.savings - float(self.level)) <= NEAR


def ways(spec: SweepSpec, device: str) -> list[Cell]:
    """The cells of a spec or, where it names savings, one at tau 0 a way to share; errors are those of `cells`."""
    if not spec.savings:
        return cells(spec, device)
    return cells(spec.model_copy(update={"tau": (Decimal(0),), "savings": ()}), device)


def levelled(
    spec: SweepSpec, ways: Sequence[Cell], folder: Path, *, device: str, emit: Emit, keep: bool = True
) -> list[Cell]:
    """The cells at the spec's savings; those that come near none are left out, and a note says so by name.

    Args:
        spec: what was asked for; where it names taus, the cells are `ways` as they are.
        ways: as `ways` gives them, those of one source together.
        folder: the run folder, there or not; conditioning that is there is not computed again.
        device: a torch device.
        emit: hears progress.
        keep: leave conditioning in the run folder, which is then held meanwhile.

    Raises:
        UserError: no way to share comes near any of these savings; or as in `open_store`.
    """
    if not spec.savings:
        return list(ways)
    found: dict[str, Cell] = {}
    missed: dict[tuple[str, Decimal, float], list[str]] = {}
    for reach in _reaches(spec, ways, folder, device, emit, keep):
        if reach.near:
            found.setdefault(reach.cell.id, reach.cell)
        else:
            asked = reach.cell.asked
            way = ", ".join([asked.strategy, *_varying(spec, reach.cell), asked.dataset])
            missed.setdefault((way, reach.level, reach.savings), []).append(str(asked.seed))
    for (way, level, savings), seeds in missed.items():
        emit(
            Note(
                f"{way}, seed {', '.join(seeds)}: cannot save {level:.1%} of denoiser steps (the nearest is "
                f"{savings:.1%}) and is left out there"
            )
        )
    if not found:
        raise UserError(
            "no way to share comes near these savings", "ask for others, or see `bench plan` for what there is"
        )
    return list(found.values())


def _reaches(spec: SweepSpec, ways: Sequence[Cell], folder: Path, device: str, emit: Emit, keep: bool) -> list[Reach]:
    families, found = Families(device, spec.offload, None, spec.acceleration(device)), []
    rows, _ = resolved(spec.batch_size, device)  # nothing is denoised here that would be worth measuring for
    with ExitStack() as held:
        if keep:
            held.enter_context(open_store(folder, spec))
        for _, group in groupby(ways, key=lambda way: way.source.key):
            same_source = list(group)
            source = same_source[0].source
            maker = Maker(source, families, BATCH_SIZE if rows == "auto" else rows, emit)
            maker.conditioning(folder / "shared" / source.conditioning_key, keep=keep)
            for way in same_source:
                grouping = maker.grouping(way.strategy, way.asked.features)
                for level in spec.savings:
                    at = tau_near_savings(grouping, way.schedule, source.steps, float(level))
                    tau = Decimal(canonical(Decimal(repr(at.tau))))
                    cell = replace(way, asked=way.asked.model_copy(update={"tau": tau}))
                    found.append(Reach(cell, level, at.savings))
    return found


def _varying(spec: SweepSpec, cell: Cell) -> list[str]:
    """What else tells this cell's way to share from others."""
    axes = ("model", "schedule", "combiner", "features")
    return [getattr(cell.asked, axis) for axis in axes if len(getattr(spec, axis)) > 1]
