"""Pictures for studies: a sweep's own baseline, any plan's, and those of any latents."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import UserError
from generators.batching import Batches
from generators.executor import Execution, Observer, decode_rows, execute
from generators.noise import KeyedNoise
from generators.overflow import HINTS, overflow_error
from sweeps.events import StageAdvanced
from sweeps.generate import generate
from sweeps.plan import baseline_job
from sweeps.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from generators.sharing.plan import SharingPlan
    from sweeps.grid import Source


def baseline_pictures(source: "Source", session: Session, run: Path) -> None:
    """Make the baseline of a source in the place where a sweep has it, if it is not whole there.

    Raises:
        UserError: it cannot be made.
    """
    job = baseline_job(source, run)
    manifest = generate([job], session)[job.folder].manifest
    if isinstance(manifest, UserError):
        raise manifest
    if isinstance(manifest, Exception):
        raise RuntimeError("the baseline could not be made") from manifest


def denoised(
    source: "Source", plan: "SharingPlan", session: Session, run: Path, observer: Observer | None = None
) -> Execution:
    """Denoise a plan of a source's prompts.

    Args:
        source: the model, prompts and settings.
        plan: of these prompts.
        session: the device and the model.
        run: the run folder, which keeps the conditioning.
        observer: sees every batch after its step.

    Raises:
        UserError: numbers overflow.
    """
    conditioning, family = session.encoded(source, run).conditioning, session.family(source)
    batch_size, _ = session.batch_size(source, conditioning)
    with session.stage("denoise", plan.node_steps, source):
        execution = execute(
            plan,
            family,
            conditioning,
            source.keys,
            source.settings,
            noise=session.noise(source, plan, run),
            batch_size=batch_size,
            observers=[session.advance, *([observer] if observer else [])],
        )
    if execution.overflows:
        where = {int(execution.prompts[row]): text for row, text in execution.overflows.items()}
        raise overflow_error(source.entry.name, source.settings.dtype, where, source.prompts.prompts)
    return execution


def decoded(source: "Source", session: Session, latents: "Tensor", keys: Sequence[str]) -> "NDArray[np.uint8]":
    """Return the pictures of latents [n, ...] as if each were finished, uint8 [n, height, width, 3].

    Args:
        source: whose model decodes.
        session: the device and the model.
        latents: of any step.
        keys: of the node that each row belongs to (`node_key`): what decoding draws is drawn as `decode_images` does.

    Raises:
        UserError: numbers overflow.
    """
    settings, family = source.settings, session.family(source)
    # of whatever policy: that decides initial latents alone, and the released code's model draws nothing here
    noise, end, batches = KeyedNoise(settings.seed), source.steps, Batches(session.batch_size(source)[0])

    def pictures(rows: slice) -> "NDArray[np.uint8]":
        done, lost = decode_rows(
            family,
            latents[rows],
            settings,
            lambda shape, draw: noise.step(keys[rows], end, shape[1:], draw),
            batches.notes,
        )
        if lost.any():
            raise UserError(
                f"numbers of {source.entry.name} overflow in {settings.dtype}, in decoding", HINTS[settings.dtype]
            )
        session.emit(StageAdvanced(len(done)))
        return done

    with session.stage("decode", len(latents), source):
        return np.concatenate(list(batches.map(len(latents), pictures)))
