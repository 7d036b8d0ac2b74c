"""What cells will cost, from their prompts' trees: prompts are encoded and clustered, no image is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from generators.batch_search import BATCH_SIZE
from generators.sharing.plan import build_plan, standard_plan
from generators.sharing.savings import node_steps
from generators.sharing.union import united_steps
from sweeps.cost import Cost, cost
from sweeps.events import Emit, Note
from sweeps.families import Families
from sweeps.grid import Cell
from sweeps.making import Maker
from sweeps.references import AnotherSeed, Reference


@dataclass(frozen=True)
class Prediction:
    """What cells will cost.

    Attributes:
        costs: of each, alone.
        one_by_one: node-steps of all pictures that can be denoised together, standard's too, where those that are
            standard's are not denoised again.
        together: of the same when what they have in common is denoised once; the same where nothing is.
    """

    costs: list[tuple[Cell | Reference, Cost]]
    one_by_one: int
    together: int


def predict(cells: Sequence[Cell | Reference], folder: Path, device: str, emit: Emit) -> Prediction:
    """Every cell's cost; nothing is written.

    Args:
        cells: those of one source together.
        folder: a run folder, there or not; conditioning that is there is not computed again.
        device: a torch device.
        emit: hears progress.
    """
    families = Families(device)
    if any(isinstance(each, Cell) and each.denoiser_cache for each in cells):
        emit(Note("a denoiser cache decides as it runs what it skips: costs are without it"))
    found, sources = [], {each.source.key for each in cells}
    one_by_one = together = 0
    for _, group in groupby(cells, key=lambda cell: cell.source.key):
        same_source = list(group)
        source = same_source[0].source
        maker = Maker(source, families, BATCH_SIZE, emit)
        maker.conditioning(folder / "shared" / source.conditioning_key, keep=False)
        components = maker.family.components(source.settings)
        plans = [standard_plan(len(source.prompts), source.steps)]
        for each in same_source:
            cell = each.cell if isinstance(each, Reference) else each
            grouping = maker.grouping(cell.strategy, cell.asked.features)
            if isinstance(each, Cell) and not each.denoiser_cache and source.settings.noise != "official":
                tau, combiner = float(cell.asked.tau), cell.asked.combiner
                plans.append(build_plan(grouping, cell.schedule, tau, source.steps, combiner))
            nodes = node_steps(grouping, cell.schedule, float(cell.asked.tau), source.steps)
            nodes = each.node_steps(nodes) if isinstance(each, Reference) else nodes
            if isinstance(each, AnotherSeed) and (key := each.seeded.key) not in sources:
                sources.add(key)
                one_by_one, together = one_by_one + nodes, together + nodes
            found.append((each, cost(components, len(source.prompts), source.steps, nodes)))
        alone, once = united_steps(plans)
        one_by_one, together = one_by_one + alone, together + once
    return Prediction(found, one_by_one, together)
