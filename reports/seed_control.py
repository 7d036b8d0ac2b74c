"""The band of a figure in which the baseline from another seed lies by chance alone."""

from metrics.seed_control import chance_rates
from reports.frame import WIN_RATE
from sweeps.record import Record

BASELINE = "_standard"


def chance(control: Record, name: str) -> tuple[float, float] | None:
    """Return the band in which the result `name` of the baseline from yet another seed lies in 95% of cases.

    It is centred where both seeds are even, not on what this one control happened to have: a win rate on 50%, a
    difference on 0, any other result on the baseline's own, as wide as the control's interval of the difference.

    Returns:
        Lower and upper end, not scaled; None where the control does not have the result or its interval.
    """
    results, (metric, _, short) = control.results, name.partition(".")
    result = results.get(name)
    if result is None or result.low is None or result.high is None:
        return None
    if name.endswith(WIN_RATE):
        ties, n = results.get(f"{metric}.ties"), result.n or 0
        return chance_rates(n, ties.value / n if ties else 0.0) if n else None
    own, of_difference = results.get(f"{name}{BASELINE}"), results.get(f"{name}_difference")
    spread = result if "difference" in short or of_difference is None or of_difference.low is None else of_difference
    if spread.low is None or spread.high is None:
        return None
    centre = 0.0 if "difference" in short else own.value if own else result.value
    half = (spread.high - spread.low) / 2
    return centre - half, centre + half
