"""Several sets of pictures denoised as one: what they have in common once, what they have not in common batches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from generators.conditioning import Conditioning
from generators.executor import execute
from generators.noise import NamespacedNoise, in_namespace
from generators.sharing.plan import SharingPlan
from generators.sharing.union import Union, grouped_by_combiner, side_by_side, union
from metrics.memory import row_bytes
from sweeps.events import Emit, Note, StageAdvanced
from sweeps.executors.local import written
from sweeps.grid import Source, short_hash
from sweeps.record import ExecutionFigures
from sweeps.store import disk_full

if TYPE_CHECKING:
    from sweeps.making import Maker
    from sweeps.writing import Place

# Settings in which sources that are denoised as one may differ: they decide noise and conditioning.
OWN = {"seed", "prior_seed"}
SHARE = 0.5  # of the memory that is free, for what is kept between steps


@dataclass(frozen=True, eq=False)
class Pending:
    """A set of pictures that is to be made.

    Attributes:
        maker: of its source, the prompts encoded.
        plan: restricted to the prompts whose pictures are to be denoised, which may be none.
        folder: where they belong; it holds no others.
        done: is told what they took, and the seconds of it, when they are there.
    """

    maker: "Maker"
    plan: SharingPlan
    folder: Path
    done: Callable[[ExecutionFigures, dict[str, float]], None]


def kind(source: Source) -> str:
    """Names what sources have in common that may be denoised as one: everything but prompts and seeds."""
    identity: dict[str, Any] = {
        name: value for name, value in source.identity.items() if name not in ("prompts", "embedding_seed")
    }
    settings = {name: value for name, value in identity["settings"].items() if name not in OWN}
    return short_hash({**identity, "settings": settings})


def make_together(pending: Sequence[Pending], run: Path, emit: Emit) -> None:
    """Make these pictures, as few executions as their combiners and the memory allow; those that fail are left.

    Args:
        pending: of one `kind`; a source's standard images before what is compared with them.
        run: the run folder, where an execution's states are kept.
        emit: hears the progress.
    """
    groups: list[list[Pending]] = []
    with _left_alone(len(pending), emit):
        groups += _groups(pending)
    for group in groups:
        with _left_alone(len(group), emit):
            _make(group, run, emit)


@contextmanager
def _left_alone(sets: int, emit: Emit) -> Iterator[None]:
    """What fails in the block, but for a full disk, is told, and left to be made set by set."""
    try:
        yield
    except Exception as error:
        if disk_full(error):
            raise
        what = " ".join(str(error).split()) or type(error).__name__
        emit(Note(f"{sets} sets of pictures could not be denoised as one ({what}): each is made by itself"))


def _groups(pending: Sequence[Pending]) -> Iterator[list[Pending]]:
    """Cut where the rows of another set would not fit in the memory beside those before."""
    for those in grouped_by_combiner(pending, lambda each: each.plan):
        group: list[Pending] = []
        left = 0.0
        for each in those:
            takes = np.count_nonzero(each.plan.output >= 0) * _row_bytes(each.maker)
            if group and takes > left:
                yield group
                group = []
            left = (left if group else SHARE * _free(each.maker.family.device)) - takes
            group.append(each)
        if group:
            yield group


def _row_bytes(maker: "Maker") -> int:
    """What a row takes between steps where memory is scarce: conditioning stays in main memory."""
    family, settings = maker.family, maker.source.settings
    tensors = maker.conditioning().tensors.values() if family.device.type == "cpu" else ()
    return row_bytes(
        family.latent_shape(settings),
        settings.dtype,
        remembered=family.sampler(settings).remembered,
        conditioning=[tensor.shape[1:] for tensor in tensors],
    )


def _free(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    import psutil

    return float(psutil.virtual_memory().available)


def _make(group: Sequence[Pending], run: Path, emit: Emit) -> None:
    sets = [each for each in group if len(each.plan.first)]
    figures = dict.fromkeys(group, ExecutionFigures())
    seconds: dict[Pending, dict[str, float]] = {each: {} for each in group}
    if sets:
        sets.sort(key=lambda each: each.maker.source.key)
        made, taken = _denoised(sets, run, emit)
        rows = np.array([each.plan.node_steps for each in sets], dtype=float)
        pictures = np.array([np.count_nonzero(each.plan.output >= 0) for each in sets], dtype=float)
        parts = {"denoise": rows / rows.sum(), "decode": pictures / pictures.sum(), "write": pictures / pictures.sum()}
        for place, each in enumerate(sets):
            figures[each] = made.model_copy(update={"rows": each.plan.node_steps})
            seconds[each] = {stage: taken.get(stage, 0.0) * part[place] for stage, part in parts.items()}
    for each in group:
        each.done(figures[each], seconds[each])


def _denoised(sets: Sequence[Pending], run: Path, emit: Emit) -> tuple[ExecutionFigures, dict[str, float]]:
    """The pictures of all sets, those of one source together; what they took."""
    by_source = [list(group) for _, group in groupby(sets, key=lambda each: each.maker.source.key)]
    makers = [group[0].maker for group in by_source]
    whole = side_by_side([union([each.plan for each in group]) for group in by_source])
    realms = {maker.source.key: maker.noise(group[0].plan) for maker, group in zip(makers, by_source, strict=True)}
    keys = [in_namespace(maker.source.key, key) for maker in makers for key in maker.source.prompts.keys]
    conditioning = _side_by_side([maker.conditioning() for maker in makers])
    maker, noise = makers[0], NamespacedNoise(realms)
    maker.family.release_encoders()
    rows, *_ = [each.batch_size for each in makers]  # all of them: each record says where its own is from
    alone = sum(each.plan.node_steps for each in sets)
    if len(sets) > 1:
        fewer = f"{1 - whole.plan.node_steps / alone:.1%} fewer than one by one"
        emit(Note(f"{len(sets)} sets of pictures are denoised as one: {whole.plan.node_steps:,} node-steps, {fewer}"))
    states = maker.states(run, [each.source.identity for each in makers], whole.plan.digest)
    spent = maker.timings()
    try:
        with maker.stage("denoise", whole.plan.node_steps):
            execution = execute(
                whole.plan,
                maker.family,
                conditioning,
                keys,
                maker.source.settings,
                noise=noise,
                batch_size=rows,
                observers=[lambda k, nodes, latents, x0: emit(StageAdvanced(len(nodes)))],
                ends=(whole.ends, whole.prompts),
                checkpoints=states,
            )
        maker.took("denoise", execution.seconds_before)
        notes = [*execution.notes, *written(maker, execution, keys, noise, _places(sets, whole))]
    finally:
        taken = maker.timings()
        for stage, value in spent.items():
            maker.took(stage, value)
    if states:
        states.clear()
    for each in makers:
        each.batch_size = execution.batch_size_used
    for note in notes:
        emit(Note(note))
    return ExecutionFigures(
        calls=execution.calls,
        first_call=execution.first_call,
        steady=execution.steady,
        batch_size=execution.batch_size_used,
        united=len(sets) if len(sets) > 1 else 0,
        options=execution.options,
        notes=notes,
    ), taken


def _places(sets: Sequence[Pending], whole: Union) -> "list[list[Place]]":
    """Of each of the union's latents, the folders that want its picture."""
    places: list[list[Place]] = [[] for _ in whole.ends]
    for each, rows in zip(sets, whole.rows, strict=True):
        for prompt in np.flatnonzero(rows >= 0).tolist():
            places[rows[prompt]].append((each.folder, prompt))
    return places


def _side_by_side(parts: Sequence[Conditioning]) -> Conditioning:
    if len(parts) == 1:
        return parts[0]
    return Conditioning({name: torch.cat([each.tensors[name] for each in parts]) for name in parts[0].tensors})
