"""Rankings of sharing methods over all savings targets, with the ranks that each may have."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metrics.method_comparison import areas, beats, rank_ranges
from metrics.over_seeds import FEW_ROOTS, pooled_difference
from metrics.statistics import Estimate, Floats
from reports.base import RunView
from reports.method_comparison import MethodComparison, SavingsTarget, method_comparisons


@dataclass(frozen=True)
class Ranking:
    """Methods by the area under their curves of score difference against savings, the best first.

    Attributes:
        comparison: the comparison that is ranked.
        targets: the savings targets at which all of these methods take part.
        names: the methods' names, in order.
        areas: area under the curve of the mean difference from the baseline, divided by the range of savings; pairs
            within the zone of indifference differ by 0.
        rates: area under the curve of the win rate against the baseline, likewise.
        ranks: the first and the last rank that each method may have.
        better: [C, C], True where one method beats another for sure.
        p: [C, C], p-values of the areas' differences, adjusted for all pairs.
        seeds: the number of seeds.
        roots: the least number of draws of noise that a seed's prompts start from; None: not known.
        left_out: methods that miss a target.
    """

    comparison: MethodComparison
    targets: tuple[SavingsTarget, ...]
    names: tuple[str, ...]
    areas: tuple[Estimate, ...]
    rates: tuple[Estimate, ...]
    ranks: tuple[tuple[int, int], ...]
    better: NDArray[np.bool_]
    p: Floats
    seeds: int
    roots: int | None
    left_out: tuple[str, ...]

    @property
    def range(self) -> str:
        """The range of savings that the areas are over, as text."""
        lowest, highest = self.targets[0].savings, self.targets[-1].savings
        return f"{lowest:.1%}" if lowest == highest else f"{lowest:.1%} to {highest:.1%}"


def ranking(comparison: MethodComparison) -> Ranking | None:
    """Return the ranking of a comparison; None where no two methods meet at one target."""
    names, targets = _common(comparison)
    if len(names) < 2 or not targets:
        return None
    savings = [target.savings for target in targets]
    methods = [[target.methods[name] for target in targets] for name in names]
    by, won = (
        areas([[getattr(at_target, values) for at_target in row] for row in methods], savings)
        for values in ("counted", "outcomes")
    )
    draws = [at_target.roots for row in methods for at_target in row if at_target.roots is not None]
    roots = min(draws, default=None)
    order = sorted(range(len(names)), key=lambda i: -by[i].mean())
    by, won, names = by[order], won[order], [names[i] for i in order]
    better, p = beats(by, roots)
    pairs = len(targets) * methods[0][0].outcomes.size
    return Ranking(
        comparison,
        tuple(targets),
        tuple(names),
        tuple(_estimate(row, pairs, roots) for row in by),
        tuple(_estimate(0.5 + row / 2, pairs, roots) for row in won),
        tuple(rank_ranges(better)),
        better,
        p,
        by.shape[1],
        roots,
        tuple(name for name in comparison.names if name not in names),
    )


def rankings(run: RunView) -> list[Ranking]:
    """Return one ranking for each method comparison; call it as `run.once(rankings)`."""
    return [ranked for comparison in run.once(method_comparisons).comparisons if (ranked := ranking(comparison))]


def verdict(ranked: Ranking) -> list[str]:
    """Return what a ranking shows of the top and of the controls, one sentence each."""
    controls = [i for i, name in enumerate(ranked.names) if name in ranked.comparison.controls]
    rivals = [i for i in range(len(ranked.names)) if i not in controls]
    leaders = [ranked.names[i] for i in range(len(ranked.names)) if ranked.ranks[i][0] == 1]
    is_single = len(leaders) == 1
    sentences = [
        f"By mean difference the best is {leaders[0]}."
        if is_single
        else f"By mean difference the best may be any of {', '.join(leaders)}: the data do not tell them apart."
    ]
    control_losses = []
    for control in controls:
        beaten = [ranked.names[i] for i in rivals if ranked.better[i, control]]
        by = "none" if not beaten else "all others" if len(beaten) == len(rivals) else ", ".join(beaten)
        control_losses.append(f"{ranked.names[control]} is beaten by {by}")
    if ranked.seeds == 1 and ranked.roots is not None and ranked.roots < FEW_ROOTS:
        sentences.append(
            f"One seed, whose prompts start from {ranked.roots} draw{'s' if ranked.roots > 1 else ''} of noise, tells "
            "no methods apart: sweep several seeds."
        )
    if control_losses:
        sentences.append(
            f"Controls: {'; '.join(control_losses)}. "
            "A strategy that does not beat them has not shown that its clusters help."
        )
    return sentences


def _common(comparison: MethodComparison) -> tuple[list[str], list[SavingsTarget]]:
    """Return as many methods as have a target in common, and the targets that all of them have."""
    names = list(comparison.names)
    while True:
        targets = [target for target in comparison.targets if all(name in target.methods for name in names)]
        if targets or len(names) < 2:
            return names, targets
        names.remove(min(names, key=lambda name: sum(name in target.methods for target in comparison.targets)))


def _estimate(table: Floats, pairs: int, roots: int | None) -> Estimate:
    return replace(pooled_difference(table, roots), n=pairs)
