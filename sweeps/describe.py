"""The fourth pass: from pictures and their scores to the record that describes them. Pure."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from metrics.duplicates import SOURCE
from sweeps.cost import price
from sweeps.pictures import Manifest
from sweeps.record import FlopCost, PlanCost, Record, Result
from sweeps.score import Compared
from sweeps.scorers import Scorers, picture_results, results
from sweeps.scores import digests

if TYPE_CHECKING:
    from generators.component import Component


def describe(
    compared: Compared,
    scorers: Scorers,
    components: "Sequence[Component] | None" = None,
    *,
    timed: bool = False,
    floors: Mapping[str, float] = MappingProxyType({}),
) -> Record:
    """Return the record of pictures beside their baseline's.

    What the record had of scorers that are not among `scorers` stays.

    Args:
        compared: the pictures, and the record as far as it was known.
        scorers: what measured.
        components: what the model computes, from which FLOPs follow; None: as they are in the record.
        timed: put the seconds of scoring into the record.
        floors: by scorer, the half width of its zone of indifference.
    """
    record, ours, theirs = compared.record, compared.ours.manifest, compared.baseline.manifest
    plan, blank = _plan(record, ours, theirs), (len(theirs.blank or ()), len(ours.blank or ()))
    measured = {
        **results(scorers, compared.baseline.scores, compared.ours.scores, compared.same),
        **picture_results(list(theirs.images.values()), list(ours.images.values()), compared.prompts, blank),
    }
    if (distinct := ours.plan.distinct_savings) is not None:
        measured[f"{SOURCE}.distinct_savings"] = Result(value=distinct)
    kept = {
        name: result
        for name, result in record.results.items()
        if name in measured or name.partition(".")[0] not in scorers.metrics
    }
    seconds = {"score": compared.ours.seconds} if timed else {}
    of_ours, of_theirs = digests(compared.ours.scores), digests(compared.baseline.scores)
    scored = {name: (of_ours[name], of_theirs[name]) for name in scorers.metrics}
    return record.model_copy(
        update={
            "plan": plan,
            "flops": record.flops if components is None else _flops(components, plan, ours),
            "results": {**kept, **measured},
            "timings": {**record.timings, **ours.timings, **seconds},
            "baseline_timings": theirs.timings,
            "shared_seconds": not (_measured(ours) and _measured(theirs)),
            "joules": ours.joules,
            "baseline_joules": theirs.joules,
            "execution": ours.execution,
            "scorers": {
                **record.scorers,
                **with_indifference(scorers.described(compared.ours.scores.scorers), floors),
            },
            "versions": ours.versions,
            "machine": ours.machine,
            "hub": ours.hub,
            "picture_sets": {
                record.baseline: theirs.hash,
                record.images or f"cells/{record.id}": ours.hash,
            },
            "scored": {**record.scored, **scored},
        }
    )


def _measured(made: Manifest) -> bool:
    """Return True where the seconds are of these pictures alone: isolated, or, in older manifests, not united."""
    execution = made.execution
    return not execution.united if execution.isolated is None else execution.isolated


def with_indifference(
    scorers: Mapping[str, Mapping[str, Any]], floors: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Return what a record says of scorers, with these zones of indifference; equal where it has them already.

    Args:
        scorers: by name; see `Record.scorers`.
        floors: by name, half the zone's width; a scorer that is not there has no zone.
    """
    bare = {
        name: {key: value for key, value in about.items() if key != "indifference"} for name, about in scorers.items()
    }
    return {name: {**about, "indifference": floors[name]} if name in floors else about for name, about in bare.items()}


def _plan(record: Record, ours: Manifest, theirs: Manifest) -> PlanCost:
    """Return what the pictures cost beside the baseline; a reference's manifest was written as a baseline's own."""
    if record.images is None:
        return ours.plan
    baseline = {
        "baseline_node_steps": theirs.plan.node_steps,
        "savings": 1 - ours.plan.K / theirs.plan.K,
        "baseline_nfe": theirs.plan.nfe,
        "baseline_unguided_steps": theirs.plan.unguided_steps,
    }
    return ours.plan.model_copy(update=baseline)


def _flops(components: "Sequence[Component]", plan: PlanCost, ours: Manifest) -> FlopCost:
    n = plan.n_prompts
    spent = price(components, n, plan.evaluations, n, ours.execution.skipped)
    baseline = price(components, n, plan.baseline_evaluations, n)
    return FlopCost(
        components=spent.components,
        total=spent.total,
        baseline_total=baseline.total,
        savings=spent.savings(baseline),
    )
