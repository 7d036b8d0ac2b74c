"""Savings at parity: how much can be shared before the win rate falls too far. Pure functions of arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

import numpy as np
from numpy.typing import ArrayLike

from common.errors import UserError
from metrics.over_seeds import pool_outcomes
from metrics.statistics import LEVEL, Estimate, Floats, constrained_loss_rate

DELTA = 0.05
GAP = 0.1  # neighbouring measurements farther apart in savings say nothing of what lies between
RESAMPLES = 500
METHOD = "savings at which a test of the win rate, tau by tau, does not leave out 50% - delta"
DIFFERENCE_METHOD = "normal, with the standard error of a bootstrap over prompts and seeds"


@dataclass(frozen=True)
class Reach:
    """Savings at which a curve falls below a threshold.

    Attributes:
        savings: share of denoiser steps saved, from 0 to 1; higher is better.
        at_least: the curve does not fall below anywhere, so that these are the most that were measured.
        gap: the measured savings on both sides, where they are more than `GAP` apart: the fall is somewhere between.
    """

    savings: float
    at_least: bool = False
    gap: tuple[float, float] | None = None


@dataclass(frozen=True)
class SavingsAtParity:
    """The savings at which a method's win rate falls below 1/2 - delta; higher is better.

    Attributes:
        value: where the estimated curve of the win rate does; its expectation hardly depends on the number of pairs.
        low: lower end of its interval: so much is demonstrated with these pairs, however the curve runs between taus
            that are more than `GAP` apart.
        high: upper end.
        lossless: the mean of `low` for a method whose pictures are as good as the baseline's at every tau, with as many
            pairs and ties, from 0 to `most`.
        power: the probability that such a method is demonstrated to be so up to the most savings that were measured.
        resamples: [R], the `value.savings` of each bootstrap resample.
        most: the most savings that were measured, from 0 to 1.
        prompts: the number of prompts.
        pairs: the number of pairs a tau, seeds times prompts.
        effective: [T], the number of independent pairs that these are worth.
        delta: the margin, how far below 1/2 is tolerated.
        level: nominal coverage of `low` to `high`.
    """

    value: Reach
    low: Reach
    high: Reach
    lossless: float
    power: float
    resamples: Floats
    most: float
    prompts: int
    pairs: int
    effective: Floats
    delta: float
    level: float = LEVEL


def savings_at_parity(
    outcomes: ArrayLike,
    savings: ArrayLike,
    roots: Sequence[int | None] | None = None,
    *,
    delta: float = DELTA,
    seed: int = 0,
    level: float = LEVEL,
) -> SavingsAtParity:
    """Return the savings at which the half-tie win rate falls below 1/2 - delta, with an interval.

    The line is below 1/2 because a lossless method's rate is 1/2 everywhere and would cross 1/2 anywhere. The estimate
    is read from the non-increasing curve nearest to the measured rates (isotonic regression; every tau has as many
    pairs), which starts at savings 0 with 1/2, the baseline's own pictures, and is straight between taus.

    The interval holds the savings that tests of the rate do not rule out. It assumes that the true curve does not rise.
    From the least savings upwards, the rate's lower bound must be above the line; the first tau where it is not ends
    `low`. From the most downwards, the upper bound must be below it; the first where it is not ends `high`. As each
    walk stops at its first failure, no correction for several taus is needed (Hsu and Berger, Journal of the American
    Statistical Association 94, 1999, 468-482). The bounds are the pooled win rate's (`metrics.over_seeds`).

    Args:
        outcomes: [S, T, N] for S seeds, T taus, N prompts: 1 where ours scores higher, -1 lower, 0 for a tie.
        savings: [S, T], the share of denoiser steps saved, from 0 to 1.
        roots: [T], the number of independent draws of noise that a seed's prompts start from; None: of many.
        delta: the margin, how far below 1/2 is tolerated, from 0 to below 1/2.
        seed: of the resampling; the same seed, S and N resample the same prompts and seeds.
        level: nominal coverage of the interval.

    Raises:
        UserError: a shape or a value is none of these.

    Examples:
        One seed of 40 prompts at three taus: all tie at the first, a quarter more lose at the last.

        >>> outcomes = [[[0] * 40, [-1] * 20 + [1] * 20, [-1] * 25 + [1] * 15]]
        >>> parity = savings_at_parity(outcomes, [[0.2, 0.29, 0.38]])
        >>> round(parity.value.savings, 3), round(parity.low.savings, 3), parity.high
        (0.326, 0.205, Reach(savings=0.38, at_least=True, gap=None))
        >>> parity.pairs, parity.effective
        (40, array([40., 40., 40.]))

        Of two taus far apart, the fall is somewhere between:

        >>> savings_at_parity([[[0] * 40, [-1] * 30 + [1] * 10]], [[0.2, 0.6]]).value.gap
        (0.2, 0.6)
    """
    outcomes, savings = _checked(outcomes, savings, delta)
    n_seeds, _, n_prompts = outcomes.shape
    line, saved = 0.5 - delta, savings.mean(axis=0)
    order = np.argsort(saved, kind="stable")
    pools = [pool_outcomes(outcomes[:, i], roots[i] if roots else None) for i in order]
    outcomes, savings, saved = outcomes[:, order], savings[:, order], saved[order]
    rates = [pool.estimate(level) for pool in pools]
    lower, upper = (
        np.array([getattr(rate, end) if share > 0 else 0.5 for rate, share in zip(rates, saved, strict=True)])
        for end in ("low", "high")
    )
    rng = np.random.default_rng(seed)
    value = _fall(saved, _non_increasing(np.array([rate.value for rate in rates])), line)
    low, high = _fall(saved, lower, line), _fall(saved, upper, line, last=True)
    # an interval claims nothing of what lies between distant taus, and it holds the estimate
    low = min(Reach(low.gap[0]) if low.gap else low, value, key=_order)
    high = max(Reach(high.gap[1]) if high.gap else high, value, key=_order)
    effective, degrees = (np.array([getattr(pool, name) for pool in pools]) for name in ("effective", "degrees"))
    shown = _of_lossless(rng, outcomes, saved, effective, degrees, line, level)
    prompts, seeds = (rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) for n in (n_prompts, n_seeds))
    resampled = 0.5 + np.einsum("rs,rn,stn->rt", seeds, prompts, outcomes, optimize=True) / (2 * n_seeds * n_prompts)
    return SavingsAtParity(
        value,
        Reach(low.savings, low.at_least),
        Reach(high.savings, high.at_least),
        lossless=float(np.mean([reach.savings for reach in shown])),
        power=float(np.mean([reach.at_least for reach in shown])),
        resamples=_resampled(seeds @ savings / n_seeds, resampled, line),
        most=float(saved[-1]),
        prompts=n_prompts,
        pairs=n_seeds * n_prompts,
        effective=effective[np.argsort(order)],
        delta=delta,
        level=level,
    )


def lower_bound(
    difference: ArrayLike, untied: ArrayLike, n: ArrayLike, degrees: ArrayLike = inf, *, level: float = LEVEL
) -> Floats:
    """Return the lower end of the half-tie win rate's interval, `metrics.statistics.tango_interval`'s for arrays.

    Args:
        difference: p_win - p_loss, any shape.
        untied: p_win + p_loss, likewise.
        n: the number of pairs, which need not be whole, broadcast against them.
        degrees: of freedom, likewise.
        level: nominal coverage of the two-sided interval.

    Returns:
        From 0 to 1, of the arguments' common shape.

    Examples:
        Wins in half of all pairs and losses in the other half, of 100, 400 and 1,600 pairs:

        >>> lower_bound(0, 1, [100, 400, 1600]).round(3)
        array([0.404, 0.451, 0.476])
    """
    from scipy.optimize.elementwise import find_root
    from scipy.stats import t

    difference, untied, n, degrees = np.broadcast_arrays(
        *(np.asarray(values, np.float64) for values in (difference, untied, n, degrees))
    )
    z, lost = t.ppf(0.5 + level / 2, degrees), -difference
    wins, losses = (np.maximum(n * (untied + sign * difference) / 2, 0) for sign in (1, -1))

    def excess(candidate: Floats, wins: Floats, losses: Floats, n: Floats, z: Floats) -> Floats:
        variance = 2 * constrained_loss_rate(losses, wins, n, candidate) + candidate * (1 - candidate)
        return np.asarray(losses - wins - n * candidate + z * np.sqrt(n * np.maximum(variance, 0.0)))

    # as in `statistics`: the upper end of p_loss - p_win, from just above what was observed to 1
    start = lost + 1e-12
    root = find_root(excess, (np.minimum(start, 1.0), np.ones_like(start)), args=(wins, losses, n, z))
    return np.asarray(0.5 - np.where(start >= 1, 1.0, root.x) / 2)


def mean_difference(
    first: Sequence[Sequence[SavingsAtParity]], second: Sequence[Sequence[SavingsAtParity]]
) -> Estimate:
    """Return the mean savings at parity of the first group of curves less those of the second, over all prompt sets.

    On each prompt set, savings count up to the most that all its curves were measured to: beyond, one group would be
    ahead for having been measured further. Curves of one prompt set share their resamples, so that what its prompts do
    to both groups cancels. The interval is normal with the resamples' standard error. It is about other prompts and
    seeds, not about other models or prompt sets: those are not resampled.

    Args:
        first: by prompt set, the group's curves, at least one.
        second: of the same prompt sets.

    Returns:
        From -1 to 1; above 0, the first group shares more before it falls. `n` is the number of prompts.

    Examples:
        >>> good, bad = [[1, -1] * 100, [1, -1] * 100], [[1, -1, -1, -1] * 50, [-1] * 200]
        >>> curves = [savings_at_parity([outcomes], [[0.1, 0.2]]) for outcomes in (good, bad)]
        >>> gap = mean_difference([curves[:1]], [curves[1:]])
        >>> round(gap.value, 2), gap.low > 0, gap.n  # 20% at least, less 2%
        (0.18, True, 200)
    """
    from scipy.stats import norm

    sets = list(zip(first, second, strict=True))
    values = np.mean([_capped(ours, theirs) for ours, theirs in sets], axis=0)
    curves = [curve for group in (*first, *second) for curve in group]
    n, level, value = sum(group[0].prompts for group in first), curves[0].level, float(values[0])
    if min(curve.prompts for curve in curves) < 2:
        return Estimate(value, None, None, n, "too few for an interval", level)
    half = float(norm.ppf(0.5 + level / 2) * values[1:].std(ddof=1))
    return Estimate(value, value - half, value + half, n, DIFFERENCE_METHOD, level)


def restricted_mean(curves: Sequence[SavingsAtParity], most: float) -> Floats:
    """Return the mean savings at parity of several curves, counted up to `most`: [1 + R], then of each resample.

    Examples:
        >>> lossless = savings_at_parity([[[1, -1] * 20] * 2], [[0.1, 0.2]])
        >>> float(restricted_mean([lossless], 0.15)[0])
        0.15
    """
    savings = [np.concatenate([[curve.value.savings], curve.resamples]) for curve in curves]
    return np.asarray(np.minimum(savings, most).mean(axis=0))


def _capped(ours: Sequence[SavingsAtParity], theirs: Sequence[SavingsAtParity]) -> Floats:
    most = min(curve.most for curve in (*ours, *theirs))
    return restricted_mean(ours, most) - restricted_mean(theirs, most)


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


def _order(reach: Reach) -> tuple[bool, float]:
    """Return the key by which what is only known to be at least so much comes after what is not."""
    return reach.at_least, reach.savings


def _non_increasing(rates: Floats) -> Floats:
    """Return the non-increasing values nearest to these rates [T], of which each rests on as many pairs."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(rates, increasing=False).x)


def _fall(savings: Floats, curve: Floats, line: float, *, last: bool = False) -> Reach:
    """Return where the curve first falls below the line; or, with `last`, from where on it stays below.

    Args:
        savings: [T], ascending, not below 0.
        curve: [T]; before its first point it starts at savings 0 with 1/2, which is not below.
        line: at most 1/2.
        last: walk from the most savings downwards.
    """
    x, y = np.concatenate([[0.0], savings]), np.concatenate([[0.5], curve])
    above = np.flatnonzero(y >= line)[-1] if last else np.argmax(np.append(y < line, True)) - 1
    if above == len(x) - 1:
        return Reach(float(x[-1]), at_least=True)
    (left, right), (top, bottom) = x[above : above + 2], y[above : above + 2]
    inside = left + (right - left) * (top - line) / (top - bottom)
    return Reach(float(inside), gap=(float(left), float(right)) if right - left > GAP else None)


def _of_lossless(
    rng: np.random.Generator,
    outcomes: Floats,
    savings: Floats,
    effective: Floats,
    degrees: Floats,
    line: float,
    level: float,
) -> list[Reach]:
    """Return `low` of so many runs of a lossless method, whose ties and likeness of taus are these outcomes'."""
    by_prompt, untied = outcomes.mean(axis=0), (outcomes**2).mean(axis=(0, 2))
    spread = by_prompt.std(axis=1)
    unit = np.divide(by_prompt - by_prompt.mean(axis=1, keepdims=True), spread[:, None], where=spread[:, None] > 0,
                     out=np.zeros_like(by_prompt))  # fmt: skip
    alike = unit @ unit.T / by_prompt.shape[1]
    error = np.sqrt(untied / effective)
    drawn = rng.multivariate_normal(np.zeros(len(error)), alike * np.outer(error, error), size=RESAMPLES)
    drawn = np.clip(drawn, -untied, untied)
    bounds = np.where(savings > 0, lower_bound(drawn, untied, effective, degrees, level=level), 0.5)
    return [Reach(fall.gap[0]) if fall.gap else fall for fall in (_fall(savings, row, line) for row in bounds)]


def _resampled(savings: Floats, rates: Floats, line: float) -> Floats:
    """Return where the non-increasing curve of each resample [R, T] falls, [R]; a seed's savings are its own."""
    order = np.argsort(savings, axis=1, kind="stable")
    curves = zip(*(np.take_along_axis(values, order, axis=1) for values in (savings, rates)), strict=True)
    return np.array([_fall(x, _non_increasing(y), line).savings for x, y in curves])


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
