"""Estimates with intervals: paired win rates, paired differences, pairwise similarity. Pure functions of arrays."""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError

LEVEL = 0.95
RESAMPLES = 5000
PAPER_IMAGES = 100

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: the point estimate.
        low: lower end of the interval; None where the sample is too small to have one.
        high: upper end, or None.
        n: how many pairs or images it rests on.
        method: how the interval was made.
        level: the interval's nominal coverage.
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
        half_tie: share of wins, ties counted as half a win.
        strict: share of wins, ties counted as none (the published definition).
        wins: pairs in which ours scores higher.
        ties: pairs in which the scores, or the pictures, are the same.
        losses: pairs in which standard scores higher.
    """

    half_tie: Estimate
    strict: Estimate
    wins: int
    ties: int
    losses: int


def win_rate(ours: ArrayLike, standard: ArrayLike, same: ArrayLike | None = None, *, level: float = LEVEL) -> WinRate:
    """How often ours scores higher than standard on the same prompt.

    The half-tie rate is 1/2 + (p_win - p_loss)/2 and has Tango's score interval of the paired difference; the strict
    rate p_win has Wilson's. Where every pair is one picture, nothing is estimated and both have no width.

    Args:
        ours: scores [N].
        standard: scores [N] of the same prompts.
        same: bool [N]; pairs that are one picture by construction, and so tie whatever their scores.
        level: nominal coverage.

    Raises:
        UserError: lengths differ, there is no pair, or a score is not finite.
    """
    from statsmodels.stats.proportion import proportion_confint

    ours, standard = _pairs(ours, standard)
    n = len(ours)
    different = np.ones(n, dtype=bool) if same is None else ~np.asarray(same, dtype=bool)
    if different.shape != (n,):
        raise UserError(f"`same` has shape {different.shape}, there are {n} pairs", "give one flag a pair")
    wins = int(np.count_nonzero(different & (ours > standard)))
    losses = int(np.count_nonzero(different & (ours < standard)))
    if different.any():
        low, high = tango_interval(wins, losses, n, level=level)
        half_tie = Estimate(0.5 + (wins - losses) / (2 * n), 0.5 + low / 2, 0.5 + high / 2, n, "Tango score", level)
        low, high = proportion_confint(wins, n, alpha=1 - level, method="wilson")
        strict = Estimate(wins / n, float(low), float(high), n, "Wilson", level)
    else:
        half_tie = Estimate(0.5, 0.5, 0.5, n, "identical pictures", level)
        strict = Estimate(0.0, 0.0, 0.0, n, "identical pictures", level)
    return WinRate(half_tie, strict, wins, n - wins - losses, losses)


def tango_interval(wins: int, losses: int, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """Score interval of p_win - p_loss from n paired outcomes (Tango, Statistics in Medicine 17, 1998, 891-908)."""
    from scipy.stats import norm

    z = float(norm.ppf(0.5 + level / 2))
    return -_tango_upper(losses, wins, n, z), _tango_upper(wins, losses, n, z)


def _tango_upper(wins: int, losses: int, n: int, z: float) -> float:
    """The difference above the observed one at which the score statistic is -z."""
    from scipy.optimize import brentq

    observed = (wins - losses) / n
    if wins == n:
        return 1.0

    def excess(difference: float) -> float:
        p_loss = float(constrained_loss_rate(wins, losses, n, difference))
        variance = 2 * p_loss + difference * (1 - difference)
        return wins - losses - n * difference + z * sqrt(n * max(variance, 0.0))

    # with ties alone the statistic is 0/0 at the observed difference: start beside it
    return float(brentq(excess, observed + 1e-12, 1.0, xtol=1e-12))


def constrained_loss_rate(wins: ArrayLike, losses: ArrayLike, n: ArrayLike, difference: ArrayLike) -> Floats:
    """Maximum-likelihood p_loss given p_win - p_loss = difference (Tango 1998, closed form), element by element."""
    wins, losses, n, difference = (np.asarray(each, dtype=np.float64) for each in (wins, losses, n, difference))
    b = -wins - losses + (2 * n - wins + losses) * difference
    c = -losses * difference * (1 - difference)
    root = np.sqrt(np.maximum(b * b - 8 * n * c, 0.0))
    # the two forms of the quadratic's larger root: each is exact where the other cancels
    return np.where(b > 0, -2 * c / np.where(b > 0, b + root, 1.0), (root - b) / (4 * n))


def paired_difference(ours: ArrayLike, standard: ArrayLike, *, seed: int = 0, level: float = LEVEL) -> Estimate:
    """Mean of ours - standard over prompts, with its bootstrap interval (pairs resampled).

    Args:
        ours: scores [N].
        standard: scores [N] of the same prompts.
        seed: of the resampling.
        level: nominal coverage.

    Raises:
        UserError: lengths differ, there is no pair, or a score is not finite.
    """
    ours, standard = _pairs(ours, standard)
    return bootstrap_mean(ours - standard, seed=seed, level=level)


def bootstrap_mean(values: ArrayLike, *, seed: int = 0, level: float = LEVEL) -> Estimate:
    """Mean with its bias-corrected and accelerated bootstrap interval (Efron 1987).

    Where that is undefined, as for values that all but agree, the interval is the percentile one of the same
    resamples. Values that are all equal give an interval of no width; a single value gives none.

    Args:
        values: [N].
        seed: of the resampling.
        level: nominal coverage.

    Raises:
        UserError: there is no value, or one is not finite.
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
        made = bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            batch=500,
            confidence_level=level,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    low, high = map(float, made.confidence_interval)
    if isfinite(low) and isfinite(high):
        return Estimate(mean, low, high, n, "BCa bootstrap", level)
    low, high = map(float, np.quantile(made.bootstrap_distribution, [(1 - level) / 2, (1 + level) / 2]))
    return Estimate(mean, low, high, n, "percentile bootstrap", level)


@dataclass(frozen=True)
class SimilarityComparison:
    """Pairwise similarity of two sets of images of the same prompts; `difference` is standard - ours."""

    standard: Estimate
    ours: Estimate
    difference: Estimate


def pairwise_similarity(
    features: ArrayLike, *, n: int | None = PAPER_IMAGES, seed: int = 0, level: float = LEVEL
) -> Estimate:
    """Mean cosine similarity over all pairs of different images; lower is more diverse.

    The interval is the percentile bootstrap over images, in which an image is never compared with its own copy.

    Args:
        features: [N, D], one row an image, N >= 2; normalised here.
        n: how many images to draw at random without replacement; None, or n >= N, takes all.
        seed: of the drawing and the resampling.
        level: nominal coverage.

    Raises:
        UserError: fewer than two images, or a row that is not finite or has no length.
    """
    rows = unit_rows(features)
    chosen, weights = resamples(len(rows), n, seed)
    return similarity_estimate(similarities(rows[chosen], weights), len(chosen), level)


def compare_similarity(
    standard: ArrayLike,
    ours: ArrayLike,
    *,
    n: int | None = PAPER_IMAGES,
    seed: int = 0,
    level: float = LEVEL,
) -> SimilarityComparison:
    """`pairwise_similarity` of both sets and of their difference: the same prompts drawn, the same resamples.

    Args:
        standard: [N, D], one row an image.
        ours: [N, D'], the same prompts in the same order.
        n: as in `pairwise_similarity`.
        seed: as in `pairwise_similarity`.
        level: nominal coverage.

    Raises:
        UserError: the numbers of images differ, or as in `pairwise_similarity`.
    """
    standard, ours = unit_rows(standard), unit_rows(ours)
    if len(standard) != len(ours):
        raise UserError(f"{len(ours)} images are compared with {len(standard)}", "give both sets of the same prompts")
    chosen, weights = resamples(len(ours), n, seed)
    of_standard, of_ours = similarities(standard[chosen], weights), similarities(ours[chosen], weights)
    return SimilarityComparison(
        *(similarity_estimate(values, len(chosen), level) for values in (of_standard, of_ours, of_standard - of_ours))
    )


def resamples(available: int, n: int | None, seed: int) -> tuple[NDArray[np.int64], Floats]:
    """The images drawn, and how often each counts: all once in row 0, then one row a resample. Not to be changed."""
    if available < 2:
        raise UserError(f"{available} image has no pairs", "similarity needs at least two images")
    if n is not None and n < 2:
        raise UserError(f"{n} images have no pairs", "draw at least two")
    return _resamples(available, available if n is None else min(n, available), seed, RESAMPLES)


@lru_cache(maxsize=1)
def _resamples(available: int, taken: int, seed: int, times: int) -> tuple[NDArray[np.int64], Floats]:
    """The last ones are remembered: all cells of a sweep are compared by the same."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(available, taken, replace=False))
    weights = np.vstack([np.ones(taken), rng.multinomial(taken, np.full(taken, 1 / taken), size=times)])
    chosen.flags.writeable = weights.flags.writeable = False
    return chosen, weights


def similarities(rows: Floats, weights: Floats) -> Floats:
    """Weighted mean of the Gram matrix without its diagonal: (w'Gw - sum w_i^2 G_ii) / ((sum w)^2 - sum w_i^2).

    w'Gw is |sum w_i x_i|^2, so the Gram matrix is never formed. NaN where one image has all the weight.

    Args:
        rows: unit rows [N, D].
        weights: [R, N].
    """
    squared = np.square(weights)
    own = np.square(rows).sum(axis=1)
    sums = np.square(weights @ rows).sum(axis=1) - squared @ own
    pairs = np.square(weights.sum(axis=1)) - squared.sum(axis=1)
    means = np.full(len(weights), np.nan)
    np.divide(sums, pairs, out=means, where=pairs > 0)
    return means


def similarity_estimate(values: Floats, n: int, level: float) -> Estimate:
    """Of row 0 (the sample) and the rest (its resamples); two images are one pair, which has no spread."""
    if n < 3:
        return Estimate(float(values[0]), None, None, n, "too few for an interval", level)
    low, high = np.nanquantile(values[1:], [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(values[0]), float(low), float(high), n, "percentile bootstrap over images", level)


def _scores(values: ArrayLike, whose: str) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise UserError(f"{whose} have shape {scores.shape}", "give a list of at least one score")
    _refuse_non_finite(scores, whose)
    return scores


def _pairs(ours: ArrayLike, standard: ArrayLike) -> tuple[Floats, Floats]:
    ours, standard = _scores(ours, "our scores"), _scores(standard, "the standard scores")
    if len(ours) != len(standard):
        raise UserError(f"{len(ours)} scores are compared with {len(standard)}", "give both scores of the same prompts")
    return ours, standard


def unit_rows(features: ArrayLike) -> Floats:
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


def _refuse_non_finite(values: NDArray[Any], whose: str) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        kind = "NaN" if np.isnan(values[tuple(bad[0])]) else "infinity"
        raise UserError(f"{whose} hold {kind} at index {int(bad[0][0])}", "score that image again")
