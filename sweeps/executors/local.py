"""Plans denoised in this process, one after the other."""

from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.events import Note, StageAdvanced
from sweeps.executors.base import Executor, Work
from sweeps.record import ExecutionFigures
from sweeps.writing import writer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from generators.denoiser_caches.base import DenoiserCache
    from generators.executor import Execution
    from generators.noise import NoiseSource
    from generators.sharing.plan import SharingPlan
    from sweeps.making import Maker
    from sweeps.writing import Place

# pictures decoded at once on an accelerator: at full size a decoder's activations are ten times its denoiser's
DECODED = 4


class Local(Executor):
    """This process, one plan after the other."""

    name = "local"
    together = True

    def begin(self, maker: "Maker", plan: "SharingPlan", cache: "DenoiserCache | None" = None) -> Work:
        return lambda folder: _made(maker, plan, folder, cache)


def _made(maker: "Maker", plan: "SharingPlan", folder: Path, cache: "DenoiserCache | None") -> ExecutionFigures:
    from generators.executor import execute

    settings, family, keys = maker.source.settings, maker.family, maker.source.prompts.keys
    conditioning, noise, rows = maker.conditioning(), maker.noise(plan), maker.batch_size
    # what a cache remembers is in no state
    states = None if cache else maker.states(folder, plan.digest)
    with maker.stage("denoise", plan.node_steps):
        execution = execute(
            plan,
            family,
            conditioning,
            keys,
            settings,
            noise=noise,
            batch_size=rows,
            observers=[lambda k, nodes, latents, x0: maker.emit(StageAdvanced(len(nodes)))],
            checkpoints=states,
            cache=cache,
        )
    maker.took("denoise", execution.seconds_before)
    maker.batch_size = execution.batch_size_used
    notes = [
        *execution.notes,
        *written(maker, execution, keys, noise, [[(folder, p)] for p in execution.prompts.tolist()]),
    ]
    if states:
        states.clear()
    for note in notes:
        maker.emit(Note(note))
    return ExecutionFigures(
        calls=execution.calls,
        rows=execution.rows,
        batch_size=execution.batch_size_used,
        first_call=execution.first_call,
        steady=execution.steady,
        skipped=execution.skipped,
        options=execution.options,
        notes=notes,
    )


def written(
    maker: "Maker",
    execution: "Execution",
    keys: "Sequence[str]",
    noise: "NoiseSource",
    places: "Sequence[Sequence[Place]]",
) -> list[str]:
    """Decode what was denoised and write the pictures, the latter in threads; what a record should say of it.

    Args:
        keys: as `execute` had them.
        places: of each of the execution's latents, where its picture belongs.
    """
    from generators.batching import Batches
    from generators.executor import decode_images

    most = DECODED if maker.family.device.type != "cpu" else execution.batch_size_used
    batches, start = Batches(min(most, execution.batch_size_used)), 0
    with writer() as out:
        with maker.stage("decode", len(places)):
            for pixels in decode_images(
                maker.family, execution, keys, maker.source.settings, noise=noise, batches=batches
            ):
                out.write(pixels, places[start : start + len(pixels)])
                start += len(pixels)
                maker.emit(StageAdvanced(len(pixels)))
        with maker.stage("write", 1):
            out.drain()
            maker.emit(StageAdvanced(1))
    return batches.notes
