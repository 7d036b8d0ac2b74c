"""Plans denoised in this process, one after the other."""

from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.events import Note, StageAdvanced
from sweeps.executors.base import Executor, Work
from sweeps.pictures import write_pictures
from sweeps.record import ExecutionFigures

if TYPE_CHECKING:
    from generators.denoiser_caches.base import DenoiserCache
    from generators.sharing.plan import SharingPlan
    from sweeps.making import Maker


class Local(Executor):
    """This process, one plan after the other."""

    name = "local"

    def begin(self, maker: "Maker", plan: "SharingPlan", cache: "DenoiserCache | None" = None) -> Work:
        return lambda folder: _made(maker, plan, folder, cache)


def _made(maker: "Maker", plan: "SharingPlan", folder: Path, cache: "DenoiserCache | None") -> ExecutionFigures:
    from generators.batching import Batches
    from generators.executor import decode_images, execute

    settings, family, keys = maker.source.settings, maker.family, maker.source.prompts.keys
    conditioning = maker.conditioning()
    noise = maker.noise(plan)
    with maker.stage("denoise", plan.node_steps):
        execution = execute(
            plan,
            family,
            conditioning,
            keys,
            settings,
            noise=noise,
            batch_size=maker.batch_size,
            observers=[lambda k, nodes, latents, x0: maker.emit(StageAdvanced(len(nodes)))],
            cache=cache,
        )
    maker.batch_size = execution.batch_size_used
    batches = Batches(maker.batch_size)
    with maker.stage("decode", len(execution.prompts)):
        start = 0
        for pixels in decode_images(family, execution, keys, settings, noise=noise, batches=batches):
            write_pictures(folder, execution.prompts[start : start + len(pixels)].tolist(), pixels)
            start += len(pixels)
            maker.emit(StageAdvanced(len(pixels)))
    notes = [*execution.notes, *batches.notes]
    for note in notes:
        maker.emit(Note(note))
    return ExecutionFigures(
        calls=execution.calls,
        rows=execution.rows,
        batch_size=execution.batch_size_used,
        skipped=execution.skipped,
        notes=notes,
    )
