"""Strategy against strategy on the same prompts, at equal compute."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from metrics.hypotheses import holm
from metrics.over_seeds import pool_outcomes
from metrics.power import ALPHA
from metrics.statistics import Estimate, Floats
from reports.base import RunView, Table
from reports.frame import with_interval
from reports.labels import Label, axis_text, p_value, title
from reports.method_comparison import MethodComparison, MethodComparisons, method_comparisons
from reports.paired_scores import zone_note
from reports.sheet import Column, Entry, Sheet

RATE = Label("", "fraction")


@dataclass(frozen=True)
class Pair:
    """Two methods at one savings target, or over all targets that both reach (`savings` None).

    Attributes:
        comparison: the comparison that the pair belongs to.
        savings: the savings target.
        first: the method whose win rate it is.
        second: the method that it is compared with.
        outcomes: [S, L, N] over L targets, 1 where the first's picture scores better, -1 where worse, 0 for a tie.
        win_rate: the first's, ties counted as half a win.
        p: two-sided p-value against neither winning more often.
        holm: the same, adjusted for all pairs of the metric.
    """

    comparison: MethodComparison
    savings: float | None
    first: str
    second: str
    outcomes: Floats
    win_rate: Estimate
    p: float
    holm: float = 1.0

    @property
    def winner(self) -> str | None:
        """The method that wins more often for sure; None where the data do not tell them apart."""
        if self.holm >= ALPHA:
            return None
        return self.first if self.win_rate.value > 0.5 else self.second


class StrategyPairs(Table):
    """Win rates of strategy against strategy, prompt by prompt, target by target and over all, Holm-corrected."""

    name = "strategy_pairs"
    rank: ClassVar[int] = 5

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        compared = run.once(method_comparisons)
        run_pairs = run.once(pairs)
        if not run_pairs:
            return None
        columns = [
            *([Column("metric", numeric=False, key=True)] if len(compared.metrics) > 1 else []),
            *(Column(axis, numeric=False, key=True) for axis in compared.axes),
            *(Column("savings target, %", False, True), Column("first", False, True), Column("against", False, True)),
            Column("wins more often", numeric=False),
            *map(Column, ("win rate of the first, %", "wins/ties/losses", "p", "Holm p")),
        ]
        rows = [
            [
                *([Entry(title(pair.comparison.metric))] if len(compared.metrics) > 1 else []),
                *(Entry(axis_text(getattr(pair.comparison.config, axis))) for axis in compared.axes),
                *map(Entry, (_target(pair), pair.first, pair.second)),
                Entry(pair.winner or "not told apart"),
                _entry(pair.win_rate),
                Entry("/".join(str(int((pair.outcomes == sign).sum())) for sign in (1, 0, -1))),
                *map(Entry, (p_value(pair.p), p_value(pair.holm))),
            ]
            for pair in run_pairs
        ]
        groups = [(compared.named(pair.comparison), pair.savings) for pair in run_pairs]
        return Sheet(
            columns, rows, pd.DataFrame(map(_row, run_pairs)), _caption(compared), _notes(run, run_pairs), groups
        )


def pairs(run: RunView) -> list[Pair]:
    """Return all pairs of every comparison, target by target and then over all targets; call it as `run.once(pairs)`.

    P-values are adjusted within each metric, over all its comparisons.
    """
    compared = run.once(method_comparisons)
    unadjusted = [pair for comparison in compared.comparisons for pair in _pairs(comparison)]
    corrected = []
    for metric in compared.metrics:
        of_metric = [pair for pair in unadjusted if pair.comparison.metric == metric]
        adjusted = holm([pair.p for pair in of_metric])
        corrected += [replace(pair, holm=p) for pair, p in zip(of_metric, adjusted, strict=True)]
    return corrected


def _pairs(comparison: MethodComparison) -> list[Pair]:
    at_targets, over_all = [], []
    for first, second in combinations(comparison.names, 2):
        both_reach = [target for target in comparison.targets if first in target.methods and second in target.methods]
        outcomes = [target.methods[first].against(target.methods[second]) for target in both_reach]
        at_targets += [
            _pair(comparison, target.savings, first, second, signs[:, None])
            for target, signs in zip(both_reach, outcomes, strict=True)
        ]
        if len(both_reach) > 1:
            over_all.append(_pair(comparison, None, first, second, np.stack(outcomes, axis=1)))
    return [*sorted(at_targets, key=lambda pair: pair.savings or 0.0), *over_all]


def _pair(comparison: MethodComparison, savings: float | None, first: str, second: str, outcomes: Floats) -> Pair:
    draws = [
        target.methods[name].roots
        for target in comparison.targets
        for name in (first, second)
        if name in target.methods
    ]
    pooled = pool_outcomes(outcomes, min((count for count in draws if count is not None), default=None))
    p = 1.0 if pooled.one_noise else pooled.score_p()
    return Pair(comparison, savings, first, second, outcomes, pooled.estimate(), p)


def _target(pair: Pair) -> str:
    return "all" if pair.savings is None else RATE.number(pair.savings)


def _entry(estimate: Estimate) -> Entry:
    return Entry(RATE.number(estimate.value), RATE.interval(estimate))


def _caption(compared: MethodComparisons) -> str:
    return f"strategy against strategy on the same prompts, {', '.join(map(title, compared.metrics))}"


def _notes(run: RunView, run_pairs: Sequence[Pair]) -> list[str]:
    decided = sum(pair.winner is not None for pair in run_pairs)
    return [
        f"95% intervals: {', '.join(dict.fromkeys(pair.win_rate.method for pair in run_pairs))}; over all targets, a "
        "prompt's targets count as one; not corrected; one seed whose prompts start from few draws of noise has p = 1",
        "p: two-sided, against neither winning more often, by Tango's score test, as the interval; Holm's correction "
        f"over all {len(run_pairs)} rows: {decided} differ at {ALPHA:.0%}",
        *zone_note(run.records, dict.fromkeys(pair.comparison.metric for pair in run_pairs)),
    ]


def _row(pair: Pair) -> dict[str, Any]:
    return {
        "metric": pair.comparison.metric,
        "model": pair.comparison.config.model,
        "level": pair.savings,
        "first": pair.first,
        "second": pair.second,
        "wins": int((pair.outcomes == 1).sum()),
        "ties": int((pair.outcomes == 0).sum()),
        "losses": int((pair.outcomes == -1).sum()),
        **with_interval("win_rate", pair.win_rate),
        "p": pair.p,
        "p_holm": pair.holm,
        "winner": pair.winner,
    }
