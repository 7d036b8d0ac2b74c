"""Which run folder a sweep goes on in: one that holds the same cells, however they were asked for, or some of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from common.errors import UserError
from sweeps.grid import cells
from sweeps.record import SPEC
from sweeps.spec import NOT_THE_IMAGES, SweepSpec
from sweeps.store import ADDED, same_text, saved_spec

Asked: TypeAlias = set[tuple[str, ...]]


def continued(spec: SweepSpec, folder: Path, device: str) -> SweepSpec:
    """Return a spec as its run folder says it, where both mean the same cells, or the spec adds some.

    A path that is written otherwise, another order of values, a default that is written out: none of it changes a cell.
    Values that are added to an axis stand after those that were there. How to run and to score is as the spec says.

    Args:
        spec: what is asked for.
        folder: a run folder, there or not.
        device: as for `sweeps.grid.cells`.

    Returns:
        The spec to go on with; as it is where the folder holds none, or another sweep, which `refuse_another` refuses.
    """
    if not (folder / SPEC).is_file():
        return spec
    saved = saved_spec(folder)
    if same_text(saved, spec):
        return spec
    theirs, ours = _asked(saved, device), _asked(spec, device)
    if theirs is None or ours is None or not theirs <= ours:
        return spec
    merged = spec.model_copy(update={**_said(saved), **(_added(saved, spec) if theirs < ours else {})})
    return merged if _asked(merged, device) == ours else spec


def run_name(spec: SweepSpec, out: Path, device: str | None = None) -> str:
    """Return the name of a sweep's folder in `out`: of one that means the same and is there, else the spec's own.

    Args:
        spec: what is asked for.
        out: the folder of runs.
        device: as for `continued`; the spec's, or the best there is, unless given.
    """
    name = spec.default_name()
    if (out / name).exists():
        return name
    alike = sorted(path.parent for path in out.glob(f"{spec.name_pattern()}/{SPEC}"))
    if not alike:
        return name
    if device is None:
        from sweeps.machine import checked_device

        device = checked_device(spec.device)
    ours = _asked(spec, device)
    for folder in alike if ours else ():
        try:
            theirs = _asked(saved_spec(folder), device)
        except UserError:  # another version's, or damaged: it is none to go on in
            continue
        if theirs == ours:
            return folder.name
    return name


def _asked(spec: SweepSpec, device: str) -> Asked | None:
    """Return the cells of a spec, by id and the name of their prompts; None where that cannot be told here."""
    try:
        found = [(cell.id, cell.config.dataset) for cell in cells(spec, device)]
    except UserError:  # `sweeps.plan.check` says it
        return None
    return {(*cell, str(target)) for cell in found for target in spec.savings or ("",)}


def _said(spec: SweepSpec) -> Mapping[str, Any]:
    """Return what a spec says of its pictures."""
    return {name: getattr(spec, name) for name in SweepSpec.model_fields if name not in NOT_THE_IMAGES}


def _added(saved: SweepSpec, spec: SweepSpec) -> Mapping[str, Any]:
    """Return the axes on which a spec says more, those values last that the saved one has not."""
    merged = {}
    for name in ADDED:
        before, now = getattr(saved, name), getattr(spec, name)
        # nothing stands for the model's default there, and still does where it is written out now
        merged[name] = (*before, *(value for value in now if value not in before)) if before else before
    return {**merged, **{name: tuple(sorted(merged[name])) for name in ("tau", "savings")}}
