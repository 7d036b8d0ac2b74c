"""Schedules: the threshold that falls over the steps, and with it the step at which each cluster splits."""

import dataclasses
import math
from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, nearest
from common.plugins import Plugin, discover, find

PACKAGE, GROUP = "generators.sharing.schedules", "reusebench.schedules"


class Schedule(Plugin):
    """A threshold phi over the steps, and the side to which a height equal to it falls.

    A plug-in sets `ties` and `phi`. At step k a cluster of score s below a parent of score p is denoised when
    ``s < phi[k] <= p`` (ties to the smaller cluster) or ``s <= phi[k] < p`` (ties to the larger one). The parent of
    a root is infinitely high; where phi is 0 exactly the leaves are denoised.

    If it is a dataclass, its fields are parameters, numbers all of them. One that follows the sampler's noise says that
    it `wants_snr`, and is `bound` to a sampler: it then has `log_snr`, float64 [K], the logarithm of the
    signal-to-noise ratio of the latents before each step.
    """

    ties: ClassVar[Literal["smaller", "larger"]]
    wants_snr: ClassVar[bool] = False
    log_snr: NDArray[np.float64] | None = None

    @classmethod
    def configured(cls, **parameters: Any) -> Self:
        """Return the schedule with these parameters.

        Raises:
            UserError: it has no such parameter, or one is no finite number.
        """
        known: list[str] = [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
        for name, value in parameters.items():
            if name not in known:
                raise UserError(f"schedule {cls.name!r} has no parameter {name!r}", nearest(name, known))
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
                raise UserError(f"schedule {cls.name!r}, parameter {name!r}: {value!r} is not a finite number")
        return cls(**{name: float(value) for name, value in parameters.items()})

    @property
    def parameters(self) -> dict[str, float]:
        """Its parameters by name; none if it is no dataclass."""
        return dataclasses.asdict(self) if dataclasses.is_dataclass(self) else {}

    @property
    def identity(self) -> dict[str, Any]:
        """Everything in it that changes thresholds: parameters and noise levels only where it has them."""
        levels = None if self.log_snr is None else [f"{value:.6g}" for value in self.log_snr]
        return {
            "name": self.name,
            "version": self.version,
            **({"parameters": self.parameters} if self.parameters else {}),
            **({} if levels is None else {"log_snr": levels}),
        }

    def bound(self, log_snr: Sequence[float] | None) -> Self:
        """Return this schedule along a sampler's steps; itself where it does not follow their noise.

        Raises:
            UserError: it does, and the sampler does not say how noisy its latents are.
        """
        if not self.wants_snr:
            return self
        if log_snr is None:
            raise UserError(
                f"schedule {self.name!r} follows the noise, and the scheduler does not say how noisy its latents are",
                "choose another --scheduler, or --schedule eq7",
            )
        bound = copy(self)
        object.__setattr__(bound, "log_snr", np.array(log_snr, dtype=np.float64))
        return bound

    def phi(self, tau: float, steps: int) -> NDArray[np.float64]:
        """Return the thresholds, float64 [steps]: finite, never rising, 0 at the last step and, for tau = 0, at all."""
        raise NotImplementedError

    def thresholds(self, tau: float, steps: int) -> NDArray[np.float64]:
        """Return the checked thresholds, float64 [steps].

        Args:
            tau: how much is shared, >= 0; 0 is the baseline.
            steps: K, the number of denoiser evaluations, >= 1.

        Raises:
            UserError: tau or steps is out of range, or the plug-in breaks its promise.

        Examples:
            >>> get_schedule("eq7").thresholds(1.0, 4).tolist()
            [0.75, 0.5, 0.25, 0.0]
            >>> get_schedule("official").thresholds(1.0, 5).tolist()
            [1.0, 0.75, 0.5, 0.25, 0.0]
        """
        if not (math.isfinite(tau) and tau >= 0):
            raise UserError(f"tau must be a number from 0 up, not {tau}")
        if steps < 1:
            raise UserError(f"steps must be at least 1, not {steps}")
        if self.wants_snr and (self.log_snr is None or len(self.log_snr) != steps):
            known = "no sampler is known here" if self.log_snr is None else f"this sampler takes {len(self.log_snr)}"
            raise UserError(
                f"schedule {self.name!r} follows a sampler's noise over {steps} steps, and {known}",
                "name a --model, or use --schedule eq7",
            )
        phi = self.phi(float(tau), steps)
        promised = phi.shape == (steps,) and phi[-1] == 0 and np.isfinite(phi).all() and (np.diff(phi) <= 0).all()
        if not promised or (tau == 0 and phi.any()):
            raise UserError(f"schedule {self.name!r} gave thresholds that do not fall to 0 at tau {tau}, {steps} steps")
        return phi

    def split_steps(self, scores: NDArray[np.float64], tau: float, steps: int) -> NDArray[np.int64]:
        """Return the 0-based step from which clusters of these scores are split into their children, int64 [M].

        Two binary searches a node (its own split and its parent's) give its interval of steps. Arguments and errors are
        those of `thresholds`, with `scores` float64 [M].

        Examples:
            >>> get_schedule("eq7").split_steps(np.array([0.1, 0.5, 0.9]), 1.0, 4).tolist()
            [3, 1, 0]
            >>> get_schedule("official").split_steps(np.array([0.1, 0.5, 0.9]), 1.0, 5).tolist()
            [4, 3, 1]
        """
        rising = self.thresholds(tau, steps)[::-1]
        together = steps - np.searchsorted(rising, scores, "right" if self.ties == "smaller" else "left")
        positive = steps - np.searchsorted(rising, 0.0, "right")
        return np.minimum(together, positive)


def schedules() -> dict[str, type[Schedule]]:
    """Return every schedule, by name."""
    return discover(PACKAGE, Schedule, GROUP)


def get_schedule(name: str, **parameters: Any) -> Schedule:
    """Return the schedule called `name` with these parameters; one that follows noise is yet to be `bound`.

    Raises:
        UserError: there is none, or it does not take them.

    Examples:
        >>> get_schedule("eq7").ties, get_schedule("official").ties
        ('smaller', 'larger')
        >>> get_schedule("snr", shift=1).parameters
        {'shift': 1.0}
    """
    return find(name, PACKAGE, Schedule, GROUP).configured(**parameters)
