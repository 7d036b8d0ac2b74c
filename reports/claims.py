"""Claims about each cell's win rate: no worse than the baseline, worse, or too few pairs to tell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from metrics.hypotheses import holm, noninferiority_p, sign_test_p
from metrics.power import ALPHA, POWER, noninferiority_power, pairs_for_noninferiority
from reports.base import RunView
from reports.frame import WIN_RATE, paired_metrics, result_names
from sweeps.record import Record

SAME = "same pictures"


@dataclass(frozen=True)
class Claim:
    """One cell under one metric: its counts of pairs, and the tests of them.

    Attributes:
        record: the cell's record.
        metric: the metric whose win rate is tested.
        wins: pairs in which the shared picture scores higher.
        ties: pairs with equal scores, or of one and the same picture.
        losses: pairs in which the baseline's picture scores higher.
        delta: the non-inferiority margin: how far below 1/2 the rate may lie and still be no worse.
        noninferiority_p: one-sided p-value for a rate above 1/2 - delta; None where all pictures are the baseline's.
        two_sided_p: p-value against wins and losses being equally likely; None likewise.
        noninferiority_holm: `noninferiority_p` adjusted for the metric's other claims.
        two_sided_holm: `two_sided_p`, likewise.
    """

    record: Record
    metric: str
    wins: int
    ties: int
    losses: int
    delta: float
    noninferiority_p: float | None = None
    two_sided_p: float | None = None
    noninferiority_holm: float | None = None
    two_sided_holm: float | None = None

    @property
    def pairs(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def power(self) -> float:
        """The power to show "no worse" with this claim alone, if the true rate were 1/2 and as many pairs tied."""
        return noninferiority_power(self.pairs, self.delta, self.ties / self.pairs)

    @property
    def pairs_needed(self) -> int | None:
        """The number of pairs that reaches the target power; None where no number does."""
        return pairs_for_noninferiority(self.delta, self.ties / self.pairs)

    @property
    def underpowered(self) -> bool:
        return self.noninferiority_p is not None and self.power < POWER

    @property
    def verdict(self) -> str:
        """The verdict in words, at 5% over all of the metric's claims (2.5% one-sided)."""
        if self.noninferiority_holm is None or self.two_sided_holm is None:
            return SAME
        not_worse, worse = self.noninferiority_holm < ALPHA / 2, self.two_sided_holm < ALPHA and self.wins < self.losses
        if not_worse:
            return "worse by less than delta" if worse else "no worse"
        if worse:
            return "worse"
        return "underpowered" if self.underpowered else "undecided"


def cell_claim(record: Record, metric: str, delta: float) -> Claim | None:
    """Return the unadjusted claim of one cell; None where its record has no counts of this metric."""
    counts = [record.results.get(f"{metric}.{name}") for name in ("wins", "ties", "losses")]
    rate = record.results.get(f"{metric}{WIN_RATE}")
    wins, ties, losses = (int(count.value) if count else 0 for count in counts)
    if rate is None or not all(counts) or not wins + ties + losses:
        return None
    untested = Claim(record, metric, wins, ties, losses, delta)
    if rate.low is not None and rate.low == rate.high:  # an interval without width: every picture is the baseline's own
        return untested
    return replace(
        untested,
        noninferiority_p=float(noninferiority_p(wins, losses, untested.pairs, delta)),
        two_sided_p=sign_test_p(wins, losses),
    )


def claims(run: RunView) -> list[Claim]:
    """Return the claims of every cell with tau above 0, metric by metric, adjusted within each by Holm's method.

    Call it as `run.once(claims)`, which computes them once.
    """
    shared = [record for record in run.records if record.config.tau > 0]
    metrics = paired_metrics(result_names(run.records))
    by_metric = {metric: [cell_claim(record, metric, run.delta) for record in shared] for metric in metrics}
    return [claim for of_metric in by_metric.values() for claim in adjusted([claim for claim in of_metric if claim])]


def adjusted(unadjusted: Sequence[Claim]) -> list[Claim]:
    """Return these claims with p-values adjusted by Holm's method over those that were tested."""
    noninferiority = holm([claim.noninferiority_p for claim in unadjusted if claim.noninferiority_p is not None])
    two_sided = holm([claim.two_sided_p for claim in unadjusted if claim.two_sided_p is not None])
    tested = [place for place, claim in enumerate(unadjusted) if claim.noninferiority_p is not None]
    corrected = list(unadjusted)
    for place, noninferiority_adjusted, two_sided_adjusted in zip(tested, noninferiority, two_sided, strict=True):
        corrected[place] = replace(
            corrected[place], noninferiority_holm=noninferiority_adjusted, two_sided_holm=two_sided_adjusted
        )
    return corrected
