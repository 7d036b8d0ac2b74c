"""The claims about each cell's win rate: the tests, adjusted for their number, and a verdict in words."""

from collections.abc import Sequence
from typing import Any, ClassVar

from metrics.power import ALPHA, POWER
from reports.base import RunView, Table
from reports.claims import Claim, claims
from reports.frame import WIN_RATE, difference_result, place, varying_axes, with_interval
from reports.labels import MISSING, axis_text, p_value, title
from reports.sheet import Column, Entry, Sheet
from reports.tables.savings_at_parity import tolerance

FEW = 50  # pairs that differ, with fewer of which simulated intervals of a mean are too narrow


class Claims(Table):
    """Tests of whether pictures are no worse than the baseline's: p-values, adjusted for their number, and verdicts."""

    name = "claims"
    rank: ClassVar[int] = 2

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        run_claims = run.once(claims)
        if not run_claims:
            return None
        axes = varying_axes([claim.record for claim in run_claims])
        metrics = dict.fromkeys(claim.metric for claim in run_claims)
        columns = [
            *([Column("metric", numeric=False, key=True)] if len(metrics) > 1 else []),
            *(Column(axis, numeric=False, key=True) for axis in axes),
            Column("tau", key=True),
            *map(Column, ("win rate, %", "wins/ties/losses", "mean difference", "non-inferiority p", "two-sided p")),
            Column("verdict", numeric=False),
        ]
        rows = [
            [
                *([Entry(title(claim.metric))] if len(metrics) > 1 else []),
                *(Entry(axis_text(getattr(claim.record.config, axis))) for axis in axes),
                Entry(f"{claim.record.config.tau:f}"),
                _figure(run, claim, f"{claim.metric}{WIN_RATE}"),
                Entry(f"{claim.wins}/{claim.ties}/{claim.losses}"),
                _figure(run, claim, difference_result(claim.record, claim.metric)),
                _tested(claim.noninferiority_p, claim.noninferiority_holm),
                _tested(claim.two_sided_p, claim.two_sided_holm),
                Entry(claim.verdict),
            ]
            for claim in run_claims
        ]
        caption = f"claims by {', '.join(map(title, metrics))}: no worse means a win rate above {tolerance(run.delta)}"
        groups = [(claim.metric, claim.record.config.model_copy(update={"tau": 0})) for claim in run_claims]
        return Sheet(columns, rows, pd.DataFrame(map(_row, run_claims)), caption, notes(run_claims), groups)


def notes(run_claims: Sequence[Claim]) -> list[str]:
    """Return the tests, the corrections, the meaning of the verdicts, and which claims are underpowered."""
    metrics = dict.fromkeys(claim.metric for claim in run_claims)
    tested = {
        title(metric): sum(claim.metric == metric and claim.noninferiority_p is not None for claim in run_claims)
        for metric in metrics
    }
    weak = {
        metric: [claim for claim in run_claims if claim.metric == metric and claim.underpowered] for metric in metrics
    }
    sentences = [
        "non-inferiority p: one-sided, Tango's score test; two-sided p: exact sign test of wins against losses; in "
        f"brackets Holm's correction over {', '.join(f'{n} claims by {name}' for name, n in tested.items())}",
        f"no worse: corrected p < {ALPHA / 2:.3g}; worse: more losses than wins, corrected two-sided p < {ALPHA:.2g}",
        *(warning(claims, tested[title(metric)]) for metric, claims in weak.items() if claims),
    ]
    if any(0 < claim.wins + claim.losses < FEW for claim in run_claims):
        sentences.append(f"intervals of a mean difference are too narrow where fewer than {FEW} pairs differ")
    return sentences


def warning(metric_claims: Sequence[Claim], tested: int) -> str:
    """Return how little the weakest of these claims of one metric could have shown, and how many pairs could."""
    weakest = min(metric_claims, key=lambda claim: claim.power)
    needed = weakest.pairs_needed
    return (
        f"underpowered: {len(metric_claims)} of {tested} claims by {title(weakest.metric)}. If the true rate were 50%, "
        f"{weakest.pairs:,} pairs with {weakest.ties / weakest.pairs:.0%} ties would show no worse (delta = "
        f"{100 * weakest.delta:g} points) with a power of {weakest.power:.0%}; for {POWER:.0%}, "
        + ("no number of pairs is enough" if needed is None else f"{needed:,} pairs are needed")
    )


def _figure(run: RunView, claim: Claim, name: str | None) -> Entry:
    figure, result_label = claim.record.results.get(name or ""), run.label(name or "")
    return Entry(result_label.number(figure.value), result_label.interval(figure)) if figure else Entry(MISSING)


def _tested(p: float | None, holm: float | None) -> Entry:
    return Entry(p_value(p), "" if holm is None else f"({p_value(holm)})")


def _row(claim: Claim) -> dict[str, Any]:
    record = claim.record
    rate, difference = f"{claim.metric}{WIN_RATE}", difference_result(record, claim.metric)
    return {
        "id": record.id,
        "metric": claim.metric,
        **place(record.config),
        "tau": float(record.config.tau),
        "wins": claim.wins,
        "ties": claim.ties,
        "losses": claim.losses,
        **with_interval("win_rate", record.results.get(rate)),
        **with_interval("difference", record.results.get(difference or "")),
        "delta": claim.delta,
        "no_worse_p": claim.noninferiority_p,
        "no_worse_p_holm": claim.noninferiority_holm,
        "two_sided_p": claim.two_sided_p,
        "two_sided_p_holm": claim.two_sided_holm,
        "power_of_no_worse": None if claim.noninferiority_p is None else claim.power,
        "pairs_needed": None if claim.noninferiority_p is None else claim.pairs_needed,
        "verdict": claim.verdict,
    }
