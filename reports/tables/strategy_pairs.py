"""Strategy against strategy on the same prompts, at equal node-steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from metrics.hypotheses import holm
from metrics.method_comparison import METHOD, clustered_win_rate, even_p
from metrics.power import ALPHA
from metrics.statistics import Estimate, Floats
from reports.base import RunView, Table
from reports.contests import Contest, Contests, contests
from reports.frame import with_interval
from reports.labels import Label, axis_text, p_value, title
from reports.sheet import Column, Entry, Sheet
from sweeps.record import Figure

RATE = Label("", "fraction")


@dataclass(frozen=True)
class Pair:
    """Two ways to share at one level, or over all levels that both have (`savings` None).

    Attributes:
        contest: whose pair it is.
        savings: the level.
        first: who is compared.
        second: with whom.
        outcomes: [S, N], 1 where the first's picture scores better.
        win_rate: the first's, ties counted as half a win.
        p: two-sided, of neither winning more often.
        holm: adjusted for all pairs of the metric.
    """

    contest: Contest
    savings: float | None
    first: str
    second: str
    outcomes: Floats
    win_rate: Estimate
    p: float
    holm: float = 1.0

    @property
    def winner(self) -> str | None:
        """Who wins more often for sure; None: not told apart."""
        if self.holm >= ALPHA:
            return None
        return self.first if self.win_rate.value > 0.5 else self.second


class StrategyPairs(Table):
    """Win rates of strategy against strategy, prompt by prompt, level by level and over all, Holm-corrected."""

    name = "strategy_pairs"
    rank: ClassVar[int] = 5

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        found = run.once(contests)
        made = run.once(pairs)
        if not made:
            return None
        columns = [
            *([Column("metric", numeric=False, key=True)] if len(found.metrics) > 1 else []),
            *(Column(axis, numeric=False, key=True) for axis in found.axes),
            *(Column("level, %", False, True), Column("first", False, True), Column("against", False, True)),
            Column("wins more often", numeric=False),
            *map(Column, ("win rate of the first, %", "wins/ties/losses", "p", "Holm p")),
        ]
        rows = [
            [
                *([Entry(title(each.contest.metric))] if len(found.metrics) > 1 else []),
                *(Entry(axis_text(getattr(each.contest.asked, axis))) for axis in found.axes),
                *map(Entry, (_level(each), each.first, each.second)),
                Entry(each.winner or "not told apart"),
                _entry(each.win_rate),
                Entry("/".join(str(int((each.outcomes == sign).sum())) for sign in (1, 0, -1))),
                *map(Entry, (p_value(each.p), p_value(each.holm))),
            ]
            for each in made
        ]
        groups = [(found.named(each.contest), each.savings) for each in made]
        return Sheet(columns, rows, pd.DataFrame(map(_row, made)), _caption(found), _notes(made), groups)


def pairs(run: RunView) -> list[Pair]:
    """All pairs of every contest, level by level and then over all levels; ask through `run.once`.

    P-values are adjusted within each metric, over all its contests.
    """
    found = run.once(contests)
    made = [pair for contest in found.found for pair in _pairs(contest)]
    done = []
    for metric in found.metrics:
        own = [pair for pair in made if pair.contest.metric == metric]
        adjusted = holm([pair.p for pair in own])
        done += [replace(pair, holm=p) for pair, p in zip(own, adjusted, strict=True)]
    return done


def _pairs(contest: Contest) -> list[Pair]:
    found, over_all = [], []
    for first, second in combinations(contest.names, 2):
        levels = [level for level in contest.levels if first in level.entrants and second in level.entrants]
        outcomes = [level.entrants[first].against(level.entrants[second]) for level in levels]
        found += [
            _pair(contest, level.savings, first, second, each) for level, each in zip(levels, outcomes, strict=True)
        ]
        if len(levels) > 1:
            over_all.append(_pair(contest, None, first, second, np.concatenate(outcomes)))
    return [*sorted(found, key=lambda pair: pair.savings or 0.0), *over_all]


def _pair(contest: Contest, savings: float | None, first: str, second: str, outcomes: Floats) -> Pair:
    return Pair(contest, savings, first, second, outcomes, clustered_win_rate(outcomes), even_p(outcomes))


def _level(pair: Pair) -> str:
    return "all" if pair.savings is None else RATE.number(pair.savings)


def _entry(found: Estimate) -> Entry:
    return Entry(RATE.number(found.value), RATE.interval(Figure(value=found.value, low=found.low, high=found.high)))


def _caption(found: Contests) -> str:
    return f"strategy against strategy on the same prompts, {', '.join(map(title, found.metrics))}"


def _notes(made: Sequence[Pair]) -> list[str]:
    told = sum(pair.winner is not None for pair in made)
    return [
        f"95% intervals: {METHOD}: a prompt's seeds (and, over all levels, levels) are alike; each by itself",
        "p: two-sided, of neither winning more often, Tango's score test, whose interval that is; Holm's correction "
        f"over all {len(made)} rows: {told} are told apart at {ALPHA:.0%}",
    ]


def _row(pair: Pair) -> dict[str, Any]:
    return {
        "metric": pair.contest.metric,
        "model": pair.contest.asked.model,
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
