"""Who is best over all levels of savings, and where that is not sure."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metrics.method_comparison import areas, beats, rank_ranges
from metrics.statistics import Estimate, Floats, bootstrap_mean
from reports.base import RunView
from reports.contests import Contest, Level, contests

METHOD = "cluster bootstrap over prompts"


@dataclass(frozen=True)
class Ranking:
    """Ways to share by the area under their curves of score difference against savings, the best first.

    Attributes:
        contest: whose ranking it is.
        levels: those at which all of them take part.
        names: in order.
        areas: of the mean difference from standard, divided by the range of savings.
        rates: of the win rate against standard, likewise.
        ranks: the first and the last rank that each may have.
        better: [C, C], who beats whom for sure.
        p: [C, C], of the areas' differences, adjusted for all pairs.
        left_out: those that miss a level.
    """

    contest: Contest
    levels: tuple[Level, ...]
    names: tuple[str, ...]
    areas: tuple[Estimate, ...]
    rates: tuple[Estimate, ...]
    ranks: tuple[tuple[int, int], ...]
    better: NDArray[np.bool_]
    p: Floats
    left_out: tuple[str, ...]

    @property
    def range(self) -> str:
        """The savings that the areas are over, as text."""
        first, last = self.levels[0].savings, self.levels[-1].savings
        return f"{first:.1%}" if first == last else f"{first:.1%} to {last:.1%}"


def ranking(contest: Contest) -> Ranking | None:
    """The ranking of a contest; None where no two take part at one level."""
    names, levels = _common(contest)
    if len(names) < 2 or not levels:
        return None
    savings = [level.savings for level in levels]
    entrants = [[level.entrants[name] for level in levels] for name in names]
    by, won = (
        areas([[getattr(each, values) for each in row] for row in entrants], savings)
        for values in ("differences", "outcomes")
    )
    order = sorted(range(len(names)), key=lambda i: -by[i].mean())
    by, won, names = by[order], won[order], [names[i] for i in order]
    better, p = beats(by)
    pairs = len(levels) * entrants[0][0].outcomes.size
    return Ranking(
        contest,
        tuple(levels),
        tuple(names),
        tuple(_estimate(row, pairs) for row in by),
        tuple(_estimate(0.5 + row / 2, pairs) for row in won),
        tuple(rank_ranges(better)),
        better,
        p,
        tuple(name for name in contest.names if name not in names),
    )


def rankings(run: RunView) -> list[Ranking]:
    """One a contest; ask through `run.once`."""
    return [found for contest in run.once(contests).found if (found := ranking(contest))]


def verdict(found: Ranking) -> list[str]:
    """What a ranking says of the top and, where there are any, of the controls, a sentence each."""
    controls = [i for i, name in enumerate(found.names) if name in found.contest.controls]
    others = [i for i in range(len(found.names)) if i not in controls]
    top = [found.names[i] for i in range(len(found.names)) if found.ranks[i][0] == 1]
    one = len(top) == 1
    said = [
        f"By mean difference the best is {top[0]}."
        if one
        else f"By mean difference the best may be any of {', '.join(top)}: they are not told apart."
    ]
    lost = []
    for control in controls:
        beaten = [found.names[i] for i in others if found.better[i, control]]
        by = "none" if not beaten else "all others" if len(beaten) == len(others) else ", ".join(beaten)
        lost.append(f"{found.names[control]} is beaten by {by}")
    if lost:
        said.append(f"Controls: {'; '.join(lost)}. What does not beat them has not shown that its clusters help.")
    return said


def _common(contest: Contest) -> tuple[list[str], list[Level]]:
    """As many as have a level in common, and the levels that all of them have."""
    names = list(contest.names)
    while True:
        levels = [level for level in contest.levels if all(name in level.entrants for name in names)]
        if levels or len(names) < 2:
            return names, levels
        names.remove(min(names, key=lambda name: sum(name in level.entrants for level in contest.levels)))


def _estimate(row: Floats, pairs: int) -> Estimate:
    found = bootstrap_mean(row)
    return replace(found, n=pairs, method=found.method.replace("bootstrap", METHOD))
