"""The band of the seed control (A/A): the results that the baseline from yet another seed has by chance alone."""

from math import sqrt

from common.errors import UserError
from metrics.statistics import LEVEL


def chance_rates(n: int, ties: float = 0.0, *, level: float = LEVEL) -> tuple[float, float]:
    """Return the two half-tie win rates between which the baseline from another seed lies with this probability.

    Of two seeds neither is better, so the rate is 1/2 and its standard error sqrt((1 - ties) / n) / 2: the rates that
    a two-sided score test does not tell from 1/2. The rate that one seed control happened to have is not needed, and
    a band around it leaves out nearly twice as many.

    Args:
        n: the number of pairs, at least 1.
        ties: the share of pairs that tie, from 0 to 1.
        level: the probability.

    Raises:
        UserError: a number is none of these.

    Examples:
        >>> low, high = chance_rates(120)
        >>> round(low, 3), round(high, 3)
        (0.411, 0.589)
    """
    from scipy.stats import norm

    if n < 1 or not 0 <= ties <= 1:
        raise UserError(
            f"{n} pairs, of which a share of {ties:g} ties, have no rate", "give a pair, a share from 0 to 1"
        )
    half = float(norm.ppf(0.5 + level / 2)) * sqrt((1 - ties) / n) / 2
    return 0.5 - half, 0.5 + half
