"""Power: the win rates that so many pairs can tell apart. Normal approximation; pure functions of numbers.

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
    """Return the probability that the rate's 95% interval leaves out 1/2 (the two-sided score test at 5%).

    Args:
        n: the number of pairs, at least 1.
        difference: the true half-tie win rate less 1/2, from -1/2 to 1/2.
        ties: the share of pairs that tie, from 0 to 1.

    Returns:
        From 0 to 1.

    Raises:
        UserError: a number is none of these, or so many ties leave no room for the difference.

    Examples:
        >>> round(difference_power(100, 0.1), 3)
        0.516
        >>> round(difference_power(100, 0.1, ties=0.5), 3)  # an untied pair tells more where ties are many
        0.817
        >>> round(difference_power(100, 0.0), 3)  # nothing to find: the test's size
        0.05
    """
    return _power(n, ALPHA, "two-sided", *_contrast(difference, ties, 0.0))


def noninferiority_power(n: float, delta: float, ties: float = 0.0, difference: float = 0.0) -> float:
    """Return the probability that `noninferiority_p` is below 0.025: the rate's 95% interval lies above 1/2 - delta.

    Args:
        n: the number of pairs, at least 1; it need not be whole.
        delta: the margin, how far below 1/2 is tolerated, from 0 to below 1/2.
        ties: the share of pairs that tie, from 0 to 1.
        difference: the true half-tie win rate less 1/2, from -1/2 to 1/2.

    Returns:
        From 0 to 1.

    Raises:
        UserError: as in `difference_power`.

    Examples:
        >>> round(noninferiority_power(780, 0.05), 3)
        0.8
        >>> round(noninferiority_power(780, 0.05, difference=-0.05), 3)  # at the margin itself: the test's size
        0.025
    """
    # half of alpha: the claim has one side, and its interval two
    return _power(n, ALPHA / 2, "larger", *_contrast(difference, ties, delta))


def pairs_for_difference(difference: float, ties: float = 0.0, power: float = POWER) -> int | None:
    """Return the fewest pairs with this `difference_power`; None where no number has it (a difference of 0).

    Args:
        difference: the true half-tie win rate less 1/2, from -1/2 to 1/2; its sign does not matter.
        ties: the share of pairs that tie, from 0 to 1.
        power: to be reached, from 0.5 to below 1.

    Raises:
        UserError: as in `difference_power`, or the power is not such a share.

    Examples:
        >>> pairs_for_difference(0.1), pairs_for_difference(0.05), pairs_for_difference(0.0)
        (194, 783, None)
    """
    return _pairs(abs(difference), ties, 0.0, power)


def pairs_for_noninferiority(
    delta: float, ties: float = 0.0, power: float = POWER, difference: float = 0.0
) -> int | None:
    """Return the fewest pairs with this `noninferiority_power`; None where no number has it.

    Args:
        delta: the margin, how far below 1/2 is tolerated, from 0 to below 1/2.
        ties: the share of pairs that tie, from 0 to 1.
        power: to be reached, from 0.5 to below 1.
        difference: the true half-tie win rate less 1/2, from -1/2 to 1/2.

    Raises:
        UserError: as in `pairs_for_difference`.

    Examples:
        >>> pairs_for_noninferiority(0.05), pairs_for_noninferiority(0.05, ties=0.05)
        (780, 741)
        >>> pairs_for_noninferiority(0.05, difference=-0.06)  # a rate below the margin is never shown to be above it
    """
    return _pairs(difference, ties, delta, power)


def detectable_difference(n: int, ties: float = 0.0, power: float = POWER) -> float | None:
    """Return the smallest distance from 1/2 for which n pairs have this `difference_power`; None where there is none.

    Args:
        n: the number of pairs, at least 1.
        ties: the share of pairs that tie, from 0 to 1.
        power: to be reached, from 0.5 to below 1.

    Returns:
        Above 0, at most (1 - ties) / 2.

    Raises:
        UserError: as in `pairs_for_difference`.

    Examples:
        >>> round(detectable_difference(500, ties=0.05), 4)
        0.0609
        >>> detectable_difference(2), detectable_difference(500, ties=1.0)
        (None, None)
    """
    from scipy.optimize import brentq

    largest = (1 - _share(ties, "ties")) / 2
    if largest == 0 or difference_power(n, largest, ties) < _checked(power):
        return None
    return float(brentq(lambda difference: difference_power(n, difference, ties) - power, 0, largest))


def smallest_delta(n: int, ties: float = 0.0, power: float = POWER) -> float | None:
    """Return the smallest margin for which n pairs have this `noninferiority_power`, the true rate being 1/2.

    Args:
        n: the number of pairs, at least 1.
        ties: the share of pairs that tie, from 0 to 1.
        power: to be reached, from 0.5 to below 1.

    Returns:
        From 0 to below 1/2; None where no margin is shown.

    Raises:
        UserError: as in `pairs_for_difference`.

    Examples:
        >>> round(smallest_delta(780), 4), round(smallest_delta(100), 4)
        (0.05, 0.1364)
    """
    from scipy.optimize import brentq

    largest = 0.5 - NEXT_TO_NOTHING
    if noninferiority_power(n, largest, ties) < _checked(power):
        return None
    return float(brentq(lambda delta: noninferiority_power(n, delta, ties) - power, 0, largest))


def _power(n: float, alpha: float, alternative: str, shift: float, under_null: float, under_truth: float) -> float:
    from statsmodels.stats.power import normal_power_het

    if n < 1:
        raise UserError(f"{n} prompts give no pair", "give at least 1")
    return float(normal_power_het(shift, n, alpha, under_null, under_truth, alternative=alternative))


def _pairs(difference: float, ties: float, delta: float, power: float) -> int | None:
    from statsmodels.stats.power import normal_sample_size_one_tail

    shift, under_null, under_truth = _contrast(difference, ties, delta)
    if shift <= 0:
        return None
    # one tail serves both tests: of the two-sided one the far tail is next to nothing at a power of 0.5 or more
    return max(ceil(float(normal_sample_size_one_tail(shift, _checked(power), ALPHA / 2, under_null, under_truth))), 1)


def _contrast(difference: float, ties: float, delta: float) -> tuple[float, float, float]:
    """Return how far a pair's mean outcome is from the null's, and its standard deviation under the null and truly."""
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
    # where all pairs tie, or all are won, nothing varies: next to nothing, as the formulas divide by it
    return mean - null, sqrt(max(under_null, NEXT_TO_NOTHING)), sqrt(max(under_truth, NEXT_TO_NOTHING))


def _share(value: float, name: str) -> float:
    if not 0 <= value <= 1:
        raise UserError(f"{name} are {value:g}", "give a share from 0 to 1: 0.05 is 5 in 100")
    return value


def _checked(power: float) -> float:
    if not 0.5 <= power < 1:
        raise UserError(f"the power is {power:g}", "give a share from 0.5 to below 1: 0.8 is usual")
    return power
