"""How sharing ends: the threshold that falls over the steps, and the step at which each cluster splits."""

import math
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.plugins import Plugin, discover, find

PACKAGE, GROUP = "generators.sharing.schedules", "reusebench.schedules"


class Schedule(Plugin):
    """A threshold phi over the steps, and the side to which a height equal to it falls.

    A plug-in sets `ties` and `phi`. At step k a cluster of score s below a parent of score p is denoised when
    ``s < phi[k] <= p`` (ties to the smaller cluster) or ``s <= phi[k] < p`` (ties to the larger one). The parent of
    a root is infinitely high; where phi is 0 exactly the leaves are denoised.
    """

    ties: ClassVar[Literal["smaller", "larger"]]

    def phi(self, tau: float, steps: int) -> NDArray[np.float64]:
        """The thresholds, float64 [steps]: finite, never rising, 0 at the last step and, for tau = 0, at all."""
        raise NotImplementedError

    def thresholds(self, tau: float, steps: int) -> NDArray[np.float64]:
        """The checked thresholds, float64 [steps].

        Args:
            tau: how much is shared, >= 0; 0 is standard diffusion.
            steps: K, the number of denoiser evaluations, >= 1.

        Raises:
            UserError: tau or steps is out of range, or the plug-in breaks its promise.
        """
        if not (math.isfinite(tau) and tau >= 0):
            raise UserError(f"tau must be a number from 0 up, not {tau}")
        if steps < 1:
            raise UserError(f"steps must be at least 1, not {steps}")
        phi = self.phi(float(tau), steps)
        promised = phi.shape == (steps,) and phi[-1] == 0 and np.isfinite(phi).all() and (np.diff(phi) <= 0).all()
        if not promised or (tau == 0 and phi.any()):
            raise UserError(f"schedule {self.name!r} gave thresholds that do not fall to 0 at tau {tau}, {steps} steps")
        return phi

    def split_steps(self, scores: NDArray[np.float64], tau: float, steps: int) -> NDArray[np.int64]:
        """The 0-based step from which clusters of these scores are split into their children.

        Two binary searches a node (its own split and its parent's) give its interval of steps.
        """
        rising = self.thresholds(tau, steps)[::-1]
        together = steps - np.searchsorted(rising, scores, "right" if self.ties == "smaller" else "left")
        positive = steps - np.searchsorted(rising, 0.0, "right")
        return np.minimum(together, positive)


def schedules() -> dict[str, type[Schedule]]:
    """Every schedule, by name."""
    return discover(PACKAGE, Schedule, GROUP)


def get_schedule(name: str) -> Schedule:
    """The schedule called `name`.

    Raises:
        UserError: there is none.
    """
    return find(name, PACKAGE, Schedule, GROUP)()
