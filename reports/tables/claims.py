"""The claims about each way to share: the tests, adjusted for their number, and a verdict in words."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from common.errors import UserError
from metrics.over_seeds import FEW_ROOTS, TWO_WAY
from metrics.power import ALPHA, POWER
from metrics.statistics import Estimate
from reports.base import RunView, Table
from reports.claims import BROKEN, Claim, claims, inflation_warning, left_out
from reports.frame import difference_result, place, varying_axes, with_interval
from reports.labels import MISSING, Label, axis_text, p_value, title
from reports.paired_scores import metric_scores
from reports.pooling import mean_difference
from reports.sheet import Column, Entry, Sheet
from reports.tables.savings_at_parity import tolerance

FEW = 50  # pairs that differ, with fewer of which simulated intervals of a mean are too narrow
SHARE = Label("", "fraction")


class Claims(Table):
    """Tests of whether pictures are no worse than the baseline's, seeds pooled: p-values, adjusted, and verdicts."""

    name = "claims"
    rank: ClassVar[int] = 2

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        run_claims = run.once(claims)
        if not run_claims and (reasons := left_out(run)):
            raise UserError("; ".join(reasons))
        if not run_claims:
            return None
        axes = [axis for axis in varying_axes([claim.records[0] for claim in run_claims]) if axis != "seed"]
        metrics = dict.fromkeys(claim.metric for claim in run_claims)
        differences = [_difference(run, claim) for claim in run_claims]
        columns = [
            *([Column("metric", numeric=False, key=True)] if len(metrics) > 1 else []),
            *(Column(axis, numeric=False, key=True) for axis in axes),
            Column("tau", key=True),
            *map(Column, ("seeds", "roots", "steps saved, %", "win rate, %", "wins/ties/losses")),
            *map(Column, ("mean difference", "non-inferiority p", "two-sided p")),
            Column("verdict", numeric=False),
        ]
        rows = [
            [
                *([Entry(title(claim.metric))] if len(metrics) > 1 else []),
                *(Entry(axis_text(getattr(claim.config, axis))) for axis in axes),
                Entry(f"{claim.config.tau:f}"),
                Entry(str(claim.seeds)),
                Entry(roots_text(claim.roots)),
                Entry(SHARE.number(_savings(claim))),
                Entry(SHARE.number(claim.rate.value), SHARE.interval(claim.rate)),
                Entry(f"{claim.outcomes.wins}/{claim.outcomes.ties}/{claim.outcomes.losses}"),
                _figure(run, claim, difference),
                _tested(claim.noninferiority_p, claim.noninferiority_holm),
                _tested(claim.two_sided_p, claim.two_sided_holm),
                Entry(claim.verdict),
            ]
            for claim, difference in zip(run_claims, differences, strict=True)
        ]
        caption = f"claims by {', '.join(map(title, metrics))}: no worse means a win rate above {tolerance(run.delta)}"
        groups = [(claim.metric, claim.config.model_copy(update={"tau": 0, "seed": 0})) for claim in run_claims]
        data = pd.DataFrame([_row(*pair) for pair in zip(run_claims, differences, strict=True)])
        return Sheet(columns, rows, data, caption, [*notes(run_claims), *left_out(run)], groups)


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
    several = any(claim.seeds > 1 for claim in run_claims)
    sentences = [
        "non-inferiority p: one-sided, Tango's score test; two-sided p: exact sign test of wins against losses; in "
        f"brackets Holm's correction over {', '.join(f'{n} claims by {name}' for name, n in tested.items())}",
        *(
            [
                "several seeds are pooled: Tango's interval and both tests at the number of independent pairs that all "
                f"pairs are worth, by the {TWO_WAY}"
            ]
            if several
            else []
        ),
        f"no worse: corrected p < {ALPHA / 2:.3g}; worse: more losses than wins, corrected two-sided p < {ALPHA:.2g}",
        *roots_notes([(claim.seeds, claim.roots) for claim in run_claims]),
        *filter(None, [inflation_warning(run_claims)]),
        *(warning(claims, tested[title(metric)]) for metric, claims in weak.items() if claims),
    ]
    for claim in run_claims:
        if claim.broken and claim.baseline:
            sentences.append(
                f"{BROKEN}: at tau {claim.config.tau:f} the baseline's pictures do not show their prompts by "
                f"{title(claim.metric)} ({claim.baseline.measured}), and nothing is claimed"
            )
    if any(0 < claim.outcomes.wins + claim.outcomes.losses < FEW for claim in run_claims):
        sentences.append(f"intervals of a mean difference are too narrow where fewer than {FEW} pairs differ")
    return sentences


def roots_text(roots: int | None) -> str:
    """Return a number of roots, or a dash where it is not known."""
    return MISSING if roots is None else str(roots)


def roots_notes(designs: Sequence[tuple[int, int | None]]) -> list[str]:
    """Return the meaning of the column of roots, for cells of so many seeds and roots; nothing where none is known."""
    known = [(seeds, roots) for seeds, roots in designs if roots is not None]
    if not known:
        return []
    meaning = "roots: independent draws of noise that a seed's prompts start from"
    if any(roots < FEW_ROOTS and seeds > 1 for seeds, roots in known):
        meaning += (
            f"; with fewer than {FEW_ROOTS}, seeds are the unit of the interval (t, seeds - 1 degrees of freedom)"
        )
    return [meaning]


def warning(metric_claims: Sequence[Claim], tested: int) -> str:
    """Return how little the weakest of these claims of one metric could have shown, and how many pairs could."""
    weakest = min(metric_claims, key=lambda claim: claim.power)
    prompts, seeds = weakest.prompts_needed, weakest.seeds_needed
    if prompts is None:
        needed = "no number of pairs is enough"
    elif weakest.seeds == 1:
        needed = f"{prompts:,} pairs are needed"
    else:
        more = f", or {seeds:,} seeds of these prompts," if seeds else ""
        needed = f"{prompts:,} prompts with {weakest.seeds} seeds{more} are needed"
    return (
        f"underpowered: {len(metric_claims)} of {tested} claims by {title(weakest.metric)}. If the true rate were 50%, "
        f"{weakest.pairs:,} pairs with {weakest.outcomes.ties / weakest.pairs:.0%} ties would show no worse (delta = "
        f"{100 * weakest.delta:g} points) with a power of {weakest.power:.0%}; for {POWER:.0%}, {needed}"
    )


def _difference(run: RunView, claim: Claim) -> Estimate | None:
    """Return the mean difference of a claim's pairs, above 0 where ours is better; a single seed's from its record."""
    first = claim.records[0]
    name = difference_result(first, claim.metric)
    if claim.seeds > 1:
        return mean_difference(run.path, claim.records, claim.metric, metric_scores)
    figure = first.results.get(name or "")
    return Estimate(figure.value, figure.low, figure.high, figure.n or 0, figure.method or "") if figure else None


def _figure(run: RunView, claim: Claim, estimate: Estimate | None) -> Entry:
    name = difference_result(claim.records[0], claim.metric) or f"{claim.metric}.difference"
    label = run.label(name)
    return Entry(label.number(estimate.value), label.interval(estimate)) if estimate else Entry(MISSING)


def _tested(p: float | None, holm: float | None) -> Entry:
    return Entry(p_value(p), "" if holm is None else f"({p_value(holm)})")


def _savings(claim: Claim) -> float | None:
    saved = [record.plan.savings for record in claim.records if record.plan]
    return float(np.mean(saved)) if saved else None


def _row(claim: Claim, difference: Estimate | None) -> dict[str, Any]:
    first, tested = claim.records[0], claim.noninferiority_p is not None
    return {
        "id": " ".join(record.id for record in claim.records),
        "metric": claim.metric,
        **{axis: value for axis, value in place(first.config).items() if axis != "seed"},
        "seeds": " ".join(str(record.config.seed) for record in claim.records),
        "roots": claim.roots,
        "tau": float(claim.config.tau),
        "savings": _savings(claim),
        "wins": claim.outcomes.wins,
        "ties": claim.outcomes.ties,
        "losses": claim.outcomes.losses,
        "pairs": claim.pairs,
        "effective_pairs": claim.outcomes.effective,
        **with_interval("win_rate", claim.rate),
        **with_interval("difference", difference),
        "baseline_mean": claim.baseline.mean if claim.baseline else None,
        "delta": claim.delta,
        "no_worse_p": claim.noninferiority_p,
        "no_worse_p_holm": claim.noninferiority_holm,
        "two_sided_p": claim.two_sided_p,
        "two_sided_p_holm": claim.two_sided_holm,
        "power_of_no_worse": claim.power if tested else None,
        "prompts_needed": claim.prompts_needed if tested else None,
        "seeds_needed": claim.seeds_needed if tested else None,
        "verdict": claim.verdict,
    }
