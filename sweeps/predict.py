"""What cells will cost, from their prompts' trees: prompts are encoded and clustered, no image is made."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from generators.sharing.savings import node_steps
from sweeps.cost import Cost, cost
from sweeps.events import Emit, Note
from sweeps.grid import Cell
from sweeps.making import Families, Maker
from sweeps.references import Reference
from sweeps.source_run import BATCH_SIZE


def predict(
    cells: Sequence[Cell | Reference], folder: Path, device: str, emit: Emit
) -> list[tuple[Cell | Reference, Cost]]:
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
    found = []
    for _, group in groupby(cells, key=lambda cell: cell.source.key):
        same_source = list(group)
        source = same_source[0].source
        maker = Maker(source, families, BATCH_SIZE, emit)
        maker.conditioning(folder / "shared" / source.conditioning_key, keep=False)
        components = maker.family.components(source.settings)
        for each in same_source:
            cell = each.cell if isinstance(each, Reference) else each
            grouping = maker.grouping(cell.strategy, cell.asked.features)
            nodes = node_steps(grouping, cell.schedule, float(cell.asked.tau), source.steps)
            nodes = each.node_steps(nodes) if isinstance(each, Reference) else nodes
            found.append((each, cost(components, len(source.prompts), source.steps, nodes)))
    return found
