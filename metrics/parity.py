"""Savings at parity: how much can be shared before the win rate may have fallen too far. Pure functions of arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from metrics.statistics import LEVEL, Estimate, Floats, constrained_loss_rate

DELTA = 0.05
RESAMPLES = 2000
METHOD = "percentile bootstrap over prompts and seeds"
DIFFERENCE_METHOD = "normal, with the standard error of a bootstrap over prompts and seeds"


@dataclass(frozen=True)
class Reach:
    """Savings up to which a curve stays at or above a threshold.

    Attributes:
        savings: share of denoiser steps saved, from 0 to 1; higher is better.
        at_least: the curve does not fall below anywhere, so that these are the most that were measured.
    """

    savings: float
    at_least: bool


@dataclass(frozen=True)
class Crossing:
    """First fall of a curve below a threshold: the sample's, then its resamples'.

    Attributes:
        savings: [1 + R]; the most that was measured where the curve does not fall below.
        beyond: bool [1 + R], true where it does not.
        n_prompts: the number of prompts that were resampled.
        level: nominal coverage of `low` to `high`.

    Examples:
        Of four resamples one does not fall below; it counts as above all that do.

        >>> crossing = Crossing(np.array([0.4, 0.3, 0.5, 0.4, 0.6]), np.array([0, 0, 0, 0, 1], bool), 20, level=0.9)
        >>> crossing.value
        Reach(savings=0.4, at_least=False)
        >>> crossing.low, crossing.high
        (Reach(savings=0.3, at_least=False), Reach(savings=0.6, at_least=True))
    """

    savings: Floats
    beyond: NDArray[np.bool_]
    n_prompts: int
    level: float = LEVEL

    @property
    def value(self) -> Reach:
        """The sample's."""
        return Reach(float(self.savings[0]), bool(self.beyond[0]))

    @property
    def low(self) -> Reach | None:
        """Lower end of the percentile interval; None for a single prompt."""
        return self._quantile((1 - self.level) / 2)

    @property
    def high(self) -> Reach | None:
        """Upper end of the percentile interval; None for a single prompt."""
        return self._quantile((1 + self.level) / 2)

    def _quantile(self, share: float) -> Reach | None:
        """Return an order statistic: of what is only known to be at least so much there is no mean to interpolate."""
        if self.n_prompts < 2:
            return None
        savings, beyond = self.savings[1:], self.beyond[1:]
        place = np.lexsort((savings, beyond))[max(ceil(share * len(savings)) - 1, 0)]
        return Reach(float(savings[place]), bool(beyond[place]))


@dataclass(frozen=True)
class SavingsAtParity:
    """The largest savings up to which a win rate stays at or above 1/2 - delta; higher is better.

    Attributes:
        bound: judged by the rate's lower bound, which knows how many pairs there are.
        rate: judged by the rate itself.
        most: the most savings that were measured, from 0 to 1.
        pairs: the number of pairs a tau, seeds times prompts.
        effective: [T], the number of independent pairs that these are worth.
        delta: the margin, how far below 1/2 is tolerated.
    """

    bound: Crossing
    rate: Crossing
    most: float
    pairs: int
    effective: Floats
    delta: float


def savings_at_parity(
    outcomes: ArrayLike, savings: ArrayLike, *, delta: float = DELTA, seed: int = 0, level: float = LEVEL
) -> SavingsAtParity:
    """Return the largest savings up to which the lower bound of the half-tie win rate stays at or above 1/2 - delta.

    The curve starts at savings 0 with rate and bound 1/2 (the baseline's own pictures) and is linear between taus. The
    bound is Tango's at the effective number of pairs (`effective_pairs`). The interval is the percentile bootstrap
    over prompts and, crossed with it, over seeds (Owen, Annals of Applied Statistics 1, 2007, the pigeonhole
    bootstrap): every resample has its own rates, bounds and mean savings, and the sample's effective numbers of pairs.

    Args:
        outcomes: [S, T, N] for S seeds, T taus, N prompts: 1 where ours scores higher, -1 lower, 0 for a tie.
        savings: [S, T], the share of denoiser steps saved, from 0 to 1.
        delta: the margin, how far below 1/2 is tolerated, from 0 to below 1/2.
        seed: of the resampling; the same seed, S and N resample the same prompts and seeds.
        level: nominal coverage, of the bound's two-sided interval and of the bootstrap's.

    Raises:
        UserError: a shape or a value is none of these.

    Examples:
        One seed of 40 prompts at two taus: all tie at the first, three in four lose at the second.

        >>> outcomes = [[[0] * 40, [-1] * 30 + [1] * 10]]
        >>> parity = savings_at_parity(outcomes, [[0.2, 0.6]])
        >>> round(parity.rate.value.savings, 3), parity.rate.value.at_least
        (0.28, False)
        >>> parity.bound.value.savings < parity.rate.value.savings  # the bound falls first
        True
        >>> parity.most, parity.pairs, parity.effective
        (0.6, 40, array([40., 40.]))
    """
    outcomes, savings = _checked(outcomes, savings, delta)
    n_seeds, _, n_prompts = outcomes.shape
    rng = np.random.default_rng(seed)
    prompts, seeds = _resampled(rng, n_prompts), _resampled(rng, n_seeds)
    difference, untied = (
        np.einsum("rs,rn,stn->rt", seeds, prompts, values, optimize=True) / (n_seeds * n_prompts)
        for values in (outcomes, outcomes**2)
    )
    # The sample's, for all resamples: estimated anew, a prompt drawn twice would pass for prompts that resemble one
    # another, or for new ones.
    effective = effective_pairs(outcomes)
    saved = seeds @ savings / n_seeds
    bound = np.where(saved > 0, lower_bound(difference, untied, effective, level=level), 0.5)
    of_bound, of_rate = (
        Crossing(*_crossing(saved, curve, 0.5 - delta), n_prompts, level) for curve in (bound, 0.5 + difference / 2)
    )
    most = float(savings.mean(axis=0).max())
    return SavingsAtParity(of_bound, of_rate, most, n_seeds * n_prompts, effective, delta)


def effective_pairs(outcomes: ArrayLike) -> Floats:
    """Return the number of independent pairs that S seeds of N prompts are worth, [T], each from N to S N.

    Pairs of one prompt resemble one another. As Rao and Scott (Biometrics 48, 1992, 577-585) do for clustered
    proportions, their number is divided by the design effect: the variance of the mean over prompts, in which a
    prompt's seeds are one cluster, over what it would be if all pairs were independent. With one seed it is N.

    Args:
        outcomes: [S, T, N], as in `savings_at_parity`.

    Examples:
        Two seeds: at the first tau the second repeats the first, at the second tau it does not.

        >>> effective_pairs([[[1, -1, 1, -1], [1, -1, 1, -1]], [[1, -1, 1, -1], [1, 1, -1, -1]]])
        array([4., 8.])
    """
    outcomes = np.asarray(outcomes, dtype=np.float64)
    n_seeds, _, n_prompts = outcomes.shape
    between, all_pairs = outcomes.mean(axis=0).var(axis=1), outcomes.var(axis=(0, 2))
    effect = np.ones_like(all_pairs)
    np.divide(n_seeds * between, all_pairs, out=effect, where=all_pairs > 0)
    # held between 1 and S: a seed more never costs pairs, and S seeds are worth no more than S N
    return np.asarray(n_seeds * n_prompts / np.clip(effect, 1, n_seeds))


def lower_bound(difference: ArrayLike, untied: ArrayLike, n: ArrayLike, *, level: float = LEVEL) -> Floats:
    """Return the lower end of the half-tie win rate's interval, `metrics.statistics.win_rate`'s for arrays of rates.

    Args:
        difference: p_win - p_loss, any shape.
        untied: p_win + p_loss, likewise.
        n: the number of pairs, which need not be whole, broadcast against them.
        level: nominal coverage of the two-sided interval.

    Returns:
        From 0 to 1, of the arguments' common shape.

    Examples:
        Wins in half of all pairs and losses in the other half, of 100, 400 and 1,600 pairs:

        >>> lower_bound(0, 1, [100, 400, 1600]).round(3)
        array([0.404, 0.451, 0.476])
    """
    from scipy.optimize.elementwise import find_root
    from scipy.stats import norm

    difference, untied, n = np.broadcast_arrays(*(np.asarray(values, np.float64) for values in (difference, untied, n)))
    z, lost = norm.ppf(0.5 + level / 2), -difference
    wins, losses = (np.maximum(n * (untied + sign * difference) / 2, 0) for sign in (1, -1))

    def excess(candidate: Floats, wins: Floats, losses: Floats, n: Floats) -> Floats:
        variance = 2 * constrained_loss_rate(losses, wins, n, candidate) + candidate * (1 - candidate)
        return np.asarray(losses - wins - n * candidate + z * np.sqrt(n * np.maximum(variance, 0.0)))

    # as in `statistics`: the upper end of p_loss - p_win, from just above what was observed to 1
    start = lost + 1e-12
    root = find_root(excess, (np.minimum(start, 1.0), np.ones_like(start)), args=(wins, losses, n))
    return np.asarray(0.5 - np.where(start >= 1, 1.0, root.x) / 2)


def mean_difference(first: Sequence[Sequence[Crossing]], second: Sequence[Sequence[Crossing]]) -> Estimate:
    """Return the mean savings of the first group of curves less those of the second, over all prompt sets.

    Curves of one prompt set share their resamples, so that what its prompts do to both groups cancels. The interval
    is normal with the resamples' standard error: a resampled curve falls earlier than the sample's, as that does than
    the true one, and over many curves percentiles would be shifted twice. It is about other prompts and seeds, not
    about other models or prompt sets: those are not resampled.

    Args:
        first: by prompt set, the group's curves, at least one.
        second: of the same prompt sets.

    Returns:
        From -1 to 1; above 0, the first group shares more before it falls. `n` is the number of prompts.

    Examples:
        >>> falls = lambda *savings: Crossing(np.array(savings), np.zeros(len(savings), bool), 50)
        >>> gap = mean_difference([[falls(0.6, 0.5, 0.7)]], [[falls(0.4, 0.35, 0.45)]])
        >>> round(gap.value, 3), gap.n
        (0.2, 50)
        >>> round(gap.low, 3), round(gap.high, 3)
        (0.061, 0.339)
    """
    from scipy.stats import norm

    values = np.mean([_mean(ours) - _mean(theirs) for ours, theirs in zip(first, second, strict=True)], axis=0)
    curves = [curve for group in (*first, *second) for curve in group]
    n, level = sum(group[0].n_prompts for group in first), curves[0].level
    if min(curve.n_prompts for curve in curves) < 2:
        return Estimate(float(values[0]), None, None, n, "too few for an interval", level)
    value, half = float(values[0]), float(norm.ppf(0.5 + level / 2) * values[1:].std(ddof=1))
    return Estimate(value, value - half, value + half, n, DIFFERENCE_METHOD, level)


def _mean(curves: Sequence[Crossing]) -> Floats:
    return np.asarray(np.mean([curve.savings for curve in curves], axis=0))


def pairs_needed(delta: float, level: float = LEVEL) -> int | None:
    """Return the number of untied pairs at a rate of exactly 1/2 whose lower bound is at 1/2 - delta.

    Args:
        delta: the margin, from 0 to below 1/2.
        level: nominal coverage of the two-sided interval.

    Returns:
        None where no number has it: at a margin of 0.

    Examples:
        >>> pairs_needed(0.05), pairs_needed(0.1), pairs_needed(0.0)
        (381, 93, None)
    """
    from scipy.stats import norm

    # a score interval of a proportion: Wilson's bound at 1/2, solved for n
    return ceil(float(norm.ppf(0.5 + level / 2)) ** 2 * (1 / (4 * delta**2) - 1)) if delta > 0 else None


def _resampled(rng: np.random.Generator, n: int) -> Floats:
    """Return multiplicities of n things, [1 + R, n]: once each in the sample, then as each resample draws them."""
    return np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)])


def _crossing(savings: Floats, curve: Floats, threshold: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Return where each row first falls below the threshold, linear between points, and where it does not (its end).

    Args:
        savings: [R, T], not below 0.
        curve: [R, T]; before its first point it starts at savings 0 with 1/2, which is not below.
        threshold: at most 1/2.
    """
    # a resample's mean savings need not be in the taus' order; stable, so that equal ones stay in it
    order = np.argsort(savings, axis=1, kind="stable")
    start = np.zeros((len(savings), 1))
    x = np.hstack([start, np.take_along_axis(savings, order, axis=1)])
    y = np.hstack([start + 0.5, np.take_along_axis(curve, order, axis=1)])
    below, rows = y < threshold, np.arange(len(y))
    beyond = np.asarray(~below.any(axis=1))
    after = np.where(beyond, 1, below.argmax(axis=1))
    fall = y[rows, after - 1] - y[rows, after]
    share = np.divide(y[rows, after - 1] - threshold, fall, out=np.zeros(len(y)), where=~beyond)
    inside = x[rows, after - 1] + share * (x[rows, after] - x[rows, after - 1])
    return np.asarray(np.where(beyond, x[:, -1], inside)), beyond


def _checked(outcomes: ArrayLike, savings: ArrayLike, delta: float) -> tuple[Floats, Floats]:
    outcomes, savings = np.asarray(outcomes, dtype=np.float64), np.asarray(savings, dtype=np.float64)
    if outcomes.ndim != 3 or not outcomes.size or savings.shape != outcomes.shape[:2]:
        raise UserError(
            f"outcomes have shape {outcomes.shape} and savings {savings.shape}",
            "give outcomes [seeds, taus, prompts] and savings [seeds, taus]",
        )
    if not np.isin(outcomes, (-1, 0, 1)).all():
        raise UserError("an outcome is none of 1, 0 and -1", "give 1 for a win, 0 for a tie, -1 for a loss")
    if not ((savings >= 0) & (savings <= 1)).all():
        raise UserError("savings are not all from 0 to 1", "give the share of denoiser steps that was saved")
    if not 0 <= delta < 0.5:
        raise UserError(f"delta is {delta:g}", "give a share from 0 to below 0.5")
    return outcomes, savings
