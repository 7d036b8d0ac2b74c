"""The whole set's quality, as a random sample of its pictures tells it."""

from collections.abc import Sequence
from typing import Any, ClassVar

from metrics.power import ALPHA
from reports.base import RunView, Table
from reports.claims import BROKEN
from reports.frame import difference_result, place, varying_axes, with_interval
from reports.labels import MISSING, Label, axis_text, p_value, title
from reports.paired_scores import zone_note
from reports.sheet import Column, Entry, Sheet
from reports.tables.savings_at_parity import tolerance
from reports.whole_set import AFTER, NO_WORSE, NOT_SHOWN, WORSE, WholeSet, whole_sets

SHARE = Label("", "fraction")


class WholeSetTable(Table):
    """Estimates for all prompts of a set from a random sample of their pictures, and which taus are no worse."""

    name = "whole_set"
    rank: ClassVar[int] = 1

    def sheet(self, run: RunView) -> Sheet | None:
        sampled = any(record.sample for record in run.records)
        return whole_set(run, run.once(whole_sets)) if sampled and run.once(whole_sets) else None


def whole_set(run: RunView, found: Sequence[WholeSet]) -> Sheet:
    """Return the table of these estimates."""
    import pandas as pd

    axes = [axis for axis in varying_axes([one.records[0] for one in found]) if axis != "seed"]
    metrics = dict.fromkeys(one.metric for one in found)
    columns = [
        *([Column("metric", numeric=False, key=True)] if len(metrics) > 1 else []),
        *(Column(axis, numeric=False, key=True) for axis in axes),
        Column("tau", key=True),
        *map(Column, ("steps saved, %", "FLOPs saved, %", "win rate, %", "strict, %", "mean difference", "no worse p")),
        Column("verdict", numeric=False),
    ]
    rows = [
        [
            *([Entry(title(one.metric))] if len(metrics) > 1 else []),
            *(Entry(axis_text(getattr(one.config, axis))) for axis in axes),
            Entry(f"{one.config.tau:f}"),
            Entry(SHARE.number(one.savings)),
            Entry(SHARE.number(one.flop_savings)),
            Entry(SHARE.number(one.rate.value), SHARE.interval(one.rate)),
            Entry(SHARE.number(one.strict.value), SHARE.interval(one.strict)),
            _difference(run, one),
            Entry(p_value(one.p)),
            Entry(one.verdict),
        ]
        for one in found
    ]
    return Sheet(
        columns,
        rows,
        pd.DataFrame(map(row, found)),
        f"estimates for the whole set by {', '.join(map(title, metrics))}: {sizes(found)}",
        notes(run, found),
        [(one.metric, one.config.model_copy(update={"tau": 0, "seed": 0})) for one in found],
    )


def sizes(found: Sequence[WholeSet]) -> str:
    """Return how many prompts the estimates are for and from how many, in words."""
    each = {one.config.dataset: one.outcomes for one in found}
    told = [
        f"all {of.of:,} prompts of {name}, from {of.n:,} of them, taken at random"
        if of.n < of.of
        else f"all {of.of:,} prompts of {name}"
        for name, of in each.items()
    ]
    return "; ".join(told)


def notes(run: RunView, found: Sequence[WholeSet]) -> list[str]:
    """Return the methods, and what the verdicts mean."""
    verdicts = {one.verdict for one in found}
    methods = {one.rate.method: "win rate" for one in found if one.rate.low != one.rate.high}
    methods |= {one.strict.method: "strict" for one in found if one.strict.low != one.strict.high}
    methods |= {one.difference.method: "mean difference" for one in found if one.difference.low != one.difference.high}
    meanings = {
        NO_WORSE: f"no worse: p < {ALPHA / 2:.3g}, one-sided, of a win rate above {tolerance(run.delta)}, each way's "
        "taus tested from the smallest up until one is not shown",
        NOT_SHOWN: "not shown: the interval holds rates that are worse by more than that",
        WORSE: "worse: the whole interval is",
        AFTER: f"{AFTER}: it would pass by itself, but a smaller tau did not",
        BROKEN: f"{BROKEN}: by this scorer the baseline's own pictures do not show their prompts",
    }
    return [
        "steps and FLOPs saved are the whole set's plan's; intervals (95%) are over draws of the sample, for these "
        "prompts and seeds and no others",
        *zone_note([record for one in found for record in one.records], {one.metric for one in found}),
        "strict: the share of prompts that score higher by any difference, ties counted as none, as published",
        *([f"intervals: {', '.join(f'{name} ({of})' for name, of in methods.items())}"] if methods else []),
        *(meaning for verdict, meaning in meanings.items() if verdict in verdicts),
        "duplicates and diversity in other tables are of the pictures that were made: a whole set has more of both",
    ]


def _difference(run: RunView, one: WholeSet) -> Entry:
    name = difference_result(one.records[0], one.metric) or f"{one.metric}.difference"
    label = run.label(name)
    return Entry(label.number(one.difference.value), label.interval(one.difference)) if one.records else Entry(MISSING)


def row(one: WholeSet) -> dict[str, Any]:
    """Return an estimate in full precision, by column."""
    plan = one.records[0].plan
    return {
        "id": " ".join(record.id for record in one.records),
        "metric": one.metric,
        **{axis: value for axis, value in place(one.config).items() if axis != "seed"},
        "seeds": " ".join(str(record.config.seed) for record in one.records),
        "tau": float(one.config.tau),
        "prompts": one.outcomes.of,
        "made_prompts": one.outcomes.n,
        "node_steps": plan.node_steps if plan else None,
        "made_node_steps": sum(record.execution.rows for record in one.records) / len(one.records),
        "savings": one.savings,
        "nfe": plan.nfe if plan else None,
        "baseline_nfe": plan.baseline_nfe if plan else None,
        "flop_savings": one.flop_savings,
        **with_interval("win_rate", one.rate),
        **with_interval("strict_win_rate", one.strict),
        **with_interval("difference", one.difference),
        "ties": one.outcomes.ties,
        "effective_pairs": one.outcomes.effective,
        "delta": one.delta,
        "no_worse_p": one.p,
        "prompts_needed": one.needed,
        "verdict": one.verdict,
    }
