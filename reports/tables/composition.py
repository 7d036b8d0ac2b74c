"""Sharing beside other ways to save: each alone, both together, and whether they may be stacked."""

from collections.abc import Sequence
from typing import Any, ClassVar

from metrics.over_seeds import FEW_ROOTS, ONE_ROOT_INFLATION
from metrics.statistics import Estimate
from reports.base import RunView, Table
from reports.composition import MARGIN, Composition, compositions, score_name
from reports.frame import place, shared_axes, with_interval
from reports.labels import Label, axis_text, title
from reports.sheet import Column, Entry, Sheet
from sweeps.record import BASE

SHARE = Label("", "fraction")


class CompositionTable(Table):
    """Loss by sharing, by a variation, by both, and their interaction with its interval; a verdict on stacking them."""

    name = "composition"
    rank: ClassVar[int] = 3

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        all_of = run.once(compositions)
        if not all_of.found:
            return None
        metrics = dict.fromkeys(one.metric for one in all_of.found)
        measured = {
            what: heading
            for what, heading in {"rows": "rows", "flops": "FLOPs"}.items()
            if any(one.saved(one.both, what) is not None for one in all_of.found)
        }
        columns = [
            *(Column(axis, numeric=False, key=True) for axis in all_of.axes),
            *([Column("metric", numeric=False, key=True)] if len(metrics) > 1 else []),
            Column("prompt set", numeric=False, key=True),
            Column("with", numeric=False, key=True),
            Column("target, %", key=True),
            *(Column(f"{heading} saved: sharing/it/both, %") for heading in measured.values()),
            Column("sharing"),
            Column("it"),
            Column("both"),
            Column("interaction"),
            Column("verdict", numeric=False),
        ]
        rows = [
            [
                *(Entry(axis_text(getattr(one.config, axis))) for axis in all_of.axes),
                *([Entry(title(one.metric))] if len(metrics) > 1 else []),
                Entry(one.dataset),
                Entry(one.variation),
                Entry(f"{100 * one.savings:.0f}"),
                *(Entry("/".join(SHARE.number(saved) for saved in _saved(one, what))) for what in measured),
                *map(_difference, (one.sharing, one.alone, one.together, one.interaction)),
                Entry(one.verdict),
            ]
            for one in all_of.found
        ]
        data = pd.DataFrame([_row(one) for one in all_of.found])
        groups = [(one.config.model_copy(update={"seed": 0, "dataset": ""}), one.variation) for one in all_of.found]
        base = [record for record in run.records if record.config.variation == BASE]
        shared = [f"{name} {axis_text(value)}" for name, value in shared_axes(base).items() if name != "dataset"]
        caption = ", ".join(["what stacks with sharing", *shared])
        return Sheet(columns, rows, data, caption, [*_notes(run, all_of.found), *all_of.notes], groups)


def _saved(one: Composition, what: str) -> list[float | None]:
    return [one.saved(records, what) for records in (one.shared, one.varied, one.both)]


def _difference(estimate: Estimate) -> Entry:
    interval = "" if estimate.low is None else f"[{estimate.low:+.3f}, {estimate.high:+.3f}]"
    return Entry(f"{estimate.value:+.3f}", interval)


def _notes(run: RunView, found: Sequence[Composition]) -> list[str]:
    seeds = sorted({len(one.of_both) for one in found})
    interval = "two-way clustered over prompts and seeds" if seeds[-1] > 1 else "bootstrap over prompts"
    counted = f"{seeds[0]} seed{'s' if seeds[0] > 1 else ''}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    scores = " and ".join(dict.fromkeys(score_name(run, one.metric) for one in found))
    few = [one.roots for one in found if one.roots is not None and one.roots < FEW_ROOTS and len(one.of_both) == 1]
    return [
        f"sharing, it, both: the mean {scores} of shared pictures, of those with what is stacked, and of those with "
        f"both, less that of the base's standard pictures; {counted}; 95% intervals: {interval}, each row by itself",
        "interaction: both, less sharing, less it; below 0 they cost more together than apart",
        f"stacks: the interval of the interaction lies within {MARGIN:g} of 0; costs more, or less, together: it lies "
        "below, or above, 0; unsettled: neither",
        "saved: of what the base's standard pictures take, in rows that the denoiser evaluates (two a step with "
        "guidance) and in FLOPs of the whole pipeline; target: the share of their own steps that sharing was to save, "
        "of the base and of what is stacked",
        *(
            [
                f"one seed whose prompts start from {min(few)} draws of noise or more: intervals may be too narrow, by "
                f"up to {ONE_ROOT_INFLATION:g} times as far as was measured; run several seeds"
            ]
            if few
            else []
        ),
    ]


def _row(one: Composition) -> dict[str, Any]:
    cells = {"shared": one.shared, "variation": one.varied, "both": one.both}
    return {
        **{axis: value for axis, value in place(one.config).items() if axis not in ("dataset", "seed", "variation")},
        "metric": one.metric,
        "dataset": one.dataset,
        "variation": one.variation,
        "target": one.savings,
        "seeds": len(one.of_both),
        "prompts": one.of_both.shape[1],
        "roots": one.roots,
        **{
            f"{what}_saved_{name}": one.saved(records, what)
            for what in ("steps", "rows", "flops")
            for name, records in cells.items()
        },
        **with_interval("sharing_alone", one.sharing),
        **with_interval("variation_alone", one.alone),
        **with_interval("both", one.together),
        **with_interval("interaction", one.interaction),
        "margin": MARGIN,
        "verdict": one.verdict,
        "ids": " ".join(record.id for records in cells.values() for record in records.values()),
    }
