"""The savings at which each model's pictures become worse on each prompt set."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from common.errors import UserError
from metrics.parity import METHOD, Reach, pairs_needed
from metrics.parity import SavingsAtParity as Parity
from reports.base import RunView, Table
from reports.labels import MISSING, Label, axis_text
from reports.parity import Curve, ParityCurves, parity_curves
from reports.sheet import Column, Entry, Sheet

if TYPE_CHECKING:
    import pandas as pd

SHARE = Label("", "fraction")
AT_LEAST = "≥ "


class SavingsAtParity(Table):
    """The savings at which the estimated win rate falls below 50% - delta, and what is demonstrated: a row a curve."""

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
            Column("demonstrated, %"),
            Column("if lossless, %"),
            Column("power, %"),
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
                    reached(curve.parity),
                    Entry(_number(curve.parity.low)),
                    *map(Entry, map(SHARE.number, (curve.parity.lossless, curve.parity.power, curve.parity.most))),
                ]
            )
        groups = [curve.config.model for curve in run_curves.curves]
        return Sheet(columns, rows, _data(run_curves), _caption(run, run_curves), _notes(run_curves, run.delta), groups)


def reached(parity: Parity) -> Entry:
    """Return ``31.2 [20.5, 40.0]`` in percent: ``≥ 66.5`` of a lower limit, ``20.5 to 33.5`` of a gap."""
    return Entry(_number(parity.value), f"[{_number(parity.low)}, {_number(parity.high)}]")


def in_words(parity: Parity) -> str:
    """Return the savings at parity as a sentence says them, with their interval."""
    interval = f"95% interval {reached(parity).interval}"
    if parity.value.at_least:
        return f"at least {SHARE.number(parity.most)}%, the most that was measured ({interval})"
    if parity.value.gap:
        left, right = map(SHARE.number, parity.value.gap)
        return f"between {left}% and {right}%; nothing was measured between ({interval})"
    return f"{SHARE.number(parity.value.savings)}% ({interval})"


def tolerance(delta: float) -> str:
    """Return ``45% (50% - delta, delta = 5 points)``."""
    return f"{50 - 100 * delta:g}% (50% - delta, delta = {100 * delta:g} points)"


def _number(reach: Reach) -> str:
    if reach.gap:
        return " to ".join(map(SHARE.number, reach.gap))
    return f"{AT_LEAST if reach.at_least else ''}{SHARE.number(reach.savings)}"


def _caption(run: RunView, run_curves: ParityCurves) -> str:
    rates = " and of the ".join(run.label(f"{metric}.win_rate").text for metric in run_curves.metrics)
    return (
        "savings at parity: the share of denoiser evaluations saved at which the estimated curve of the "
        f"{rates} falls below {tolerance(run.delta)}"
    )


def _notes(run_curves: ParityCurves, delta: float) -> list[str]:
    parities = [curve.parity for curve in run_curves.curves]
    notes = [f"95% intervals: {METHOD}"]
    if any(parity.value.at_least or parity.high.at_least for parity in parities):
        notes.append(f"{AT_LEAST.strip()}: not below at the highest savings measured, so only this much is known")
    if any(parity.value.gap for parity in parities):
        notes.append("x to y: it falls somewhere between these two measured savings; nothing was measured between")
    notes.append(
        "demonstrated: the interval's lower end, which grows with the number of pairs; if lossless: how much a method "
        "whose pictures are as good as the baseline's would demonstrate on average with as many pairs; power: how "
        "often it would up to the most measured"
    )
    needed = pairs_needed(delta)
    if needed is None or any(parity.effective.min() < needed for parity in parities):
        enough = "no number of pairs shows that" if needed is None else f"{needed:,} independent pairs are needed"
        notes.append(
            f"few pairs: {enough} before a rate of exactly 50% without ties has its lower bound at "
            f"{50 - 100 * delta:g}%; with fewer, what is demonstrated says more of their number than of the model"
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
        **_reach("savings_at_parity", parity.value),
        "gap_low": parity.value.gap and parity.value.gap[0],
        "gap_high": parity.value.gap and parity.value.gap[1],
        **_reach("savings_at_parity_low", parity.low),
        **_reach("savings_at_parity_high", parity.high),
        "demonstrated": parity.low.savings,
        "demonstrated_if_lossless": parity.lossless,
        "power": parity.power,
        "most_measured": parity.most,
    }


def _reach(name: str, reach: Reach) -> dict[str, Any]:
    return {name: reach.savings, f"{name}_is_at_least": reach.at_least}
