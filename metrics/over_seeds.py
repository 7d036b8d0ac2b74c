"""Several seeds of the same prompts, pooled: estimates, tests and power that know what their pairs have in common.

Pairs form a table, seeds by prompts. A prompt's seeds resemble one another, and a seed's prompts may, where they start
from the same noise: prompts and seeds are two crossed ways of clustering. The variance of the mean is that of the
two-way random-effects analysis of variance, (MS_prompts + MS_seeds - MS_rest) / (S N), which is the two-way
cluster-robust one of a whole table (Cameron, Gelbach and Miller, Journal of Business & Economic Statistics 29, 2011),
never less than what prompts or seeds alone give. Its degrees of freedom are Satterthwaite's. Where prompts start from
fewer than `FEW_ROOTS` draws of noise, seeds are the unit: there are as many degrees of freedom as seeds, less one. The
simulations behind these choices are `benchmarks/pooled_claims.py`.
"""

from bisect import bisect_left
from dataclasses import dataclass, replace
from math import ceil, inf

import numpy as np
from numpy.typing import ArrayLike

from common.errors import UserError
from metrics.hypotheses import noninferiority_p, sign_test_p
from metrics.power import ALPHA, POWER, noninferiority_power, pairs_for_noninferiority
from metrics.statistics import LEVEL, Estimate, Floats, bootstrap_mean, tango_interval

FEW_ROOTS = 10  # independent draws of noise, below which the seed's own variance is the interval's
# How many times too narrow one seed's interval may be where 60 prompts start from one draw of noise: the upper end of
# what `benchmarks/coverage.py` measured over 16 seeds, 1.02 [0.75, 1.57]
ONE_ROOT_INFLATION = 1.6
MOST_SEEDS = 1000
TWO_WAY = "two-way clustered t over prompts and seeds"


@dataclass(frozen=True)
class Spread:
    """The spread of a table of values over S seeds of N prompts, and what it makes of their mean.

    Attributes:
        mean: of all values.
        variance: of the mean, over other prompts and other seeds.
        degrees: degrees of freedom of the variance.
        of_prompts: the part of the variance that more seeds of the same prompts leave, at least 0.
        seeds: S.
        prompts: N.
        few_roots: the prompts start from so few draws of noise that seeds are the unit.
    """

    mean: float
    variance: float
    degrees: float
    of_prompts: float
    seeds: int
    prompts: int
    few_roots: bool

    def with_seeds(self, seeds: int) -> "Spread":
        """Return what is expected of as many seeds of the same prompts, at least two."""
        variance = self.of_prompts + (self.variance - self.of_prompts) * self.seeds / seeds
        scaled = self.degrees * (seeds - 1) / (self.seeds - 1)
        return replace(self, variance=variance, degrees=seeds - 1 if self.few_roots else scaled, seeds=seeds)


def spread(values: ArrayLike, roots: int | None = None) -> Spread:
    """Return the spread of values [S, N] over S seeds of N prompts.

    Args:
        values: [S, N].
        roots: the number of independent draws of noise that a seed's prompts start from; None: of many.

    Raises:
        UserError: there is no value, or one is not finite.

    Examples:
        The second seed repeats the first, and so shows nothing new of the prompts; or it shifts all of them.

        >>> once, shifted = spread([[1, 2, 3], [1, 2, 3]]), spread([[1, 2, 3], [2, 3, 4]])
        >>> once.mean, round(once.variance, 4), round(once.degrees, 2)
        (2.0, 0.3333, 2.0)
        >>> shifted.mean, round(shifted.variance, 4), round(shifted.degrees, 2)
        (2.5, 0.5833, 2.88)
    """
    table = _by_seed(values)
    n_seeds, n_prompts = table.shape
    mean = float(table.mean())
    few = roots is not None and roots < FEW_ROOTS and n_seeds > 1
    by_prompt = n_seeds * table.mean(axis=0).var(ddof=1) if n_prompts > 1 else 0.0
    by_seed = n_prompts * table.mean(axis=1).var(ddof=1) if n_seeds > 1 else 0.0
    left = table - table.mean(axis=0) - table.mean(axis=1)[:, None] + mean
    rest = float((left**2).sum()) / max((n_seeds - 1) * (n_prompts - 1), 1)
    larger = max(by_prompt + by_seed - rest, by_prompt, by_seed)
    squares = sum(
        part**2 / degrees for part, degrees in ((by_prompt, n_prompts - 1), (by_seed, n_seeds - 1)) if degrees
    )
    satterthwaite = (by_prompt + by_seed) ** 2 / squares if squares > 0 else float(max(n_prompts - 1, 1))
    of_prompts = max(by_prompt - rest, 0.0) if n_seeds > 1 else by_prompt
    return Spread(
        mean,
        variance=float(larger) / table.size,
        degrees=n_seeds - 1.0 if few else float(satterthwaite),
        of_prompts=float(of_prompts) / table.size,
        seeds=n_seeds,
        prompts=n_prompts,
        few_roots=few,
    )


def pooled_difference(
    differences: ArrayLike, roots: int | None = None, *, seed: int = 0, level: float = LEVEL
) -> Estimate:
    """Return the mean paired difference over S seeds of N prompts, with its interval; above 0, ours is better.

    One seed has the bootstrap's interval (`metrics.statistics.bootstrap_mean`); several have the two-way clustered t.

    Args:
        differences: ours - baseline, [S, N].
        roots: as in `spread`.
        seed: of the resampling of one seed.
        level: nominal coverage.

    Returns:
        `n` is the number of pairs, S N.

    Raises:
        UserError: there is no pair, or a difference is not finite.

    Examples:
        >>> once = pooled_difference([[0.5, 0.25, -0.25, 0.0]])
        >>> thrice = pooled_difference([[0.5, 0.25, -0.25, 0.0]] * 3)
        >>> once.value, once.n, thrice.value, thrice.n
        (0.125, 4, 0.125, 12)
        >>> round(thrice.low, 3), round(thrice.high, 3), thrice.method
        (-0.389, 0.639, 'two-way clustered t over prompts and seeds')
    """
    from scipy.stats import t

    table = _by_seed(differences)
    if len(table) == 1:
        return bootstrap_mean(table[0], seed=seed, level=level)
    of_table = spread(table, roots)
    if table.shape[1] < 2:
        return Estimate(of_table.mean, None, None, table.size, "too few for an interval", level)
    half = float(t.ppf(0.5 + level / 2, of_table.degrees)) * of_table.variance**0.5
    return Estimate(of_table.mean, of_table.mean - half, of_table.mean + half, table.size, TWO_WAY, level)


def mean_p(values: ArrayLike, roots: int | None = None) -> float:
    """Return the two-sided p-value of "the mean over prompts and seeds is 0", by the two-way clustered t.

    It is below 0.05 exactly where the 95% interval of `pooled_difference` over several seeds leaves 0 out.

    Args:
        values: [S, N], S of at least 2.
        roots: as in `spread`.

    Examples:
        >>> round(mean_p([[0.5, 0.4, 0.6, 0.3], [0.4, 0.5, 0.5, 0.4]]), 4), mean_p([[0.0, 0.0], [0.0, 0.0]])
        (0.0016, 1.0)
    """
    from scipy.stats import t

    of_values = spread(values, roots)
    if of_values.variance == 0:
        return 1.0 if of_values.mean == 0 else 0.0
    return float(2 * t.sf(abs(of_values.mean) / of_values.variance**0.5, of_values.degrees))


@dataclass(frozen=True)
class PooledOutcomes:
    """Wins, ties and losses over S seeds of N prompts, and the number of independent pairs that they are worth.

    One seed's are the pairs themselves: its interval is Tango's, its test of a difference the exact sign test. Several
    seeds' are as many as give the mean the same variance (Rao and Scott, Biometrics 48, 1992, 577-585), put into the
    same score interval and test with quantiles of t. Interval and tests so agree at any number of seeds.

    Attributes:
        wins: pairs in which ours scores higher, over all seeds.
        ties: pairs with equal scores, or of one and the same picture.
        losses: pairs in which the baseline scores higher.
        effective: the number of independent pairs that these are worth, at most all.
        spread: the spread of the outcomes 1, 0 and -1.
        roots: the number of independent draws of noise that a seed's prompts start from; None where not known.
    """

    wins: int
    ties: int
    losses: int
    effective: float
    spread: Spread
    roots: int | None = None

    @property
    def pairs(self) -> int:
        """All pairs, S N."""
        return self.wins + self.ties + self.losses

    @property
    def one_noise(self) -> bool:
        """True where one seed started all prompts from few draws of noise, whose chance no interval of it can see."""
        return self.spread.seeds == 1 and self.roots is not None and self.roots < FEW_ROOTS

    @property
    def degrees(self) -> float:
        """Degrees of freedom of the tests; infinite of one seed, whose score test is normal."""
        return self.spread.degrees if self.spread.seeds > 1 else inf

    def estimate(self, level: float = LEVEL) -> Estimate:
        """Return the half-tie win rate with its interval, from 0 to 1; `n` are all pairs."""
        low, high = tango_interval(*self._counts, level=level, degrees=self.degrees)
        method = "Tango score"
        if self.spread.seeds > 1:
            method += ", two-way clustered over prompts and seeds"
        rate = 0.5 + (self.wins - self.losses) / (2 * self.pairs)
        return Estimate(rate, 0.5 + low / 2, 0.5 + high / 2, self.pairs, method, level)

    def noninferiority_p(self, delta: float) -> float:
        """Return the one-sided p-value of "the rate is above 1/2 - delta", as `metrics.hypotheses.noninferiority_p`.

        It is below 0.025 exactly where the 95% interval of `estimate` lies above 1/2 - delta.
        """
        return float(noninferiority_p(*self._counts, delta, self.degrees))

    def even_p(self) -> float:
        """Return the two-sided p-value of "wins and losses are equally likely": of one seed the exact sign test's.

        Of several it is below 0.05 exactly where the 95% interval of `estimate` leaves 1/2 out.
        """
        return sign_test_p(self.wins, self.losses) if self.spread.seeds == 1 else self.score_p()

    def score_p(self) -> float:
        """Return the same p-value by the score test, at any number of seeds."""
        wins, losses, n = self._counts
        return min(1.0, 2 * float(noninferiority_p(max(wins, losses), min(wins, losses), n, 0.0, self.degrees)))

    def power(self, delta: float) -> float:
        """Return the power to show "no worse within delta", if the true rate were 1/2 and as many pairs tied."""
        return noninferiority_power(self._worth(self.spread), delta, self.ties / self.pairs)

    def prompts_needed(self, delta: float) -> int | None:
        """Return the number of prompts that has the target power with as many seeds; None where no number does."""
        needed = pairs_for_noninferiority(delta, self.ties / self.pairs)
        return None if needed is None else ceil(needed * self.spread.prompts / self._worth(self.spread) - 1e-9)

    def seeds_needed(self, delta: float) -> int | None:
        """Return the number of seeds of these prompts that has the target power.

        None where no number up to `MOST_SEEDS` does, and where one seed says nothing of what another would add.
        """
        if self.spread.seeds < 2:
            return None

        def enough(seeds: int) -> bool:
            pairs = self._worth(self.spread.with_seeds(seeds))
            return noninferiority_power(pairs, delta, self.ties / self.pairs) >= POWER

        numbers = range(2, MOST_SEEDS + 1)
        place = bisect_left(numbers, True, key=enough)
        return numbers[place] if place < len(numbers) else None

    @property
    def _counts(self) -> tuple[float, float, float]:
        """Wins, losses and pairs, in independent pairs."""
        wins, losses = (self.effective * count / self.pairs for count in (self.wins, self.losses))
        return wins, losses, max(self.effective, wins + losses)

    def _worth(self, of_seeds: Spread) -> float:
        """Return the number of pairs whose normal test has the same quantile as this one's t, for such a spread."""
        from scipy.stats import norm, t

        share = self.spread.variance / of_seeds.variance if of_seeds.variance > 0 else 1.0
        effective = min(self.effective * share, float(of_seeds.seeds * of_seeds.prompts))
        if of_seeds.seeds == 1:
            return effective
        return max(effective * float(norm.ppf(1 - ALPHA / 2) / t.ppf(1 - ALPHA / 2, of_seeds.degrees)) ** 2, 1.0)


def pool_outcomes(outcomes: ArrayLike, roots: int | None = None) -> PooledOutcomes:
    """Return the pooled outcomes of S seeds of N prompts.

    Args:
        outcomes: [S, N], 1 where ours scores higher, -1 where lower, 0 for a tie; or [S, L, N], several of each seed
            and prompt, which count as one.
        roots: as in `spread`.

    Raises:
        UserError: there is no pair, or an outcome is none of these.

    Examples:
        A second seed that repeats the first shows nothing new; one that shares nothing with it doubles the pairs.

        >>> once, twice = pool_outcomes([[1, 1, -1, -1] * 15]), pool_outcomes([[1, 1, -1, -1] * 15] * 2)
        >>> once.effective, round(twice.effective, 1), twice.pairs
        (60.0, 59.0, 120)
        >>> other = pool_outcomes([[1, 1, -1, -1] * 15, [1, -1, 1, -1] * 15])
        >>> round(other.effective)
        118
        >>> estimate = once.estimate()
        >>> round(estimate.low, 3), round(estimate.high, 3), round(once.noninferiority_p(0.1), 3)
        (0.377, 0.623, 0.057)
    """
    pairs = np.asarray(outcomes, dtype=np.float64)
    if not np.isin(pairs, (-1, 0, 1)).all():
        raise UserError("an outcome is none of 1, 0 and -1", "give 1 for a win, 0 for a tie, -1 for a loss")
    table = _by_seed(pairs.mean(axis=1) if pairs.ndim == 3 and pairs.size else pairs)
    of_table, of_pairs = spread(table, roots), float(pairs.var())
    # where all pairs fare alike there is no variance to compare, and a prompt counts as one
    effective = float(table.shape[1])
    if pairs.size > table.shape[1] and of_pairs > 0:
        effective = min(of_pairs / of_table.variance if of_table.variance > 0 else inf, float(pairs.size))
    wins, losses = (int((pairs == sign).sum()) for sign in (1, -1))
    return PooledOutcomes(wins, pairs.size - wins - losses, losses, effective, of_table, roots)


def _by_seed(values: ArrayLike) -> Floats:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise UserError(f"values over seeds have shape {values.shape}", "give one row a seed, one column a prompt")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        kind = "NaN" if np.isnan(values[tuple(bad[0])]) else "infinity"
        raise UserError(f"the scores hold {kind} at seed {bad[0][0]}, prompt {bad[0][1]}", "score that image again")
    return values
