"""What a run claims of each cell's win rate: no worse than standard, worse, or too few pairs to tell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from metrics.hypotheses import holm, noninferiority_p, sign_test_p
from metrics.power import ALPHA, POWER, noninferiority_power, pairs_for_noninferiority
from reports.base import RunView
from reports.frame import WIN_RATE, figure_names, paired_metrics
from sweeps.record import Record

SAME = "same pictures"


@dataclass(frozen=True)
class Claim:
    """A cell as one metric sees it: counts of pairs, and what these say.

    Attributes:
        record: the cell's.
        metric: whose win rate it is.
        wins: pairs in which ours scores higher.
        ties: pairs that score the same, or are one picture.
        losses: pairs in which standard scores higher.
        delta: how far below 1/2 the rate may lie and still be no worse.
        no_worse_p: one-sided, of the rate above 1/2 - delta; None where every picture is standard's own.
        differs_p: two-sided, of wins and losses equally likely; None likewise.
        no_worse_holm: adjusted for the metric's other claims.
        differs_holm: likewise.
    """

    record: Record
    metric: str
    wins: int
    ties: int
    losses: int
    delta: float
    no_worse_p: float | None = None
    differs_p: float | None = None
    no_worse_holm: float | None = None
    differs_holm: float | None = None

    @property
    def pairs(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def power(self) -> float:
        """Of showing "no worse" by itself, if the true rate were 1/2 and ties as many as here."""
        return noninferiority_power(self.pairs, self.delta, self.ties / self.pairs)

    @property
    def pairs_needed(self) -> int | None:
        """For enough power; None: no number has it."""
        return pairs_for_noninferiority(self.delta, self.ties / self.pairs)

    @property
    def underpowered(self) -> bool:
        return self.no_worse_p is not None and self.power < POWER

    @property
    def verdict(self) -> str:
        """In words, at 5% over all of the metric's claims (2.5% one-sided)."""
        if self.no_worse_holm is None or self.differs_holm is None:
            return SAME
        no_worse, worse = self.no_worse_holm < ALPHA / 2, self.differs_holm < ALPHA and self.wins < self.losses
        if no_worse:
            return "worse by less than delta" if worse else "no worse"
        if worse:
            return "worse"
        return "underpowered" if self.underpowered else "undecided"


def claim(record: Record, metric: str, delta: float) -> Claim | None:
    """What one cell's counts say, unadjusted; None where the record does not have them."""
    found = [record.figures.get(f"{metric}.{name}") for name in ("wins", "ties", "losses")]
    rate = record.figures.get(f"{metric}{WIN_RATE}")
    wins, ties, losses = (int(each.value) if each else 0 for each in found)
    if rate is None or not all(found) or not wins + ties + losses:
        return None
    plain = Claim(record, metric, wins, ties, losses, delta)
    if rate.low is not None and rate.low == rate.high:  # an interval without width: nothing was estimated
        return plain
    return replace(
        plain,
        no_worse_p=float(noninferiority_p(wins, losses, plain.pairs, delta)),
        differs_p=sign_test_p(wins, losses),
    )


def claims(run: RunView) -> list[Claim]:
    """Those of every cell with tau above 0, metric by metric, adjusted within each. Ask through `run.once`."""
    shared = [record for record in run.records if record.asked.tau > 0]
    metrics = paired_metrics(figure_names(run.records))
    found = {metric: [claim(record, metric, run.delta) for record in shared] for metric in metrics}
    return [each for of_one in found.values() for each in adjusted([each for each in of_one if each])]


def adjusted(found: Sequence[Claim]) -> list[Claim]:
    """The same claims, of cells that differ, with p-values adjusted by Holm's method for being so many."""
    no_worse = holm([each.no_worse_p for each in found if each.no_worse_p is not None])
    differs = holm([each.differs_p for each in found if each.differs_p is not None])
    tested = [i for i, each in enumerate(found) if each.no_worse_p is not None]
    done = list(found)
    for i, one, other in zip(tested, no_worse, differs, strict=True):
        done[i] = replace(done[i], no_worse_holm=one, differs_holm=other)
    return done
