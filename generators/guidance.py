"""The part of the steps in which guidance is on. Imports nothing heavy: whoever parses a command line needs it."""

import math
from typing import NamedTuple

from common.errors import UserError


class GuidanceInterval(NamedTuple):
    """The part of the denoising in which guidance is on, as the `start` and `stop` of diffusers' guiders.

    Kynkaanniemi et al., "Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion
    Models" (NeurIPS 2024, arXiv 2404.07724), give it as noise levels.

    Attributes:
        start, stop: shares of the K steps, 0 <= start < stop <= 1.
    """

    start: float
    stop: float

    @property
    def text(self) -> str:
        """It as users write it, the same for the same interval."""
        return f"{self.start:g}..{self.stop:g}"

    def steps(self, steps: int) -> range:
        """Return the steps, of 0 to `steps` - 1, in which guidance is on, as diffusers' guiders round.

        Examples:
            >>> GuidanceInterval(0.25, 1).steps(10)
            range(2, 10)
        """
        return range(int(self.start * steps), int(self.stop * steps))


WHOLE = GuidanceInterval(0, 1).text


def guidance_interval(text: str) -> GuidanceInterval:
    """Return the interval that a user wrote: ``0.25..1`` leaves guidance out in the first quarter of the steps.

    Raises:
        UserError: it is none.

    Examples:
        >>> guidance_interval("0.250..1.0").text
        '0.25..1'
    """
    low, dots, high = text.partition("..")
    try:
        interval = GuidanceInterval(float(low), float(high))
    except ValueError:
        interval = GuidanceInterval(math.nan, math.nan)
    if not dots or not 0 <= interval.start < interval.stop <= 1:
        raise UserError(
            f"guidance_interval = {text!r} is no interval from 0 to 1",
            "write START..STOP in shares of the steps, such as 0.25..1",
        )
    return interval
