"""The band of a figure in which the baseline from another seed lies by chance alone."""

from collections.abc import Mapping

from reports.frame import WIN_RATE
from sweeps.record import Result

BASELINE = "_standard"


def chance(control: Mapping[str, Result], name: str) -> tuple[float, float] | None:
    """Return the band in which the result `name` of the baseline from yet another seed lies in 95% of cases.

    It is centred where two seeds are even, a win rate's on 1/2, a difference's on 0, any other result's on the
    baseline's own, and as wide as the control's interval (of the difference, where there is one). Around what one seed
    happened to have, a band would leave out nearly twice as many.

    Args:
        control: the results of a seed control.
        name: of one of its results.

    Returns:
        Lower and upper end, not scaled; None where the control does not have the result or its interval.
    """
    result = control.get(name)
    if result is None:
        return None
    own, of_difference = control.get(f"{name}{BASELINE}"), control.get(f"{name}_difference")
    if name.endswith(WIN_RATE):
        centre = 0.5
    elif "difference" in name:
        centre = 0.0
    else:
        centre = own.value if own else result.value
    for of_width in (of_difference, result):
        if of_width and of_width.low is not None and of_width.high is not None:
            half = (of_width.high - of_width.low) / 2
            return centre - half, centre + half
    return None
