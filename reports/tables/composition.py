"""Sharing beside other ways to save: each alone, both together, and whether they may be stacked."""

from typing import Any, ClassVar

from metrics.over_seeds import FEW_ROOTS, ONE_ROOT_INFLATION
from reports.base import RunView, Table
from reports.composition import MARGIN, Composition, compositions
from reports.frame import place, shared_axes, with_interval
from reports.labels import Label, axis_text, title
from reports.sheet import Column, Entry, Sheet
from sweeps.record import BASE

SHARE = Label("", "fraction")
SCORE = Label("", signed=True)


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
        columns = [
            *(Column(axis, numeric=False, key=True) for axis in all_of.axes),
            *([Column("metric", numeric=False, key=True)] if len(metrics) > 1 else []),
            Column("prompt set", numeric=False, key=True),
            Column("with", numeric=False, key=True),
            Column("target, %", key=True),
            Column("saved by sharing / it / both, %"),
            Column("sharing alone"),
            Column("it alone"),
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
                Entry(" / ".join(SHARE.number(saved) for saved in _saved(one))),
                *(
                    Entry(SCORE.number(estimate.value), SCORE.interval(estimate))
                    for estimate in (one.sharing, one.alone, one.together, one.interaction)
                ),
                Entry(one.verdict),
            ]
            for one in all_of.found
        ]
        data = pd.DataFrame([_row(one) for one in all_of.found])
        groups = [(one.config.model_copy(update={"seed": 0, "dataset": ""}), one.dataset) for one in all_of.found]
        base = [record for record in run.records if record.config.variation == BASE]
        shared = [f"{name} {axis_text(value)}" for name, value in shared_axes(base).items() if name != "dataset"]
        caption = ", ".join(["what stacks with sharing", *shared])
        return Sheet(columns, rows, data, caption, [*_notes(all_of.found), *all_of.notes], groups)


def _saved(one: Composition) -> list[float | None]:
    return [one.saved(records, "flops") for records in (one.shared, one.varied, one.both)]


def _notes(found: tuple[Composition, ...]) -> list[str]:
    seeds = sorted({len(one.of_both) for one in found})
    interval = "two-way clustered over prompts and seeds" if seeds[-1] > 1 else "bootstrap over prompts"
    few = [one.roots for one in found if one.roots is not None and one.roots < FEW_ROOTS and len(one.of_both) == 1]
    return [
        f"mean {' and '.join(dict.fromkeys(title(one.metric) for one in found))} less that of the base's standard "
        f"pictures, by prompt and seed ({seeds[0] if len(seeds) == 1 else f'{seeds[0]} to {seeds[-1]}'} seeds); 95% "
        f"intervals: {interval}, each row by itself",
        "interaction: both, less sharing alone, less it alone; below 0 they cost more together than apart",
        f"stacks: the interval of the interaction lies within {MARGIN:g} of 0; costs more, or less, together: it lies "
        "below, or above, 0; unsettled: neither",
        "saved: FLOPs of the whole pipeline, of those of the base's standard pictures; target: the share of its own "
        "denoiser evaluations that sharing was to save of the base and of the variation",
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
        **{f"steps_saved_{name}": one.saved(records, "steps") for name, records in cells.items()},
        **{f"flops_saved_{name}": one.saved(records, "flops") for name, records in cells.items()},
        **with_interval("sharing_alone", one.sharing),
        **with_interval("variation_alone", one.alone),
        **with_interval("both", one.together),
        **with_interval("interaction", one.interaction),
        "margin": MARGIN,
        "verdict": one.verdict,
        "ids": " ".join(record.id for records in cells.values() for record in records.values()),
    }
