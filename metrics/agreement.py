"""Agreement of two scorers on the same pictures: of their ranks, and on who wins. Pure functions of arrays."""

import warnings
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from metrics.statistics import LEVEL, Estimate, Floats

RESAMPLES = 1000
LARGEST = 2_000_000  # numbers in one array of ranks [resamples, pictures], which bounds memory
WILSON = "Wilson at the effective number of pairs"

Groups = NDArray[np.int64]


@dataclass(frozen=True)
class WinnerAgreement:
    """Agreement of two scorers on the winner of a pair of pictures.

    Attributes:
        share: of pairs on which both say win, both tie, or both loss; from 0 to 1.
        by_chance: the share to expect of two scorers that name winners as often as these do, but independently.
        kappa: Cohen's (share - by_chance) / (1 - by_chance): 1 where they always agree, 0 where only by chance; NaN
            where both name one outcome alone.
        effective: the number of independent pairs that these are worth.
    """

    share: Estimate
    by_chance: float
    kappa: float
    effective: float


def rank_correlation(
    first: ArrayLike, second: ArrayLike, prompts: ArrayLike | None = None, *, seed: int = 0, level: float = LEVEL
) -> Estimate:
    """Return Spearman's rank correlation of two scorers' scores of the same pictures, from -1 to 1.

    Pictures of one prompt resemble one another, so the interval is the percentile bootstrap over prompts, each with
    all its pictures; Fisher's, for independent pictures, would be too narrow. There is none for fewer than three
    prompts; the correlation is NaN where a scorer gives all pictures one score.

    Args:
        first: one scorer's scores [n].
        second: the other's, of the same pictures.
        prompts: the prompt that each picture is of, any integers [n]; by default each of its own.
        seed: of the resampling.
        level: nominal coverage.

    Raises:
        UserError: lengths differ, there is nothing, or a score is not finite.

    Examples:
        >>> first, second = [0.1, 0.2, 0.3, 0.4, 0.5], [10, 20, 40, 30, 50]
        >>> correlation = rank_correlation(first, second)
        >>> round(correlation.value, 3), correlation.n, correlation.method
        (0.9, 5, 'percentile bootstrap over prompts')
        >>> rank_correlation(first, second, prompts=[0, 0, 1, 1, 1]).method  # two prompts
        'too few for an interval'
    """
    from scipy.stats import ConstantInputWarning, spearmanr

    (first, second), groups = _paired(first, second, prompts, "scores")
    n, prompt_count = len(groups), int(groups.max()) + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        value = float(spearmanr(first, second).statistic) if n > 1 else float("nan")
    if prompt_count < 3 or not isfinite(value):
        return Estimate(value, None, None, n, "too few for an interval", level)
    rng, drawn = np.random.default_rng(seed), np.full(prompt_count, 1 / prompt_count)
    of_resamples = [
        _rank_correlations(first, second, rng.multinomial(prompt_count, drawn, size=size)[:, groups])
        for size in np.diff(np.r_[: RESAMPLES : max(1, LARGEST // n), RESAMPLES])
    ]
    low, high = np.nanquantile(np.concatenate(of_resamples), [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), n, "percentile bootstrap over prompts", level)


def winner_agreement(
    first: ArrayLike, second: ArrayLike, prompts: ArrayLike | None = None, *, level: float = LEVEL
) -> WinnerAgreement:
    """Return the share of pairs on which two scorers name the same winner; a tie is an outcome of its own.

    The interval is Wilson's, which keeps its coverage near 0 and 1. Where a prompt has several pairs, they count as
    `effective` independent ones, after Rao and Scott (Biometrics 48, 1992, 577-585): their number over the design
    effect, which is held between 1 and the pairs a prompt has on average; with no variance to estimate it from, as many
    as prompts.

    Args:
        first: of each pair [n], 1 where ours scores higher by one scorer, -1 lower, 0 for a tie.
        second: the same by the other scorer.
        prompts: the prompt that each pair is of, any integers [n]; by default each of its own.
        level: nominal coverage.

    Raises:
        UserError: lengths differ, there is no pair, or an outcome is none of these.

    Examples:
        >>> agreement = winner_agreement([1, 1, -1, -1, 0, 1], [1, 1, -1, 1, 0, -1])
        >>> round(agreement.share.value, 3), round(agreement.by_chance, 3), round(agreement.kappa, 3)
        (0.667, 0.389, 0.455)
        >>> agreement.effective
        6.0
        >>> winner_agreement([1, -1] * 3, [1, -1] * 3, prompts=[0, 0, 1, 1, 2, 2]).effective  # all agree: prompts count
        3.0
    """
    from statsmodels.stats.inter_rater import cohens_kappa
    from statsmodels.stats.proportion import proportion_confint

    (first, second), groups = _paired(first, second, prompts, "outcomes")
    if not np.isin([first, second], (-1, 0, 1)).all():
        raise UserError("an outcome is none of 1, 0 and -1", "give 1 for a win, 0 for a tie, -1 for a loss")
    n = len(groups)
    table = np.array([[np.sum((first == a) & (second == b)) for b in (1, 0, -1)] for a in (1, 0, -1)])
    share = float(np.trace(table)) / n
    by_chance = float(table.sum(axis=1) @ table.sum(axis=0)) / n**2
    kappa = float(cohens_kappa(table, return_results=False)) if by_chance < 1 else float("nan")
    effective = _effective((first == second).astype(np.float64), groups)
    low, high = proportion_confint(share * effective, effective, alpha=1 - level, method="wilson")
    ends = min(float(low), share), max(float(high), share)  # where nothing or all agrees, rounding takes them past it
    return WinnerAgreement(Estimate(share, *ends, n, WILSON, level), by_chance, kappa, effective)


def _rank_correlations(first: Floats, second: Floats, counts: NDArray[np.int64]) -> Floats:
    """Return Spearman's correlation of resamples [R], where picture i is there counts[r, i] times; NaN if undefined."""
    one, other = (_centred_ranks(scores, counts) for scores in (first, second))
    products = ((counts * a * b).sum(axis=1) for a, b in ((one, other), (one, one), (other, other)))
    shared, of_one, of_other = products
    undefined = np.full(len(counts), np.nan)
    return np.asarray(np.divide(shared, np.sqrt(of_one * of_other), out=undefined, where=of_one * of_other > 0))


def _centred_ranks(scores: Floats, counts: NDArray[np.int64]) -> Floats:
    """Return each picture's rank less the mean rank in every resample; equal scores share the mean of their ranks."""
    _, place = np.unique(scores, return_inverse=True)
    order = np.argsort(place, kind="stable")
    equal = np.add.reduceat(counts[:, order], np.r_[0, np.cumsum(np.bincount(place))[:-1]], axis=1)
    ranks = np.cumsum(equal, axis=1) - equal / 2
    return np.asarray(ranks[:, place] - counts.sum(axis=1, keepdims=True) / 2)


def _effective(values: Floats, groups: Groups) -> float:
    """Return the number of independent values 0 or 1 that these are worth, given the groups they come in."""
    n, sizes = len(values), np.bincount(groups)
    mean, clusters = values.mean(), len(sizes)
    if clusters == 1 or not 0 < mean < 1:
        return float(clusters)
    totals = np.bincount(groups, values)
    variance = clusters / (clusters - 1) * np.square(totals - mean * sizes).sum() / n**2
    return float(n / np.clip(variance / (mean * (1 - mean) / n), 1, n / clusters))


def _paired(
    first: ArrayLike, second: ArrayLike, prompts: ArrayLike | None, subject: str
) -> tuple[tuple[Floats, Floats], Groups]:
    """Return both as float64 [n], and the number of each one's prompt, from 0 without gaps."""
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    groups = np.arange(len(one)) if prompts is None else np.asarray(prompts)
    if one.ndim != 1 or not len(one) or not one.shape == other.shape == groups.shape:
        raise UserError(
            f"{subject} of shapes {one.shape} and {other.shape} are compared, of prompts of shape {groups.shape}",
            "give both scorers' of the same pictures, one number each",
        )
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise UserError(f"some of the {subject} are not finite", "score those pictures again")
    return (one, other), np.unique(groups, return_inverse=True)[1]
