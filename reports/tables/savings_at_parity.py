"""The savings that each model reaches on each prompt set before its pictures may have become worse."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from common.errors import UserError
from metrics.parity import METHOD, RESAMPLES, Crossing, Reach, pairs_needed
from reports.base import RunView, Table
from reports.labels import MISSING, Label, axis_text
from reports.parity import Curve, ParityCurves, parity_curves
from reports.sheet import Column, Entry, Sheet

if TYPE_CHECKING:
    import pandas as pd

SHARE = Label("", "fraction")
AT_LEAST = "≥ "


class SavingsAtParity(Table):
    """The largest savings up to which the lower bound of the win rate stays at or above 50% - delta, a row a curve."""

    name = "savings_at_parity"
    rank: ClassVar[int] = 1

    def sheet(self, run: RunView) -> Sheet | None:
        run_curves = run.once(parity_curves)
        if not run_curves.curves and run_curves.notes:
            raise UserError("; ".join(run_curves.notes))
        if not run_curves.curves:
            return None
        axes = ["model", "dataset", *run_curves.axes]
        columns = [
            *(Column(axis, numeric=False, key=True) for axis in axes),
            *([Column("metric", numeric=False, key=True)] if len(run_curves.metrics) > 1 else []),
            Column("conditioned on", numeric=False),
            Column("seeds"),
            Column("pairs"),
            Column("savings at parity, %"),
            Column("by the rate itself, %"),
            Column("most measured, %"),
        ]
        rows = []
        for curve in run_curves.curves:
            names = [axis_text(getattr(curve.config, axis)) for axis in axes]
            names += [curve.metric] if len(run_curves.metrics) > 1 else []
            texts = [curve.conditioned_on or MISSING, str(len(curve.seeds)), str(curve.parity.pairs)]
            rows.append(
                [
                    *(Entry(text) for text in [*names, *texts]),
                    reached(curve.parity.bound),
                    reached(curve.parity.rate),
                    Entry(SHARE.number(curve.parity.most)),
                ]
            )
        groups = [curve.config.model for curve in run_curves.curves]
        return Sheet(columns, rows, _data(run_curves), _caption(run, run_curves), _notes(run_curves, run.delta), groups)


def reached(crossing: Crossing) -> Entry:
    """Return ``31.2 [20.5, 40.0]`` in percent, with a sign before a number that is only a lower limit."""
    low, high = crossing.low, crossing.high
    return Entry(_number(crossing.value), f"[{_number(low)}, {_number(high)}]" if low and high else "")


def tolerance(delta: float) -> str:
    """Return ``45% (50% - delta, delta = 5 points)``."""
    return f"{50 - 100 * delta:g}% (50% - delta, delta = {100 * delta:g} points)"


def _number(reach: Reach) -> str:
    return f"{AT_LEAST if reach.at_least else ''}{SHARE.number(reach.savings)}"


def _caption(run: RunView, run_curves: ParityCurves) -> str:
    rates = " and of the ".join(run.label(f"{metric}.win_rate").text for metric in run_curves.metrics)
    return (
        "savings at parity: the largest share of denoiser evaluations saved up to which the lower 95% bound of the "
        f"{rates} stays at or above {tolerance(run.delta)}"
    )


def _notes(run_curves: ParityCurves, delta: float) -> list[str]:
    notes = [f"95% intervals: {METHOD} ({RESAMPLES:,} resamples; seeds only where there are several)"]
    if any(curve.parity.bound.beyond[0] or curve.parity.rate.beyond[0] for curve in run_curves.curves):
        notes.append(f"{AT_LEAST.strip()}: still above at the highest savings measured, so only this much is known")
    needed = pairs_needed(delta)
    if needed is None or any(curve.parity.effective.min() < needed for curve in run_curves.curves):
        enough = "no number of pairs shows that" if needed is None else f"{needed:,} independent pairs are needed"
        notes.append(
            f"few pairs: {enough} before a rate of exactly 50% without ties has its lower bound at "
            f"{50 - 100 * delta:g}%; with fewer, savings at parity depend on the number of pairs as much as on the "
            "model, so compare only rows with equally many"
        )
    return [*notes, *run_curves.notes]


def _data(run_curves: ParityCurves) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame([_row(curve, run_curves.axes) for curve in run_curves.curves])


def _row(curve: Curve, axes: Sequence[str]) -> dict[str, Any]:
    parity = curve.parity
    return {
        **{axis: getattr(curve.config, axis) for axis in ("model", "dataset", *axes)},
        "metric": curve.metric,
        "family": curve.family,
        "conditioned_on": curve.conditioned_on,
        "taus": " ".join(f"{tau:f}" for tau in curve.taus),
        "seeds": " ".join(map(str, curve.seeds)),
        "prompts": curve.n_prompts,
        "pairs": parity.pairs,
        "fewest_effective_pairs": parity.effective.min(),
        "delta": parity.delta,
        **_reaches("savings_at_parity", parity.bound),
        **_reaches("savings_by_rate", parity.rate),
        "most_measured": parity.most,
    }


def _reaches(name: str, crossing: Crossing) -> dict[str, Any]:
    ends = {name: crossing.value, f"{name}_low": crossing.low, f"{name}_high": crossing.high}
    savings = {end: reach and reach.savings for end, reach in ends.items()}
    return savings | {f"{end}_is_at_least": reach and reach.at_least for end, reach in ends.items()}
