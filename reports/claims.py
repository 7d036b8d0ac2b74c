"""Claims about each way to share: no worse than the baseline, worse, or too few pairs to tell. All seeds are one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from common.errors import UserError
from metrics.hypotheses import holm
from metrics.over_seeds import ONE_ROOT_INFLATION, PooledOutcomes, pool_outcomes
from metrics.power import ALPHA, POWER
from metrics.scorer_audit import ScorerAudit
from metrics.statistics import Estimate
from reports.audits import audits
from reports.base import RunView, series_name
from reports.frame import WIN_RATE, paired_metrics, result_names, varying_axes
from reports.labels import title
from reports.paired_scores import Read, metric_scores
from reports.pooling import COUNTS, noise_draws, pooled_outcomes, same_pictures, ways
from sweeps.record import CellConfig, Record
from sweeps.scores import same_scorer

SAME = "same pictures"
BROKEN = "broken baseline"
BASELINE_MEAN = "_mean_standard"


@dataclass(frozen=True)
class Baseline:
    """The baseline's mean score, and what tells whether its pictures show their prompts by this scorer.

    Attributes:
        mean: over all pairs.
        floor: a mean at or below which they do not, as the scorer declares it; None where it declares none. It counts
            where there is no audit alone.
        audit: of the scorer on baseline pictures of this model and prompt set, with scores of unlike prompts; or None.
    """

    mean: float
    floor: float | None = None
    audit: ScorerAudit | None = None

    @property
    def broken(self) -> bool:
        if self.audit is not None:
            return self.audit.tells(self.mean) is False
        return self.floor is not None and self.mean <= self.floor

    @property
    def measured(self) -> str:
        """What it is judged by, in words."""
        if self.audit is not None:
            return self.audit.beside_unlike(self.mean)
        return f"mean {self.mean:.2f}" + ("" if self.floor is None else f", where {self.floor:g} or less is failure")


@dataclass(frozen=True)
class Claim:
    """A way to share under one metric: the pooled pairs of all its seeds, and the tests of them.

    Attributes:
        records: one for each seed.
        metric: the metric whose win rate is tested.
        outcomes: wins, ties and losses, and what they are worth.
        delta: the non-inferiority margin: how far below 1/2 the rate may lie and still be no worse.
        baseline: the baseline's mean score; None where it was not recorded.
        noninferiority_p: one-sided p-value for a rate above 1/2 - delta; None where all pictures are the baseline's, or
            the baseline is broken.
        two_sided_p: p-value against wins and losses being equally likely; None likewise.
        noninferiority_holm: `noninferiority_p` adjusted for the metric's other claims.
        two_sided_holm: `two_sided_p`, likewise.
    """

    records: tuple[Record, ...]
    metric: str
    outcomes: PooledOutcomes
    delta: float
    baseline: Baseline | None = None
    noninferiority_p: float | None = None
    two_sided_p: float | None = None
    noninferiority_holm: float | None = None
    two_sided_holm: float | None = None

    @property
    def config(self) -> CellConfig:
        """The place on the axes of the first seed."""
        return self.records[0].config

    @property
    def rate(self) -> Estimate:
        """The half-tie win rate over all pairs."""
        if _all_same(self):
            return Estimate(0.5, 0.5, 0.5, self.pairs, "identical pictures")
        return self.outcomes.estimate()

    @property
    def seeds(self) -> int:
        return self.outcomes.spread.seeds

    @property
    def prompts(self) -> int:
        return self.outcomes.spread.prompts

    @property
    def pairs(self) -> int:
        return self.outcomes.pairs

    @property
    def roots(self) -> int | None:
        """The number of draws of noise that a seed's prompts start from; None where not known."""
        return self.outcomes.roots

    @property
    def power(self) -> float:
        """The power to show "no worse" with this claim alone, if the true rate were 1/2 and as many pairs tied."""
        return self.outcomes.power(self.delta)

    @property
    def prompts_needed(self) -> int | None:
        """The number of prompts that reaches the target power with as many seeds; None where no number does."""
        return self.outcomes.prompts_needed(self.delta)

    @property
    def seeds_needed(self) -> int | None:
        """The number of seeds of these prompts that reaches it; None where none does, or one seed cannot say."""
        return self.outcomes.seeds_needed(self.delta)

    @property
    def broken(self) -> bool:
        return self.baseline is not None and self.baseline.broken

    @property
    def underpowered(self) -> bool:
        return self.noninferiority_p is not None and self.power < POWER

    @property
    def one_noise(self) -> bool:
        """True where one seed started all prompts from few draws of noise, whose chance its interval cannot see."""
        return self.noninferiority_p is not None and self.outcomes.one_noise

    @property
    def verdict(self) -> str:
        """The verdict in words, at 5% over all of the metric's claims (2.5% one-sided)."""
        if self.broken:
            return BROKEN
        if self.noninferiority_holm is None or self.two_sided_holm is None:
            return SAME
        loses = self.outcomes.wins < self.outcomes.losses
        not_worse, worse = self.noninferiority_holm < ALPHA / 2, self.two_sided_holm < ALPHA and loses
        if not_worse:
            return "worse by less than delta" if worse else "no worse"
        if worse:
            return "worse"
        return "underpowered" if self.underpowered else "undecided"

    def within(self, delta: float) -> "Claim":
        """Return the unadjusted claim within another delta."""
        claim = replace(self, delta=delta, noninferiority_holm=None, two_sided_holm=None)
        return tested(claim, same=_all_same(claim))


def claim_of(run: RunView, records: Sequence[Record], metric: str, read: Read) -> Claim | None:
    """Return the unadjusted claim of one way to share; None where its records have no win rate of this metric.

    Raises:
        UserError: the scores of several seeds cannot be read, or are of different numbers of prompts.
    """
    scored = tuple(record for record in records if f"{metric}{WIN_RATE}" in record.results)
    if not scored:
        return None
    try:
        pairs = pooled_outcomes(run.path, scored, metric, read)
    except UserError:
        # a record alone tells the counts of its own pairs
        if len(scored) > 1 or (counted := _counted(run, scored[0], metric)) is None:
            raise
        pairs = counted
    claim = Claim(scored, metric, pairs, run.delta, baseline_of(run, scored, metric))
    return tested(claim, same=_all_same(claim))


def claims(run: RunView) -> list[Claim]:
    """Return the claims of every way to share with tau above 0, adjusted within each metric by Holm's method.

    Call it as `run.once(claims)`, which computes them once.
    """
    return run.once(_gathered)[0]


def left_out(run: RunView) -> list[str]:
    """Return a sentence for each way to share of which nothing can be claimed, with the reason."""
    return run.once(_gathered)[1]


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


def baseline_of(run: RunView, records: Sequence[Record], metric: str) -> Baseline | None:
    """Return the baseline's mean score over these records; None where one of them does not have it."""
    names = (name for name in records[0].results if name.startswith(f"{metric}.") and name.endswith(BASELINE_MEAN))
    name = next(names, None)
    if name is None or not all(name in record.results for record in records):
        return None
    figures = records[0].scorers.get(metric, {}).get("figures", {})
    floor = figures.get(name.partition(".")[2], {}).get("floor")
    mean = float(np.mean([record.results[name].value for record in records]))
    return Baseline(mean, floor, _audit(run, records[0], metric))


def _audit(run: RunView, record: Record, metric: str) -> ScorerAudit | None:
    """Return the audit of a record's scorer on baseline pictures of its model and prompts, if it has unlike prompts."""
    place, scorer = (record.config.model, record.config.dataset, metric), record.scorers.get(metric)
    try:
        every = run.once(audits)
    except UserError:  # a damaged file; the table of audits says so
        return None
    own = [one for one in every if (one.model, one.dataset, one.scorer) == place and one.unlike is not None]
    return next((one for one in own if same_scorer(scorer, one.identity)), None)


def inflation_warning(of_claims: Sequence[Claim]) -> str:
    """Return the sentence that claims of one seed need whose prompts started from few draws of noise; "" for none."""
    few = sorted(claim.roots for claim in of_claims if claim.one_noise and claim.roots is not None)
    if not few:
        return ""
    draws = "one draw" if few[-1] == 1 else f"{few[0]} draws" if few[0] == few[-1] else f"{few[0]} to {few[-1]} draws"
    return (
        f"One seed whose prompts start from {draws} of noise: its intervals may be too narrow, by up to "
        f"{ONE_ROOT_INFLATION:g} times as far as was measured. Run several seeds before you claim anything."
    )


def _gathered(run: RunView) -> tuple[list[Claim], list[str]]:
    shared, read = [record for record in run.records if record.config.tau > 0], cache(metric_scores)
    axes = [*(axis for axis in varying_axes(run.records) if axis != "seed"), "tau"]
    gathered: list[Claim] = []
    notes = []
    for metric in paired_metrics(result_names(run.records)):
        of_metric = []
        for records in ways(shared):
            try:
                claim = claim_of(run, records, metric, read)
            except UserError as error:
                notes.append(f"{title(metric)}, {series_name(records[0].config, axes)} is left out: {error}")
            else:
                of_metric += [claim] if claim else []
        gathered += adjusted(of_metric)
    return gathered, notes


def _all_same(claim: Claim) -> bool:
    return all(same_pictures(record, claim.metric) for record in claim.records)


def tested(claim: Claim, *, same: bool) -> Claim:
    """Return the claim with its p-values, where there is something to test.

    Args:
        claim: it may be of pictures that no record describes.
        same: whether every picture is the baseline's own.
    """
    if claim.broken or same:
        return replace(claim, noninferiority_p=None, two_sided_p=None)
    return replace(
        claim,
        noninferiority_p=claim.outcomes.noninferiority_p(claim.delta),
        two_sided_p=claim.outcomes.even_p(),
    )


def _counted(run: RunView, record: Record, metric: str) -> PooledOutcomes | None:
    """Return the outcomes that a record's counts give; None where it has none."""
    counts = [record.results.get(f"{metric}.{name}") for name in COUNTS]
    known = [int(count.value) for count in counts if count]
    if len(known) < len(COUNTS) or not sum(known):
        return None
    return pool_outcomes([np.repeat([1, 0, -1], known)], noise_draws(run.path, [record]))
