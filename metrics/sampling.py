"""Estimates for a whole set from a stratified random sample of it: the set's outcomes are fixed, the draw is random.

A full run would give every prompt an outcome; a sample sees those of some. Nothing is assumed of the outcomes: the mean
over the sample, each stratum weighted by its share of the set, is unbiased because each prompt of a stratum was drawn
with the same probability, and its variance follows from the spread within strata, less where much of a stratum was
drawn (Cochran, Sampling Techniques, 1977, chapter 5). Degrees of freedom are Satterthwaite's. Rates have the score
intervals that they have elsewhere, at the number of independent pairs that would give them the same variance (Korn and
Graubard, Survey Methodology 24, 1998, 193-201), which is at most what a sample without strata would be worth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from metrics.hypotheses import noninferiority_p
from metrics.power import pairs_for_noninferiority
from metrics.statistics import LEVEL, Estimate, Floats, tango_interval

STRATIFIED = "stratified t for the whole set"


@dataclass(frozen=True)
class Strata:
    """The design of a sample of n prompts of a set of N, or of all of them.

    Attributes:
        labels: the stratum of each prompt of the sample, from 0 to H - 1 [n].
        sizes: the number of prompts of the set in each stratum [H].

    Raises:
        UserError: a stratum has fewer than two prompts in the sample and not all of its own.

    Examples:
        >>> design = Strata((0, 0, 1, 1), (10, 30))
        >>> design.of, design.n, design.weights.tolist()
        (40, 4, [0.125, 0.125, 0.375, 0.375])
    """

    labels: tuple[int, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        whole = len(self.counts) == len(self.sizes)
        if not whole or (self.counts < np.minimum(2, self.sizes)).any() or (self.counts > self.sizes).any():
            raise UserError("a stratum of the sample has too few prompts, or more than there are", "draw two of each")

    @classmethod
    def whole(cls, n: int) -> "Strata":
        """Return the design of a set all of whose prompts are there."""
        return cls((0,) * n, (n,))

    @property
    def n(self) -> int:
        return len(self.labels)

    @property
    def of(self) -> int:
        """N."""
        return sum(self.sizes)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """The number of prompts drawn of each stratum [H]."""
        return np.bincount(np.asarray(self.labels, dtype=np.int64), minlength=len(self.sizes)).astype(np.int64)

    @property
    def weights(self) -> Floats:
        """What each prompt of the sample counts in a mean of the whole set, 1 in all [n]."""
        of_stratum = np.asarray(self.sizes) / self.counts / self.of
        return np.asarray(of_stratum[list(self.labels)])

    def mean(self, values: ArrayLike) -> tuple[float, float, float]:
        """Return the mean of the whole set, the variance of that estimate, and the variance's degrees of freedom.

        Args:
            values: of the sample [n].

        Raises:
            UserError: there are not n values.

        Examples:
            >>> mean, variance, degrees = Strata((0, 0, 1, 1), (10, 30)).mean([1, 0, 1, 1])
            >>> mean, round(variance, 4), degrees
            (0.875, 0.0125, 1.0)
        """
        values = np.asarray(values, dtype=np.float64)
        if values.shape != (self.n,):
            raise UserError(f"{values.shape} values are not those of {self.n} prompts", "give one a prompt")
        labels, counts, sizes = np.asarray(self.labels), self.counts, np.asarray(self.sizes)
        sums = np.bincount(labels, values, minlength=len(sizes))
        left = values - (sums / counts)[labels]
        free = counts - 1
        within = np.bincount(labels, left**2, minlength=len(sizes)) / np.maximum(free, 1)
        parts = (sizes / self.of) ** 2 * (1 - counts / sizes) * within / counts
        variance, squares = float(parts.sum()), float((parts[free > 0] ** 2 / free[free > 0]).sum())
        degrees = variance**2 / squares if squares > 0 else float(max(free.sum(), 1))
        # of equal values it is that value, to the last bit
        return float((sizes * (sums / counts)).sum() / self.of), variance, degrees


def whole_mean(values: ArrayLike, strata: Strata, *, level: float = LEVEL) -> Estimate:
    """Return the mean of the whole set with its interval; of no width where all of the set is there.

    Args:
        values: of the sample [n].
        strata: how it was drawn.
        level: nominal coverage over draws.

    Examples:
        >>> estimate = whole_mean([0.1, 0.3, 0.2, 0.4], Strata((0, 0, 1, 1), (10, 10)))
        >>> round(estimate.value, 3), round(estimate.low, 3), round(estimate.high, 3), estimate.n
        (0.25, -0.022, 0.522, 4)
        >>> whole_mean([0.1, 0.3], Strata.whole(2)).method
        'the whole set'
    """
    from scipy.stats import t

    mean, variance, degrees = strata.mean(values)
    if strata.n == strata.of:
        return Estimate(mean, mean, mean, strata.n, "the whole set", level)
    half = float(t.ppf(0.5 + level / 2, degrees)) * variance**0.5
    return Estimate(mean, mean - half, mean + half, strata.n, STRATIFIED, level)


@dataclass(frozen=True)
class WholeOutcomes:
    """Shares of wins and losses in the whole set, as a sample tells them, and the pairs that they are worth.

    Attributes:
        wins: share of pairs in which ours scores higher.
        losses: share in which the baseline does.
        effective: the number of independent pairs that give the mean outcome the same variance.
        effective_wins: likewise the share of wins.
        degrees: degrees of freedom of the variance.
        n: prompts of the sample.
        of: prompts of the set.
    """

    wins: float
    losses: float
    effective: float
    effective_wins: float
    degrees: float
    n: int
    of: int

    @property
    def ties(self) -> float:
        """Share of pairs that tie."""
        return max(0.0, 1 - self.wins - self.losses)

    def rate(self, level: float = LEVEL) -> Estimate:
        """Return the half-tie win rate of the whole set with its interval, from 0 to 1."""
        rate = 0.5 + (self.wins - self.losses) / 2
        if self.n == self.of:
            return Estimate(rate, rate, rate, self.n, "the whole set", level)
        low, high = tango_interval(*self._counts, level=level, degrees=self.degrees)
        return Estimate(rate, 0.5 + low / 2, 0.5 + high / 2, self.n, "Tango score, stratified", level)

    def strict(self, level: float = LEVEL) -> Estimate:
        """Return the share of wins, ties counted as none, with its interval."""
        from scipy.stats import norm, t
        from statsmodels.stats.proportion import proportion_confint

        if self.n == self.of:
            return Estimate(self.wins, self.wins, self.wins, self.n, "the whole set", level)
        # the quantile of t in Wilson's place of the normal one
        quantile = 0.5 + level / 2
        worth = self.effective_wins * float(norm.ppf(quantile) / t.ppf(quantile, self.degrees)) ** 2
        low, high = proportion_confint(worth * self.wins, worth, alpha=1 - level, method="wilson")
        # of no wins at all rounding leaves a little more than none
        low, high = min(float(low), self.wins), max(float(high), self.wins)
        return Estimate(self.wins, low, high, self.n, "Wilson, stratified", level)

    def noninferiority_p(self, delta: float) -> float:
        """Return the one-sided p-value of "the whole set's rate is above 1/2 - delta".

        It is below 0.025 exactly where the 95% interval of `rate` lies above that.
        """
        if self.n == self.of:
            return 0.0 if self.rate().value > 0.5 - delta else 1.0
        return float(noninferiority_p(*self._counts, delta, self.degrees))

    def needed(self, delta: float) -> int | None:
        """Return the prompts of a sample that has the usual power to show it, were the rate as estimated, at most 1/2.

        None where no sample does: the rate is no higher than 1/2 - delta.
        """
        difference = min(0.0, (self.wins - self.losses) / 2)
        pairs = pairs_for_noninferiority(delta, self.ties, difference=difference)
        if pairs is None:
            return None
        # pairs that `n` prompts are worth, beside a sample without strata of a set without end
        gain = self.effective * (1 - self.n / self.of) / self.n if self.n < self.of else 1.0
        return min(self.of, ceil(1 / (gain / pairs + 1 / self.of)))

    @property
    def _counts(self) -> tuple[float, float, float]:
        wins, losses = self.effective * self.wins, self.effective * self.losses
        return wins, losses, max(self.effective, wins + losses)


def whole_outcomes(outcomes: ArrayLike, strata: Strata) -> WholeOutcomes:
    """Return the outcomes of the whole set, as a sample tells them.

    Args:
        outcomes: 1 where ours scores higher, -1 where lower, 0 for a tie: of one run [n], or of several seeds [S, n],
            whose mean is then what each prompt has.
        strata: how the sample was drawn.

    Raises:
        UserError: an outcome is none of these.

    Examples:
        >>> found = whole_outcomes([1, -1, 0, 0] * 10, Strata((0,) * 20 + (1,) * 20, (200, 200)))
        >>> found.wins, found.losses, found.rate().value, round(found.effective, 1)
        (0.25, 0.25, 0.5, 42.2)
        >>> rate = found.rate()
        >>> round(rate.low, 3), round(rate.high, 3), found.needed(0.05)
        (0.39, 0.61, 204)
    """
    table = np.atleast_2d(np.asarray(outcomes, dtype=np.float64))
    if not np.isin(table, (-1, 0, 1)).all():
        raise UserError("an outcome is none of 1, 0 and -1", "give 1 for a win, 0 for a tie, -1 for a loss")
    wins, losses = ((table == sign).mean(axis=0) for sign in (1, -1))
    of_wins, of_losses = strata.mean(wins)[0], strata.mean(losses)[0]
    mean, variance, degrees = strata.mean(table.mean(axis=0))
    if strata.n == strata.of:
        return WholeOutcomes(of_wins, of_losses, strata.n, strata.n, inf, strata.n, strata.of)
    most = len(table) * strata.n / (1 - strata.n / strata.of)
    _, variance_of_wins, _ = strata.mean(wins)
    return WholeOutcomes(
        of_wins,
        of_losses,
        effective=_worth(of_wins + of_losses - mean**2, variance, most),
        effective_wins=_worth(of_wins * (1 - of_wins), variance_of_wins, most),
        degrees=degrees,
        n=strata.n,
        of=strata.of,
    )


def _worth(of_pairs: float, of_mean: float, most: float) -> float:
    """Return the number of independent pairs of a variance whose mean has another."""
    return min(of_pairs / of_mean, most) if of_mean > 0 and of_pairs > 0 else most


def sequence(p: Sequence[float], alpha: float) -> int:
    """Return how many of some claims hold, tested one after the other until the first that does not.

    The order is given before anything is seen, here from the least to the most sharing: then a false claim is made with
    probability alpha at most, and nothing is paid for there being several (Maurer, Hothorn and Lehmacher, 1995).

    Examples:
        >>> sequence([0.001, 0.02, 0.2, 0.01], 0.025)
        2
    """
    return next((place for place, one in enumerate(p) if one >= alpha), len(p))
