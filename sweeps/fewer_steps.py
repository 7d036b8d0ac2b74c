"""Baseline pictures made again with fewer steps: damage in doses that no edit makes, only their own model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.errors import UserError
from generators.catalogue import model
from sweeps.events import Emit, Event, SweepStarted
from sweeps.pictures import picture_name
from sweeps.record import Record
from sweeps.scorers import NONE
from sweeps.session import Session
from sweeps.spec import SweepSpec

PARTS = (2, 4)  # of the baseline's steps: a half, a quarter


@contextmanager
def fewer_steps(
    spec: SweepSpec, record: Record, prompts: Sequence[str], rows: Sequence[int], device: str, emit: Emit
) -> Iterator[dict[int, dict[int, Path]]]:
    """Yield the files of some baseline pictures made with a half and a quarter of the steps; then they are gone.

    Args:
        spec: of the sweep whose baseline it is; its model has to be here.
        record: a cell with that baseline.
        prompts: of the whole set [N].
        rows: whose pictures are made.
        device: a torch device.
        emit: hears progress.

    Yields:
        By number of steps and row, the picture's file.

    Raises:
        UserError: the model is not here, or makes its pictures in too few steps to make them in fewer.
    """
    from sweeps.passes import generated  # which offers the audit that asks for this
    from sweeps.plan import check

    whole = record.config.steps
    steps = tuple(sorted({whole // part for part in PARTS} - {0, whole}, reverse=True))
    if not steps:
        raise UserError(f"the baseline has {whole} steps, and cannot be made with fewer", "leave out --fewer-steps")
    own = _spec(spec, record, [prompts[row] for row in rows], steps)
    with TemporaryDirectory(prefix="reusebench-fewer-steps-") as scratch:
        run = Path(scratch) / "run"
        run.mkdir()
        cells, scorers = check(own, run, device)

        def unseen(event: Event) -> None:
            """Pass on all but the news of a run: who hears of one keeps its time line, and this one's folder goes."""
            if not isinstance(event, SweepStarted):
                emit(event)

        plan, folders = generated(own, cells, run, Session.of(own, device, unseen), scorers)
        made: dict[int, dict[int, Path]] = {}
        for job in plan.jobs:
            assert job.baseline
            pictures = folders[job.baseline.folder].manifest if job.baseline.folder in folders else None
            if error := job.error or (pictures if isinstance(pictures, Exception) else None):
                raise error
            images = job.baseline.folder / "images"
            made[job.config.steps] = {row: images / picture_name(place) for place, row in enumerate(rows)}
        yield made


def _spec(spec: SweepSpec, record: Record, prompts: Sequence[str], steps: tuple[int, ...]) -> SweepSpec:
    """Return the spec of a record's baseline, of some of its prompts, with these numbers of steps."""
    config = record.config
    if not (models := tuple(asked for asked in spec.model if model(asked).name == config.model)):
        raise UserError(f"the sweep's spec does not name {config.model}", "leave out --fewer-steps")
    one: dict[str, Any] = {
        "model": models,
        "scheduler": spec.scheduler if len(spec.scheduler) == 1 else (config.scheduler,),
        "guidance": spec.guidance if len(spec.guidance) < 2 else (config.guidance,),
        **{axis: getattr(spec, axis)[:1] for axis in ("strategy", "features", "schedule", "combiner")},
    }
    asked: Mapping[str, Any] = {
        "title": None,
        "preset": None,
        "dataset": (),
        "prompts": None,
        "prompt": tuple(prompts),
        "limit": None,
        "sample": None,
        "seed": (config.seed,),
        "steps": steps,
        "noise": (config.noise,),
        "denoiser_cache": ("none",),
        "tau": (Decimal(0),),
        "savings": (),
        "isolate": False,
        "energy": False,
        "metric": (NONE,),
        "audit": False,
        "seed_control": False,
        "equal_compute": False,
    }
    return spec.model_copy(update={**asked, **one})
