"""What may be said of each cell's win rate: the tests, adjusted for being several, and a verdict in words."""

from collections.abc import Sequence
from typing import Any, ClassVar

from metrics.power import ALPHA, POWER
from reports.base import RunView, Table
from reports.claims import Claim, claims
from reports.frame import WIN_RATE, difference_figure, place, varying_axes, with_interval
from reports.labels import MISSING, axis_text, p_value, title
from reports.sheet import Column, Entry, Sheet
from reports.tables.savings_at_parity import tolerance

FEW = 50  # pairs that differ, with fewer of which simulated intervals of a mean are too narrow


class Claims(Table):
    """May the pictures be called no worse than standard's? P-values, adjusted for being several, and a verdict."""

    name = "claims"
    rank: ClassVar[int] = 2

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        found = run.once(claims)
        if not found:
            return None
        axes = varying_axes([each.record for each in found])
        metrics = dict.fromkeys(each.metric for each in found)
        columns = [
            *([Column("metric", numeric=False, key=True)] if len(metrics) > 1 else []),
            *(Column(axis, numeric=False, key=True) for axis in axes),
            Column("tau", key=True),
            *map(Column, ("win rate, %", "wins/ties/losses", "mean difference", "no worse p", "two-sided p")),
            Column("verdict", numeric=False),
        ]
        rows = [
            [
                *([Entry(title(each.metric))] if len(metrics) > 1 else []),
                *(Entry(axis_text(getattr(each.record.asked, axis))) for axis in axes),
                Entry(f"{each.record.asked.tau:f}"),
                _figure(run, each, f"{each.metric}{WIN_RATE}"),
                Entry(f"{each.wins}/{each.ties}/{each.losses}"),
                _figure(run, each, difference_figure(each.record, each.metric)),
                _tested(each.no_worse_p, each.no_worse_holm),
                _tested(each.differs_p, each.differs_holm),
                Entry(each.verdict),
            ]
            for each in found
        ]
        caption = f"claims of {', '.join(map(title, metrics))}: no worse is a win rate above {tolerance(run.delta)}"
        groups = [(each.metric, each.record.asked.model_copy(update={"tau": 0})) for each in found]
        return Sheet(columns, rows, pd.DataFrame(map(_row, found)), caption, notes(found), groups)


def notes(found: Sequence[Claim]) -> list[str]:
    """Which tests, which corrections, what the verdicts mean, and of what there was too little to tell."""
    metrics = dict.fromkeys(each.metric for each in found)
    tested = {title(one): sum(each.metric == one and each.no_worse_p is not None for each in found) for one in metrics}
    weak = {one: [each for each in found if each.metric == one and each.underpowered] for one in metrics}
    told = [
        "no worse p: one-sided, Tango's score test; two-sided p: exact sign test of wins against losses; in brackets "
        f"Holm's correction, over {', '.join(f'{n} claims of {name}' for name, n in tested.items())} (all rows tested)",
        f"no worse: corrected p < {ALPHA / 2:.3g}; worse: more losses than wins, corrected two-sided p < {ALPHA:.2g}",
        *(warning(claims, tested[title(one)]) for one, claims in weak.items() if claims),
    ]
    if any(0 < each.wins + each.losses < FEW for each in found):
        told.append(f"intervals of a mean difference are too narrow where fewer than {FEW} pairs differ")
    return told


def warning(found: Sequence[Claim], tested: int) -> str:
    """How little the weakest of these claims of one metric could have shown, and how many pairs could."""
    weakest = min(found, key=lambda each: each.power)
    needed = weakest.pairs_needed
    return (
        f"underpowered: {len(found)} of {tested} claims of {title(weakest.metric)}. Were the true rate 50%, "
        f"{weakest.pairs:,} pairs with {weakest.ties / weakest.pairs:.0%} ties would show no worse (delta = "
        f"{100 * weakest.delta:g} points) with a power of {weakest.power:.0%}; for {POWER:.0%}, "
        + ("no number of pairs is enough" if needed is None else f"{needed:,} pairs are needed")
    )


def _figure(run: RunView, claim: Claim, name: str | None) -> Entry:
    figure, about = claim.record.figures.get(name or ""), run.label(name or "")
    return Entry(about.number(figure.value), about.interval(figure)) if figure else Entry(MISSING)


def _tested(p: float | None, holm: float | None) -> Entry:
    return Entry(p_value(p), "" if holm is None else f"({p_value(holm)})")


def _row(claim: Claim) -> dict[str, Any]:
    record = claim.record
    rate, difference = f"{claim.metric}{WIN_RATE}", difference_figure(record, claim.metric)
    return {
        "id": record.id,
        "metric": claim.metric,
        **place(record.asked),
        "tau": float(record.asked.tau),
        "wins": claim.wins,
        "ties": claim.ties,
        "losses": claim.losses,
        **with_interval("win_rate", record.figures.get(rate)),
        **with_interval("difference", record.figures.get(difference or "")),
        "delta": claim.delta,
        "no_worse_p": claim.no_worse_p,
        "no_worse_p_holm": claim.no_worse_holm,
        "two_sided_p": claim.differs_p,
        "two_sided_p_holm": claim.differs_holm,
        "power_of_no_worse": None if claim.no_worse_p is None else claim.power,
        "pairs_needed": None if claim.no_worse_p is None else claim.pairs_needed,
        "verdict": claim.verdict,
    }
