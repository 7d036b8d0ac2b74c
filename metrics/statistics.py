"""Estimates with intervals: paired win rates, paired differences, pairwise similarity. Pure functions of arrays."""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError

LEVEL = 0.95
RESAMPLES = 5000
PAPER_IMAGES = 100
NEXT_TO_NOTHING = 1e-12

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """An estimate with its interval.

    Attributes:
        value: the point estimate.
        low: lower end of the interval; None where the sample is too small to have one.
        high: upper end, or None.
        n: the number of pairs or images that it rests on.
        method: the interval's name.
        level: the interval's nominal coverage.

    Examples:
        >>> Estimate(0.61, 0.5, 0.71, 100, "Wilson")
        Estimate(value=0.61, low=0.5, high=0.71, n=100, method='Wilson', level=0.95)
    """

    value: float
    low: float | None
    high: float | None
    n: int
    method: str
    level: float = LEVEL


@dataclass(frozen=True)
class WinRate:
    """Paired comparison of scores: who wins how often.

    Attributes:
        half_tie: share of wins, ties counted as half a win; from 0 to 1, 1/2 is "as good as the baseline".
        strict: share of wins, ties counted as none (the published definition); from 0 to 1.
        wins: pairs in which ours scores higher.
        ties: pairs in which the scores, or the pictures, are the same.
        losses: pairs in which the baseline scores higher.
    """

    half_tie: Estimate
    strict: Estimate
    wins: int
    ties: int
    losses: int


def win_rate(ours: ArrayLike, baseline: ArrayLike, same: ArrayLike | None = None, *, level: float = LEVEL) -> WinRate:
    """Return the share of prompts on which ours scores higher than the baseline; higher is better.

    The half-tie rate is 1/2 + (p_win - p_loss)/2 and has Tango's score interval of the paired difference; the strict
    rate p_win has Wilson's. Where every pair is one picture, nothing is estimated and both have no width.

    Args:
        ours: scores [N].
        baseline: scores [N] of the same prompts.
        same: bool [N]; pairs that are one picture by construction, and so tie whatever their scores.
        level: nominal coverage.

    Raises:
        UserError: lengths differ, there is no pair, or a score is not finite.

    Examples:
        >>> rate = win_rate([0.9, 0.7, 0.6, 0.5], [0.8, 0.6, 0.6, 0.7])
        >>> rate.wins, rate.ties, rate.losses
        (2, 1, 1)
        >>> rate.half_tie.value, rate.strict.value
        (0.625, 0.5)
        >>> f"{rate.half_tie.low:.3f} to {rate.half_tie.high:.3f} ({rate.half_tie.method})"
        '0.248 to 0.889 (Tango score)'
        >>> win_rate([0.9, 0.7], [0.8, 0.6], same=[True, True]).half_tie
        Estimate(value=0.5, low=0.5, high=0.5, n=2, method='identical pictures', level=0.95)
    """
    from statsmodels.stats.proportion import proportion_confint

    ours, baseline = _pairs(ours, baseline)
    n = len(ours)
    different = np.ones(n, dtype=bool) if same is None else ~np.asarray(same, dtype=bool)
    if different.shape != (n,):
        raise UserError(f"`same` has shape {different.shape}, there are {n} pairs", "give one flag a pair")
    wins = int(np.count_nonzero(different & (ours > baseline)))
    losses = int(np.count_nonzero(different & (ours < baseline)))
    if different.any():
        low, high = tango_interval(wins, losses, n, level=level)
        half_tie = Estimate(0.5 + (wins - losses) / (2 * n), 0.5 + low / 2, 0.5 + high / 2, n, "Tango score", level)
        low, high = proportion_confint(wins, n, alpha=1 - level, method="wilson")
        strict = Estimate(wins / n, float(low), float(high), n, "Wilson", level)
    else:
        half_tie = Estimate(0.5, 0.5, 0.5, n, "identical pictures", level)
        strict = Estimate(0.0, 0.0, 0.0, n, "identical pictures", level)
    return WinRate(half_tie, strict, wins, n - wins - losses, losses)


def tango_interval(
    wins: float, losses: float, n: float, *, level: float = LEVEL, degrees: float = inf
) -> tuple[float, float]:
    """Return the score interval of p_win - p_loss from n paired outcomes, both ends from -1 to 1.

    Tango, Statistics in Medicine 17 (1998) 891-908. Unlike Wald's it stays within -1 and 1 and keeps its coverage where
    ties are many and untied pairs few, which is what sharing little gives.

    Args:
        wins: pairs in which ours scores higher; they need not be whole.
        losses: pairs in which the baseline scores higher, likewise.
        n: all pairs, ties among them, likewise.
        level: nominal coverage.
        degrees: of freedom, where the number of pairs is itself estimated, as over several seeds.

    Examples:
        Airway hyper-responsiveness, as Fagerland, Lydersen and Laake publish it (Statistics in Medicine 33, 2014):

        >>> low, high = tango_interval(1, 7, 21)
        >>> f"{low:.3f} {high:.3f}"
        '-0.517 -0.026'
        >>> tango_interval(0, 0, 20)[1] == -tango_interval(0, 0, 20)[0]
        True
    """
    from scipy.stats import t

    z = float(t.ppf(0.5 + level / 2, degrees))
    return -_tango_upper(losses, wins, n, z), _tango_upper(wins, losses, n, z)


def _tango_upper(wins: float, losses: float, n: float, z: float) -> float:
    """Return the difference above the observed one at which the score statistic is -z."""
    from scipy.optimize import brentq

    observed = (wins - losses) / n
    if observed + NEXT_TO_NOTHING >= 1:
        return 1.0

    def excess(difference: float) -> float:
        p_loss = float(constrained_loss_rate(wins, losses, n, difference))
        variance = 2 * p_loss + difference * (1 - difference)
        return wins - losses - n * difference + z * sqrt(n * max(variance, 0.0))

    # with ties alone the statistic is 0/0 at the observed difference: start beside it
    return float(brentq(excess, observed + NEXT_TO_NOTHING, 1.0, xtol=1e-12))


def constrained_loss_rate(wins: ArrayLike, losses: ArrayLike, n: ArrayLike, difference: ArrayLike) -> Floats:
    """Return the maximum-likelihood p_loss given p_win - p_loss = difference, element by element.

    Tango 1998, in closed form: the larger root of 2 n q^2 + b q + c = 0.

    Args:
        wins: pairs in which ours scores higher, any shape; they need not be whole.
        losses: pairs in which the baseline scores higher, broadcast against `wins`.
        n: all pairs, likewise.
        difference: p_win - p_loss, from -1 to 1, likewise.

    Returns:
        From 0 to 1, of the arguments' common shape.

    Examples:
        >>> float(constrained_loss_rate(30, 20, 100, 0.1))  # the observed difference: losses / n
        0.2
        >>> constrained_loss_rate(30, 20, 100, [0.0, -0.1]).round(4)
        array([0.25  , 0.3095])
    """
    wins, losses, n, difference = (np.asarray(argument, dtype=np.float64) for argument in (wins, losses, n, difference))
    b = -wins - losses + (2 * n - wins + losses) * difference
    c = -losses * difference * (1 - difference)
    root = np.sqrt(np.maximum(b * b - 8 * n * c, 0.0))
    # the two forms of the quadratic's larger root: each is exact where the other cancels
    return np.where(b > 0, -2 * c / np.where(b > 0, b + root, 1.0), (root - b) / (4 * n))


def paired_difference(ours: ArrayLike, baseline: ArrayLike, *, seed: int = 0, level: float = LEVEL) -> Estimate:
    """Return the mean of ours - baseline over prompts with its bootstrap interval; above 0, ours is better.

    Pairs are resampled, not scores: a hard prompt is hard for both, and most of the spread of scores cancels.

    Args:
        ours: scores [N].
        baseline: scores [N] of the same prompts.
        seed: of the resampling.
        level: nominal coverage.

    Raises:
        UserError: lengths differ, there is no pair, or a score is not finite.

    Examples:
        >>> difference = paired_difference([0.5, 0.75, 1.0, 0.25], [0.25, 0.75, 0.5, 0.5])
        >>> difference.value, difference.n, difference.method
        (0.125, 4, 'BCa bootstrap')
        >>> difference.low < difference.value < difference.high
        True
    """
    ours, baseline = _pairs(ours, baseline)
    return bootstrap_mean(ours - baseline, seed=seed, level=level)


def bootstrap_mean(values: ArrayLike, *, seed: int = 0, level: float = LEVEL) -> Estimate:
    """Return the mean with its bias-corrected and accelerated (BCa) bootstrap interval.

    Efron, Journal of the American Statistical Association 82 (1987) 171-185. Differences of scores are skewed (a few
    large failures), which BCa corrects for and a normal or percentile interval does not. Where it is undefined, as for
    values that all but agree, the interval is the percentile one of the same resamples. Values that are all equal give
    an interval of no width; a single value gives none.

    Args:
        values: [N].
        seed: of the resampling.
        level: nominal coverage.

    Raises:
        UserError: there is no value, or one is not finite.

    Examples:
        >>> estimate = bootstrap_mean([1.0, 2.0, 3.0, 6.0])
        >>> estimate.value, estimate.method
        (3.0, 'BCa bootstrap')
        >>> estimate == bootstrap_mean([1.0, 2.0, 3.0, 6.0])  # the same seed, the same interval
        True
        >>> bootstrap_mean([0.5, 0.5]).low, bootstrap_mean([0.5]).low
        (0.5, None)
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    values = _scores(values, "the scores")
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Estimate(mean, None, None, n, "too few for an interval", level)
    if np.all(values == values[0]):
        return Estimate(float(values[0]), float(values[0]), float(values[0]), n, "BCa bootstrap", level)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        resampled = bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            batch=500,  # bounds memory: [500, N] indices at once
            confidence_level=level,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    low, high = map(float, resampled.confidence_interval)
    if isfinite(low) and isfinite(high):
        return Estimate(mean, low, high, n, "BCa bootstrap", level)
    low, high = map(float, np.quantile(resampled.bootstrap_distribution, [(1 - level) / 2, (1 + level) / 2]))
    return Estimate(mean, low, high, n, "percentile bootstrap", level)


@dataclass(frozen=True)
class SimilarityComparison:
    """Pairwise similarity of two sets of images of the same prompts.

    Attributes:
        baseline: of the baseline's images; from -1 to 1, lower is more diverse.
        ours: of ours.
        difference: baseline - ours; above 0, ours is more diverse.
    """

    baseline: Estimate
    ours: Estimate
    difference: Estimate


def pairwise_similarity(
    features: ArrayLike, *, n: int | None = PAPER_IMAGES, seed: int = 0, level: float = LEVEL
) -> Estimate:
    """Return the mean cosine similarity over all pairs of different images, from -1 to 1; lower is more diverse.

    The interval is the percentile bootstrap over images, in which an image is never compared with its own copy: such
    pairs have similarity 1 and would make every resample look less diverse than the sample.

    Args:
        features: [N, D], one row an image, N >= 2; normalised here.
        n: the number of images to draw at random without replacement; None, or n >= N, takes all.
        seed: of the drawing and the resampling.
        level: nominal coverage.

    Raises:
        UserError: fewer than two images, or a row that is not finite or has no length.

    Examples:
        >>> pairwise_similarity([[1, 0], [1, 0], [0, 1]]).value  # of three pairs one is alike, two are orthogonal
        0.3333333333333333
        >>> pairwise_similarity([[2, 0], [0, 3]])  # one pair has no spread
        Estimate(value=0.0, low=None, high=None, n=2, method='too few for an interval', level=0.95)
    """
    rows = unit_rows(features)
    chosen, weights = resamples(len(rows), n, seed)
    return similarity_estimate(similarities(rows[chosen], weights), len(chosen), level)


def compare_similarity(
    baseline: ArrayLike,
    ours: ArrayLike,
    *,
    n: int | None = PAPER_IMAGES,
    seed: int = 0,
    level: float = LEVEL,
) -> SimilarityComparison:
    """Return `pairwise_similarity` of both sets and of their difference, baseline - ours.

    The same prompts are drawn of both sets, and the same resamples: that some prompts are more alike than others
    cancels in the difference, whose interval is so much narrower than the two sets' own.

    Args:
        baseline: [N, D], one row an image.
        ours: [N, D'], the same prompts in the same order.
        n: as in `pairwise_similarity`.
        seed: as in `pairwise_similarity`.
        level: nominal coverage.

    Raises:
        UserError: the numbers of images differ, or as in `pairwise_similarity`.

    Examples:
        >>> spread, similar = [[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
        >>> comparison = compare_similarity(spread, similar)
        >>> comparison.baseline.value, round(comparison.ours.value, 4), round(comparison.difference.value, 4)
        (0.0, 0.3333, -0.3333)
    """
    baseline, ours = unit_rows(baseline), unit_rows(ours)
    if len(baseline) != len(ours):
        raise UserError(f"{len(ours)} images are compared with {len(baseline)}", "give both sets of the same prompts")
    chosen, weights = resamples(len(ours), n, seed)
    of_baseline, of_ours = similarities(baseline[chosen], weights), similarities(ours[chosen], weights)
    return SimilarityComparison(
        *(similarity_estimate(values, len(chosen), level) for values in (of_baseline, of_ours, of_baseline - of_ours))
    )


def resamples(available: int, n: int | None, seed: int) -> tuple[NDArray[np.int64], Floats]:
    """Return the images drawn and their multiplicities, in the sample and in each of `RESAMPLES` resamples.

    Args:
        available: the number of images, at least 2.
        n: the number to draw without replacement, at least 2; None, or n >= available, takes all.
        seed: of both draws.

    Returns:
        int64 [n], ascending; and float64 [1 + RESAMPLES, n], row 0 the sample (all ones), then one row a resample. Both
        are read-only, as they are remembered.

    Raises:
        UserError: there are no two images.

    Examples:
        >>> chosen, weights = resamples(4, None, seed=0)
        >>> chosen, weights[0], weights.shape
        (array([0, 1, 2, 3]), array([1., 1., 1., 1.]), (5001, 4))
        >>> bool((weights.sum(axis=1) == 4).all())
        True
        >>> len(resamples(1000, 100, seed=0)[0])
        100
    """
    if available < 2:
        raise UserError(f"{available} image has no pairs", "similarity needs at least two images")
    if n is not None and n < 2:
        raise UserError(f"{n} images have no pairs", "draw at least two")
    return _resamples(available, available if n is None else min(n, available), seed, RESAMPLES)


@lru_cache(maxsize=1)
def _resamples(available: int, taken: int, seed: int, times: int) -> tuple[NDArray[np.int64], Floats]:
    """Return what `resamples` does; the last answer is remembered, as all cells of a sweep are compared by it."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(available, taken, replace=False))
    weights = np.vstack([np.ones(taken), rng.multinomial(taken, np.full(taken, 1 / taken), size=times)])
    chosen.flags.writeable = weights.flags.writeable = False
    return chosen, weights


def similarities(rows: Floats, weights: Floats) -> Floats:
    """Return weighted means of the rows' Gram matrix G without its diagonal.

    That is (w'Gw - sum w_i^2 G_ii) / ((sum w)^2 - sum w_i^2). w'Gw is |sum w_i x_i|^2, so G is never formed. NaN where
    one image has all the weight.

    Args:
        rows: unit rows [N, D].
        weights: [R, N], one row a mean.

    Returns:
        float64 [R], from -1 to 1.

    Examples:
        >>> rows = np.eye(3)
        >>> similarities(rows, np.array([[1.0, 1.0, 1.0], [3.0, 0.0, 0.0]]))
        array([ 0., nan])
        >>> similarities(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]))
        array([1.        , 0.33333333])
    """
    squared = np.square(weights)
    own = np.square(rows).sum(axis=1)
    sums = np.square(weights @ rows).sum(axis=1) - squared @ own
    pairs = np.square(weights.sum(axis=1)) - squared.sum(axis=1)
    means = np.full(len(weights), np.nan)
    np.divide(sums, pairs, out=means, where=pairs > 0)
    return means


def similarity_estimate(values: Floats, n: int, level: float) -> Estimate:
    """Return the sample's similarity with the percentile interval of its resamples; two images have no interval.

    Args:
        values: [1 + R], the sample's and its resamples', as `similarities` returns them.
        n: the number of images.
        level: nominal coverage.

    Examples:
        >>> similarity_estimate(np.array([0.5, 0.4, 0.45, 0.55, 0.6]), n=10, level=0.5)
        Estimate(value=0.5, low=0.4375, high=0.5625, n=10, method='percentile bootstrap over images', level=0.5)
    """
    if n < 3:
        return Estimate(float(values[0]), None, None, n, "too few for an interval", level)
    # NaN: a resample that drew one image n times has no pair
    low, high = np.nanquantile(values[1:], [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(values[0]), float(low), float(high), n, "percentile bootstrap over images", level)


def unit_rows(features: ArrayLike) -> Floats:
    """Return the rows divided by their Euclidean lengths, float64 [N, D].

    Raises:
        UserError: they are not [N, D], a number is not finite, or a row is all zero.

    Examples:
        >>> unit_rows([[3, 4], [0, -2]])
        array([[ 0.6,  0.8],
               [ 0. , -1. ]])
        >>> try:
        ...     unit_rows([[1, 0], [0, 0]])
        ... except UserError as error:
        ...     print(error.message)
        the features of image 1 are all zero
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2:
        raise UserError(f"image features have shape {rows.shape}", "give one row an image")
    _refuse_non_finite(rows, "the image features")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise UserError(
            f"the features of image {int(lengths.argmin())} are all zero", "cosine similarity needs a direction"
        )
    return np.asarray(rows / lengths)


def _scores(values: ArrayLike, subject: str) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise UserError(f"{subject} have shape {scores.shape}", "give a list of at least one score")
    _refuse_non_finite(scores, subject)
    return scores


def _pairs(ours: ArrayLike, baseline: ArrayLike) -> tuple[Floats, Floats]:
    ours, baseline = _scores(ours, "our scores"), _scores(baseline, "the baseline's scores")
    if len(ours) != len(baseline):
        raise UserError(f"{len(ours)} scores are compared with {len(baseline)}", "give both scores of the same prompts")
    return ours, baseline


def _refuse_non_finite(values: NDArray[Any], subject: str) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        kind = "NaN" if np.isnan(values[tuple(bad[0])]) else "infinity"
        raise UserError(f"{subject} hold {kind} at index {int(bad[0][0])}", "score that image again")
