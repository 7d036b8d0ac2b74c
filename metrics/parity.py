"""Savings at parity: how much can be shared before the win rate may have fallen too far. Pure functions of arrays."""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from metrics.statistics import LEVEL, Estimate, constrained_loss_rate

DELTA = 0.05
RESAMPLES = 2000
METHOD = "percentile bootstrap over prompts and seeds"
DIFFERENCE_METHOD = "normal, with the standard error of a bootstrap over prompts and seeds"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reach:
    """Savings up to which a curve stays above a threshold; at least these, where it does so all along."""

    savings: float
    at_least: bool


@dataclass(frozen=True)
class Crossing:
    """Where a curve first falls below a threshold: the sample's, then its resamples'.

    Attributes:
        savings: [1 + R]; the most that was measured where the curve does not fall below.
        beyond: bool [1 + R], whether it does not.
        n_prompts: how many were resampled.
        level: nominal coverage of `low` to `high`.
    """

    savings: Floats
    beyond: NDArray[np.bool_]
    n_prompts: int
    level: float = LEVEL

    @property
    def value(self) -> Reach:
        return Reach(float(self.savings[0]), bool(self.beyond[0]))

    @property
    def low(self) -> Reach | None:
        """Lower end of the percentile interval; None for a single prompt."""
        return self._quantile((1 - self.level) / 2)

    @property
    def high(self) -> Reach | None:
        return self._quantile((1 + self.level) / 2)

    def _quantile(self, share: float) -> Reach | None:
        """An order statistic: of what is only known to be at least so much there is no mean."""
        if self.n_prompts < 2:
            return None
        savings, beyond = self.savings[1:], self.beyond[1:]
        place = np.lexsort((savings, beyond))[max(ceil(share * len(savings)) - 1, 0)]
        return Reach(float(savings[place]), bool(beyond[place]))


@dataclass(frozen=True)
class SavingsAtParity:
    """The largest savings up to which a win rate stays at or above 1/2 - delta.

    Attributes:
        bound: judged by the rate's lower bound, which knows how many pairs there are.
        rate: judged by the rate itself.
        most: the most savings that were measured.
        pairs: how many there are a tau.
        effective: [T], how many independent pairs these are worth.
        delta: what is tolerated.
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
    """The largest savings up to which the lower bound of the half-tie win rate stays at or above 1/2 - delta.

    The curve starts at savings 0 with rate and bound 1/2 (standard's own pictures) and is linear between taus. The
    bound is Tango's at the effective number of pairs (`effective_pairs`). The interval is the percentile bootstrap
    over prompts and, crossed with it, over seeds (Owen 2007, the pigeonhole bootstrap): every resample has its own
    rates, bounds and mean savings, and the sample's effective numbers of pairs.

    Args:
        outcomes: [S, T, N] for S seeds, T taus, N prompts: 1 where ours scores higher, -1 lower, 0 for a tie.
        savings: [S, T], the share of denoiser steps saved, from 0 to 1.
        delta: how far below 1/2 is tolerated, from 0 to below 1/2.
        seed: of the resampling; the same seed, S and N resample the same prompts and seeds.
        level: nominal coverage, of the bound's two-sided interval and of the bootstrap's.

    Raises:
        UserError: a shape or a value is none of these.
    """
    outcomes, savings = _checked(outcomes, savings, delta)
    n_seeds, _, n_prompts = outcomes.shape
    rng = np.random.default_rng(seed)
    prompts, seeds = _resampled(rng, n_prompts), _resampled(rng, n_seeds)
    difference, untied = (
        np.einsum("rs,rn,stn->rt", seeds, prompts, values, optimize=True) / (n_seeds * n_prompts)
        for values in (outcomes, outcomes**2)
    )
    effective = effective_pairs(outcomes)
    saved = seeds @ savings / n_seeds
    found = {
        name: Crossing(*_crossing(saved, curve, 0.5 - delta), n_prompts, level)
        for name, curve in {
            "bound": np.where(saved > 0, lower_bound(difference, untied, effective, level=level), 0.5),
            "rate": 0.5 + difference / 2,
        }.items()
    }
    most = float(savings.mean(axis=0).max())
    return SavingsAtParity(found["bound"], found["rate"], most, n_seeds * n_prompts, effective, delta)


def effective_pairs(outcomes: ArrayLike) -> Floats:
    """How many independent pairs S seeds of N prompts are worth, [T], between N and S N.

    Pairs of one prompt resemble one another. As Rao and Scott (Biometrics 48, 1992) do for clustered proportions,
    their number is divided by the design effect: the variance of the mean over prompts, in which a prompt's seeds
    are one cluster, over what it would be if all pairs were independent. With one seed it is N.

    Args:
        outcomes: [S, T, N], as in `savings_at_parity`.
    """
    outcomes = np.asarray(outcomes, dtype=np.float64)
    n_seeds, _, n_prompts = outcomes.shape
    between, all_pairs = outcomes.mean(axis=0).var(axis=1), outcomes.var(axis=(0, 2))
    effect = np.ones_like(all_pairs)
    np.divide(n_seeds * between, all_pairs, out=effect, where=all_pairs > 0)
    return np.asarray(n_seeds * n_prompts / np.clip(effect, 1, n_seeds))


def lower_bound(difference: ArrayLike, untied: ArrayLike, n: ArrayLike, *, level: float = LEVEL) -> Floats:
    """The lower end of the half-tie win rate's interval, `metrics.statistics.win_rate`'s for arrays of rates.

    Args:
        difference: p_win - p_loss, any shape.
        untied: p_win + p_loss, likewise.
        n: how many pairs, which need not be whole, broadcast against them.
        level: nominal coverage of the two-sided interval.
    """
    from scipy.optimize.elementwise import find_root
    from scipy.stats import norm

    difference, untied, n = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in (difference, untied, n)))
    z, lost = norm.ppf(0.5 + level / 2), -difference
    wins, losses = (np.maximum(n * (untied + sign * difference) / 2, 0) for sign in (1, -1))

    def excess(candidate: Floats, wins: Floats, losses: Floats, n: Floats) -> Floats:
        variance = 2 * constrained_loss_rate(losses, wins, n, candidate) + candidate * (1 - candidate)
        return np.asarray(losses - wins - n * candidate + z * np.sqrt(n * np.maximum(variance, 0.0)))

    # as in `statistics`: the upper end of p_loss - p_win, from just above what was observed to 1
    start = lost + 1e-12
    found = find_root(excess, (np.minimum(start, 1.0), np.ones_like(start)), args=(wins, losses, n))
    return np.asarray(0.5 - np.where(start >= 1, 1.0, found.x) / 2)


def mean_difference(first: list[list[Crossing]], second: list[list[Crossing]]) -> Estimate:
    """Mean savings of the first group of curves less those of the second, group by prompt set, over all sets.

    Curves of one prompt set share their resamples, so that what its prompts do to both groups cancels. The interval
    is normal with the resamples' standard error: a resampled curve falls earlier than the sample's, as that does than
    the true one, and over many curves percentiles would be shifted twice. It is about other prompts and seeds, not
    about other models or prompt sets: those are not resampled.

    Args:
        first: by prompt set, the group's curves, at least one.
        second: of the same prompt sets.
    """
    from scipy.stats import norm

    pairs = [[_mean(curves) for curves in each] for each in zip(first, second, strict=True)]
    values = np.mean([ours - theirs for ours, theirs in pairs], axis=0)
    every = [curve for group in (*first, *second) for curve in group]
    n, level = sum(curves[0].n_prompts for curves in first), every[0].level
    if min(curve.n_prompts for curve in every) < 2:
        return Estimate(float(values[0]), None, None, n, "too few for an interval", level)
    value, half = float(values[0]), float(norm.ppf(0.5 + level / 2) * values[1:].std(ddof=1))
    return Estimate(value, value - half, value + half, n, DIFFERENCE_METHOD, level)


def _mean(curves: list[Crossing]) -> Floats:
    return np.asarray(np.mean([curve.savings for curve in curves], axis=0))


def pairs_needed(delta: float, level: float = LEVEL) -> int | None:
    """So many untied pairs at a rate of exactly 1/2 have their lower bound at 1/2 - delta; None: no number has."""
    from scipy.stats import norm

    # a score interval of a proportion: Wilson's bound at 1/2, solved for n
    return ceil(float(norm.ppf(0.5 + level / 2)) ** 2 * (1 / (4 * delta**2) - 1)) if delta > 0 else None


def _resampled(rng: np.random.Generator, n: int) -> Floats:
    """How often each of n counts, [1 + R, n]: once in the sample, then as each resample draws it."""
    return np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)])


def _crossing(savings: Floats, curve: Floats, threshold: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Where each row first falls below the threshold, linear between points; the row's end, where it does not.

    Args:
        savings: [R, T], not below 0.
        curve: [R, T]; before its first point it starts at savings 0 with 1/2, which is not below.
    """
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
