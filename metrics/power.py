"""Power: which win rates so many pairs can tell apart. Normal approximation; pure functions of numbers.

A pair's outcome is 1, 0 or -1, so that its mean is p_win - p_loss = 2 (rate - 1/2) and its variance 1 - ties less the
mean's square. Under the null the variance is what Tango's score test estimates in the limit: its constrained
maximum-likelihood estimate, with the true shares in place of counts. Without delta this is Connor's formula for
McNemar's test (Biometrics 43, 1987, 207-211), with delta the restricted one of Liu, Hsueh, Hsieh and Chen (Statistics
in Medicine 21, 2002, 231-245).
"""

from math import ceil, sqrt

from common.errors import UserError
from metrics.statistics import LEVEL, constrained_loss_rate

POWER = 0.8
ALPHA = 1 - LEVEL
NEXT_TO_NOTHING = 1e-12


def difference_power(n: int, difference: float, ties: float = 0.0) -> float:
    """How probably the rate's 95% interval leaves out 1/2 (the two-sided score test at 5%).

    Args:
        n: pairs.
        difference: the true half-tie win rate less 1/2.
        ties: the share of pairs that tie, from 0 to 1.

    Raises:
        UserError: a number is none of these, or so many ties leave no room for the difference.
    """
    return _power(n, ALPHA, "two-sided", *_contrast(difference, ties, 0.0))


def noninferiority_power(n: int, delta: float, ties: float = 0.0, difference: float = 0.0) -> float:
    """How probably `noninferiority_p` is below 0.025, that is the rate's 95% interval lies above 1/2 - delta.

    Args:
        n: pairs.
        delta: how far below 1/2 is tolerated, from 0 to below 1/2.
        ties: the share of pairs that tie, from 0 to 1.
        difference: the true half-tie win rate less 1/2.

    Raises:
        UserError: as in `difference_power`.
    """
    return _power(n, ALPHA / 2, "larger", *_contrast(difference, ties, delta))


def pairs_for_difference(difference: float, ties: float = 0.0, power: float = POWER) -> int | None:
    """The fewest pairs with this `difference_power`; None: no number has.

    Raises:
        UserError: as in `difference_power`, or the power is not from 0.5 to below 1.
    """
    return _pairs(abs(difference), ties, 0.0, power)


def pairs_for_noninferiority(
    delta: float, ties: float = 0.0, power: float = POWER, difference: float = 0.0
) -> int | None:
    """The fewest pairs with this `noninferiority_power`; None: no number has.

    Raises:
        UserError: as in `pairs_for_difference`.
    """
    return _pairs(difference, ties, delta, power)


def detectable_difference(n: int, ties: float = 0.0, power: float = POWER) -> float | None:
    """The smallest difference from 1/2 for which n pairs have this `difference_power`; None: they have it for none.

    Raises:
        UserError: as in `pairs_for_difference`.
    """
    from scipy.optimize import brentq

    largest = (1 - _share(ties, "ties")) / 2
    if largest == 0 or difference_power(n, largest, ties) < _checked(power):
        return None
    return float(brentq(lambda difference: difference_power(n, difference, ties) - power, 0, largest))


def smallest_delta(n: int, ties: float = 0.0, power: float = POWER) -> float | None:
    """The smallest delta for which n pairs have this `noninferiority_power` where the true rate is 1/2; None: no such.

    Raises:
        UserError: as in `pairs_for_difference`.
    """
    from scipy.optimize import brentq

    largest = 0.5 - NEXT_TO_NOTHING
    if noninferiority_power(n, largest, ties) < _checked(power):
        return None
    return float(brentq(lambda delta: noninferiority_power(n, delta, ties) - power, 0, largest))


def _power(n: int, alpha: float, alternative: str, shift: float, under_null: float, under_truth: float) -> float:
    from statsmodels.stats.power import normal_power_het

    if n < 1:
        raise UserError(f"{n} prompts give no pair", "give at least 1")
    return float(normal_power_het(shift, n, alpha, under_null, under_truth, alternative=alternative))


def _pairs(difference: float, ties: float, delta: float, power: float) -> int | None:
    from statsmodels.stats.power import normal_sample_size_one_tail

    shift, under_null, under_truth = _contrast(difference, ties, delta)
    if shift <= 0:
        return None
    return max(ceil(float(normal_sample_size_one_tail(shift, _checked(power), ALPHA / 2, under_null, under_truth))), 1)


def _contrast(difference: float, ties: float, delta: float) -> tuple[float, float, float]:
    """How far the mean of a pair's outcome is from the null's, and its standard deviation under the null and truly."""
    if not 0 <= delta < 0.5:
        raise UserError(f"delta is {delta:g}", "give a share from 0 to below 0.5: 0.05 is 5 points")
    untied, mean, null = 1 - _share(ties, "ties"), 2 * difference, -2 * delta
    if abs(mean) > untied:
        raise UserError(
            f"a win rate cannot be {abs(difference):g} from one half where {ties:.3g} of the pairs tie",
            f"give a difference of at most {untied / 2:.3g}: 0.05 is 5 points",
        )
    losses = float(constrained_loss_rate((untied + mean) / 2, (untied - mean) / 2, 1, null))
    under_null, under_truth = 2 * losses + null * (1 - null), untied - mean**2
    return mean - null, sqrt(max(under_null, NEXT_TO_NOTHING)), sqrt(max(under_truth, NEXT_TO_NOTHING))


def _share(value: float, what: str) -> float:
    if not 0 <= value <= 1:
        raise UserError(f"{what} are {value:g}", "give a share from 0 to 1: 0.05 is 5 in 100")
    return value


def _checked(power: float) -> float:
    if not 0.5 <= power < 1:
        raise UserError(f"the power is {power:g}", "give a share from 0.5 to below 1: 0.8 is usual")
    return power
