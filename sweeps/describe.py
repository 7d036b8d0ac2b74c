"""The fourth pass: from pictures and their scores to the record that describes them. Pure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from metrics.flops import price
from sweeps.pictures import Manifest
from sweeps.record import FlopFigures, PlanFigures, Record
from sweeps.score import Compared
from sweeps.scorers import Scorers, figures

if TYPE_CHECKING:
    from generators.component import Component


def describe(
    compared: Compared, scorers: Scorers, components: "Sequence[Component] | None" = None, *, timed: bool = False
) -> Record:
    """Return the record of pictures beside their baseline's.

    What the record had of scorers that are not among `scorers` stays.

    Args:
        compared: the pictures, and the record as far as it was known.
        scorers: what measured.
        components: what the model computes, from which FLOPs follow; None: as they are in the record.
        timed: put the seconds of scoring into the record.
    """
    record, ours, theirs = compared.record, compared.ours.manifest, compared.baseline.manifest
    plan = _plan(record, ours, theirs)
    results = figures(scorers, compared.baseline.scores, compared.ours.scores, compared.same)
    kept = {
        name: figure
        for name, figure in record.figures.items()
        if name in results or name.partition(".")[0] not in scorers.metrics
    }
    seconds = {"score": compared.ours.seconds} if timed else {}
    return record.model_copy(
        update={
            "plan": plan,
            "flops": record.flops if components is None else _flops(components, plan, ours),
            "figures": {**kept, **results},
            "timings": {**record.timings, **ours.timings, **seconds},
            "standard_timings": theirs.timings,
            "shared_seconds": bool(ours.execution.united or theirs.execution.united),
            "joules": ours.joules,
            "standard_joules": theirs.joules,
            "execution": ours.execution,
            "scorers": {**record.scorers, **scorers.described(compared.ours.scores.scorers)},
            "versions": ours.versions,
            "machine": ours.machine,
        }
    )


def _plan(record: Record, ours: Manifest, theirs: Manifest) -> PlanFigures:
    """Return what the pictures cost beside the baseline; a reference's manifest was written as a baseline's own."""
    if record.images is None:
        return ours.plan
    savings = 1 - ours.plan.K / theirs.plan.K
    return ours.plan.model_copy(update={"standard_node_steps": theirs.plan.node_steps, "savings": savings})


def _flops(components: "Sequence[Component]", plan: PlanFigures, ours: Manifest) -> FlopFigures:
    n = plan.n_prompts
    spent = price(components, n, plan.node_steps, n, ours.execution.skipped)
    baseline = price(components, n, plan.standard_node_steps, n)
    return FlopFigures(
        components=spent.components,
        total=spent.total,
        standard_total=baseline.total,
        savings=spent.savings(baseline),
    )
